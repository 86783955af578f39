"""The command that asks now: URLs, or configured checks, as a table or as JSON lines."""

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from probes.commands.finding import Refusal, config_options, load

if TYPE_CHECKING:
    from probes.result import Result, Status
    from probes.target import Check, Estate

EXIT_CODES = {"up": 0, "degraded": 1, "down": 2, "unknown": 3}
_COLOURS = {"up": "green", "degraded": "yellow", "down": "red", "unknown": "white"}
_GLYPHS = {"up": "●", "degraded": "▲", "down": "✖", "unknown": "○"}


class Unasked(Refusal):
    """Nothing could be asked, which is no word on the target."""

    exit_code = EXIT_CODES["unknown"]


@click.command()
@click.argument("what", nargs=-1, metavar="[URL|CHECK]...")
@click.option("--json", "as_json", is_flag=True, help="one JSON object a line")
@click.option("--timeout", default=10.0, show_default=True, type=click.FloatRange(0.1, 3600), help="seconds, for URLs")
@config_options
def probe(
    what: tuple[str, ...], as_json: bool, timeout: float, config_path: Path | None, data_dir: Path | None
) -> None:
    """Ask now and print what is answered.

    URL is http(s)://, tcp://, tls://, dns://[server/]name, postgresql://, mysql://, redis://, memcached:// or
    sqlite:///file. CHECK is an id of the configuration, part of one from the left (shop, shop/db) or a pattern;
    nothing at all means every configured check.

    Exit code: 0 up, 1 degraded, 2 down, 3 unknown; the worst of all (down before unknown). What cannot be asked at
    all, for want of a sound configuration or a known check, is unknown.
    """
    from probes.asking import ask_now
    from probes.evidence_text import hop_lines
    from probes.redact import Redactor

    # Here the answer is the table; what a loop would log beside it says the same twice.
    logging.getLogger("probes").setLevel(logging.ERROR)
    try:
        checks, secrets = _find(what, timeout, config_path, data_dir)
    except Refusal as refusal:
        raise Unasked(refusal.message) from refusal
    worst: list[Status] = []
    width = max(len(check.id) for check in checks)
    by_id = {check.id: check for check in checks}
    led: dict[str, Sequence[Mapping[str, Any]]] = {}
    for result in ask_now(checks, mask=Redactor(secrets).mask, on_hops=led.__setitem__):
        worst.append(result.status)
        hops = led.get(result.check_id, ())
        if as_json:
            click.echo(json.dumps(as_object(by_id[result.check_id], result) | ({"hops": hops} if hops else {})))
        else:
            click.echo("\n".join([as_line(result, width), *(f"            {line}" for line in hop_lines(hops))]))
    raise SystemExit(exit_code(worst))


def _find(
    what: Sequence[str], timeout_s: float, config_path: Path | None, data_dir: Path | None
) -> tuple[list["Check"], set[str]]:
    """The checks that the words mean, and the secrets that no output may show. Raises Refusal."""
    from probes.redact import passwords_in

    checks = _of_urls(what, timeout_s)
    secrets = {secret for word in what for secret in passwords_in(word)}
    if not what or any("://" not in word for word in what):
        config = load(config_path, data_dir)
        checks += choose(config.estate, [word for word in what if "://" not in word])
        secrets |= config.document.secrets
    if not checks:
        raise Refusal("the configuration holds no check")
    return checks, secrets


def exit_code(statuses: Iterable["Status"]) -> int:
    """0 up, 1 degraded, 2 down, 3 unknown, of the worst; 3 where nothing was answered at all."""
    worst = max(statuses, key=lambda status: status.badness, default=None)
    return EXIT_CODES[worst.value] if worst else 3


def choose(estate: "Estate", wanted: Sequence[str]) -> list["Check"]:
    """The checks of these ids, beginnings of ids or patterns; all for none. Raises Refusal for a word without any."""
    if not wanted:
        return list(estate.checks.values())
    chosen: dict[str, Check] = {}
    for word in wanted:
        found = {
            check_id: check
            for check_id, check in estate.checks.items()
            if check_id == word or check_id.startswith(f"{word.rstrip('/')}/") or fnmatchcase(check_id, word)
        }
        if not found:
            from probes.document import suggest

            known = [*estate.checks, *estate.targets, *estate.sites]
            raise Refusal(f"there is no check {word!r}: {suggest(word, known) or 'see `backwatch config show`'}")
        chosen |= found
    return list(chosen.values())


def as_object(check: "Check", result: "Result") -> dict[str, Any]:
    """A result in the shape of the contract: times ISO 8601 UTC, what does not apply is null."""
    return {
        "check": result.check_id,
        "site": check.site,
        "target": check.target,
        "tier": check.tier.value,
        "kind": check.kind,
        "location": result.location,
        "slot": _iso(result.slot_ms),
        "started": _iso(result.started_ms),
        "status": result.status.value,
        "reason": result.reason.value if result.reason else None,
        "message": result.message,
        "duration_s": result.duration_s,
        "code": result.code,
        "phases": asdict(result.phases),
        "metrics": dict(result.metrics),
    }


def as_line(result: "Result", width: int) -> str:
    """A result for people; times in milliseconds."""
    status = click.style(f"{_GLYPHS[result.status]} {result.status:<8}", fg=_COLOURS[result.status])
    took = f"{result.duration_s * 1000:8.1f} ms" if result.duration_s is not None else " " * 11
    return f"{status}  {result.check_id:<{width}}  {took}  {_said(result)}".rstrip()


def _said(result: "Result") -> str:
    if result.message:
        return f"{result.reason}: {result.message}" if result.reason else result.message
    steps: Mapping[str, float | None] = asdict(result.phases)
    parts = [f"{name.removesuffix('_s')} {value * 1000:.1f}" for name, value in steps.items() if value is not None]
    code = [str(result.code)] if result.code is not None else []
    metrics = [f"{name}={value:g}" for name, value in list(result.metrics.items())[:4]]
    return "  ".join([*code, *([f"({', '.join(parts)})"] if parts else []), *metrics])


def _of_urls(what: Sequence[str], timeout_s: float) -> list["Check"]:
    urls = dict.fromkeys(word for word in what if "://" in word)
    if not urls:
        return []
    from probes.adhoc import AdHocError, check_of_url

    checks: dict[str, Check] = {}
    for url in urls:
        try:
            check = check_of_url(url, timeout_s)
        except AdHocError as error:
            raise Refusal(str(error)) from error
        checks[check.id] = check
    return list(checks.values())


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
