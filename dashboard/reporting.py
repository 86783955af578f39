"""`backwatch report`: figures for those who ask how well it went."""

import csv
import io
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from probes.commands.finding import Refusal, config_options, find_config, find_data

if TYPE_CHECKING:
    from dashboard.sla import Figures, Sla

DAY_MS = 86_400_000
_FIGURES = ("uptime", "coverage", "down_s", "p50_s", "p95_s", "p99_s", "answered")
_COLUMNS = ("level", "id", "title", "tier", *_FIGURES, "incidents", "from", "to")


@click.group()
def report() -> None:
    """Reports of what was measured."""


@report.command("sla")
@click.option("--month", metavar="YYYY-MM", help="one month of UTC days")
@click.option("--days", type=click.IntRange(1, 730), help="the last N times 24 hours  [30]")
@click.option("--site", metavar="SITE", help="only this site")
@click.option(
    "--format", "form", type=click.Choice(["html", "csv", "json"]), help="default: by the name of FILE, else html"
)
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="default: print it")
@config_options
def sla(  # noqa: PLR0917 - click calls it by name
    month: str | None,
    days: int | None,
    site: str | None,
    form: str | None,
    output: Path | None,
    config_path: Path | None,
    data_dir: Path | None,
) -> None:
    """Uptime with its coverage, incidents and percentiles of each site, target and check.

    The report states the rules by which it was counted. HTML is one file that needs nothing else.
    """
    from dashboard.queries import now_ms

    made_ms = now_ms()
    from_ms, to_ms = period_of(month, days, made_ms)
    found = _load(find_config(config_path), find_data(data_dir), from_ms, to_ms, site=site, made_ms=made_ms)
    chosen = form or (output.suffix.lstrip(".") if output and output.suffix in (".csv", ".json") else "html")
    text = {"html": _html, "csv": to_csv, "json": to_json}[chosen](found)
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        _replace(output, text)
    except OSError as error:
        raise Refusal(f"{output} cannot be written: {error.strerror}") from error
    click.echo(f"wrote {output} ({len(text.encode()) / 1000:.0f} kB)")


def period_of(month: str | None, days: int | None, now_ms: int) -> tuple[int, int]:
    """Begin and end of a month, or of the last days (30), in epoch milliseconds. Raises Refusal."""
    if month is None:
        return now_ms - (days or 30) * DAY_MS, now_ms
    if days is not None:
        raise Refusal("either --month or --days")
    found = re.fullmatch(r"(20[0-9]{2})-(0[1-9]|1[0-2])", month)
    if found is None:
        raise Refusal(f"{month!r} is no month: write 2026-03")
    year, number = int(found[1]), int(found[2])
    begin = datetime(year, number, 1, tzinfo=UTC)
    end = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)
    from_ms, to_ms = int(begin.timestamp() * 1000), int(end.timestamp() * 1000)
    if from_ms >= now_ms:
        raise Refusal(f"{month} has not begun yet")
    return from_ms, to_ms


def to_json(found: "Sla") -> str:
    """One object: times ISO 8601 UTC, durations in seconds, shares from 0 to 1, null where nothing is known."""
    from dashboard import phrase, shape

    value = {
        "from": phrase.utc(found.from_ms),
        "to": phrase.utc(found.to_ms),
        "made": phrase.utc(found.made_ms),
        "sites": [
            {
                "site": site.name,
                "title": site.title,
                "tier": site.front.value if site.front else None,
                **_figures(site.figures),
                "incidents": site.incidents,
                "targets": [
                    {
                        "target": target.id,
                        "title": target.title,
                        "tier": target.tier.value,
                        **_figures(target.figures),
                        "incidents": target.incidents,
                        "maintenance_s": target.maintenance_s,
                        "checks": [
                            {"check": check.id, "kind": check.kind, **_figures(check.figures)}
                            for check in target.checks
                        ],
                    }
                    for target in site.targets
                ],
            }
            for site in found.sites
        ],
        "incidents": [{**shape.incident(one.incident), "within_s": one.within_s} for one in found.incidents],
        "gaps": [
            {"from": phrase.utc(gap.at_ms), "to": phrase.utc_or_none(gap.end_ms), "text": gap.text}
            for gap in found.gaps
        ],
        "notes": list(found.notes),
        "rules": list(found.rules),
    }
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_csv(found: "Sla") -> str:
    """A row each site, target, check, incident and gap, then the notes and rules; `level` says which it is."""
    out = io.StringIO()
    writer = csv.DictWriter(out, _COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for row in _rows(found):
        writer.writerow({key: _cell(value) for key, value in row.items()})
    return out.getvalue()


def _rows(found: "Sla") -> Iterator[dict[str, Any]]:
    from dashboard import phrase

    whole = {"from": phrase.utc(found.from_ms), "to": phrase.utc(found.to_ms)}
    for site in found.sites:
        yield {
            "level": "site",
            "id": site.name,
            "title": site.title,
            "tier": site.front.value if site.front else "",
            **_figures(site.figures),
            "incidents": site.incidents,
            **whole,
        }
        for target in site.targets:
            about = {"title": target.title, "tier": target.tier.value, **whole}
            own = {**_figures(target.figures), "incidents": target.incidents}
            yield {"level": "target", "id": target.id, **about, **own}
            for check in target.checks:
                yield {"level": "check", "id": check.id, **about, "title": check.kind, **_figures(check.figures)}
    for one in found.incidents:
        incident = one.incident
        ended = phrase.utc(incident.resolved_ms) if incident.resolved_ms else ""
        lasted = {"down_s": one.within_s, "from": phrase.utc(incident.opened_ms), "to": ended}
        yield {"level": "incident", "id": incident.root, "title": incident.title, **lasted}
    for gap in found.gaps:
        ended = phrase.utc(gap.end_ms) if gap.end_ms else ""
        yield {"level": "gap", "id": gap.subject, "title": gap.text, "from": phrase.utc(gap.at_ms), "to": ended}
    yield from ({"level": "note", "title": note} for note in found.notes)
    yield from ({"level": "rule", "title": rule} for rule in found.rules)


def _figures(figures: "Figures") -> dict[str, float | int | None]:
    return {name: getattr(figures, name) for name in _FIGURES}


def _cell(value: Any) -> Any:
    # A spreadsheet would take such a text for a formula.
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _html(found: "Sla") -> str:
    from dashboard.sla_page import to_html

    return to_html(found)


def _load(source: Path, data_dir: Path | None, from_ms: int, to_ms: int, *, site: str | None, made_ms: int) -> "Sla":
    from alerts.config import load_all
    from dashboard.sla import load_sla
    from probes.commands.progress import Progress
    from probes.document import ConfigError, suggest
    from probes.store.database import StoreError, database_file, open_database
    from probes.store.schema import SchemaError, check_schema

    try:
        config, alerting = load_all(source, data_dir)
    except ConfigError as error:
        raise Refusal(f"the configuration {source} is broken:\n{error}") from error
    if site is not None and site not in config.estate.sites:
        raise Refusal(f"there is no site {site!r}: {suggest(site, config.estate.sites)}")
    file = database_file(config.database)
    if file is not None and not file.exists():
        raise Refusal(f"there is no store at {file} yet: `backwatch up` makes one")
    engine, progress = open_database(config.database), Progress()
    try:
        check_schema(engine)
        return load_sla(
            engine, config.estate, alerting.maintenance, from_ms, to_ms, now_ms=made_ms, site=site, progress=progress
        )
    except (StoreError, SchemaError) as error:
        raise Refusal(str(error)) from error
    finally:
        progress.close()
        engine.dispose()


def _replace(output: Path, text: str) -> None:
    """Whole or not at all: whoever serves the file never shows half of it."""
    part = output.with_name(f".{output.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(output)
