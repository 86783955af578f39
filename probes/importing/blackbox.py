"""What configuration asks what Prometheus asks through blackbox_exporter? Modules times targets, as checks."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from probes.duration import parse_duration
from probes.importing.blackbox_http import translate_http
from probes.importing.draft import Draft, duration, literal, slug, tier_of
from probes.importing.foreign_yaml import read_mapping

Check = dict[str, Any]
_LABELS_FOR_SITE = ("site", "service", "app", "application", "project", "team")
_LONGEST_S = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class Probed:
    """One target that a job asks through a module."""

    job: str
    module: str
    target: str
    interval_s: float
    timeout_s: float
    labels: dict[str, str] = field(default_factory=dict)


def read_blackbox(modules: Path, prometheus: Path, folder: Path) -> Draft:
    """The configuration for these two files. Raises DraftError for what is none."""
    draft = Draft(f"blackbox_exporter ({modules.name}, {prometheus.name})", folder=folder)
    known = read_mapping(modules, "blackbox_exporter").get("modules") or {}
    config = read_mapping(prometheus, "Prometheus")
    used: set[str] = set()
    for probed in _probed(draft, config):
        used.add(probed.module)
        module = known.get(probed.module)
        if not isinstance(module, dict):
            draft.lose(
                probed.target, f"job {probed.job} asks with module {probed.module}, which there is not", whole=True
            )
            continue
        check = _check(draft, probed, module)
        if check is not None:
            _place(draft, probed, check)
    if unused := sorted(set(known) - used):
        draft.lose("modules for which no job names a target", ", ".join(map(str, unused)), whole=True)
    return draft


def _probed(draft: Draft, config: dict[str, Any]) -> Iterator[Probed]:
    general = config.get("global") or {}
    for job in config.get("scrape_configs") or ():
        name = str(job.get("job_name", "job"))
        if not str(job.get("metrics_path", "")).rstrip("/").endswith("probe"):
            continue
        for key in job:
            if key.endswith("_sd_configs"):
                draft.lose(f"job {name}", f"its targets are found at run time ({key}): list them", whole=True)
        module = ((job.get("params") or {}).get("module") or ["http_2xx"])[0]
        interval_s = _seconds(job.get("scrape_interval") or general.get("scrape_interval"), 60.0)
        timeout_s = _seconds(job.get("scrape_timeout") or general.get("scrape_timeout"), 10.0)
        for group in job.get("static_configs") or ():
            labels = {str(key): str(value) for key, value in (group.get("labels") or {}).items()}
            own = labels.get("__param_module") or labels.get("module") or module
            for target in group.get("targets") or ():
                yield Probed(name, own, str(target), interval_s, timeout_s, labels)


def _place(draft: Draft, probed: Probed, check: Check) -> None:
    named = [probed.labels[label] for label in _LABELS_FOR_SITE if label in probed.labels]
    site = draft.site(named[0] if named else probed.job)
    title = probed.target
    parts = urlsplit(title if "://" in title else f"//{title}")
    short = f"{parts.hostname or title}{parts.path.rstrip('/')}" + (f"-{parts.port}" if _port(parts) else "")
    port = _port(parts) if check["kind"] == "tcp" else None
    known = draft.sites[site]["targets"]
    for target in known.values():
        # Several modules of one target are several checks of it.
        if target.get("title") == literal(title) and all(one["kind"] != check["kind"] for one in target["checks"]):
            target["checks"].append(check)
            return
    draft.add(site, title, tier_of(check["kind"], port), [check], target=slug(short))


def _port(parts: Any) -> int | None:
    try:
        port: int | None = parts.port
    except ValueError:
        return None
    return port


def _check(draft: Draft, probed: Probed, module: dict[str, Any]) -> Check | None:
    prober = module.get("prober")
    options = module.get(str(prober)) or {}
    # Prometheus waits for less than its own deadline; a module may wait for even less.
    timeout = min(_seconds(module.get("timeout"), probed.timeout_s), probed.interval_s)
    interval = min(max(probed.interval_s, 1.0), _LONGEST_S)
    times = {"interval": duration(interval), "timeout": duration(timeout)}
    if prober == "http":
        return translate_http(draft, probed.target, options) | times
    if prober == "tcp":
        return _tcp(draft, probed.target, options) | times
    if prober == "dns":
        return _dns(draft, probed.target, options) | times
    if prober in ("grpc", "websocket"):
        draft.lose(probed.target, f"there is no check for {prober}: only the port is asked")
        parts = urlsplit(probed.target if "://" in probed.target else f"//{probed.target}")
        secure = options.get("tls") or parts.scheme == "wss"
        place = f"{parts.hostname}:{_port(parts) or (443 if secure else 80)}"
        return {"kind": "tls" if secure else "tcp", "url": f"{'tls' if secure else 'tcp'}://{place}"} | times
    why = "there is no ICMP check" if prober == "icmp" else f"there is no check for prober {prober}"
    draft.lose(probed.target, why, whole=True)
    return None


def _tcp(draft: Draft, target: str, options: dict[str, Any]) -> Check:
    scheme = "tls" if options.get("tls") else "tcp"
    check: Check = {"kind": "tcp", "url": f"{scheme}://{target.removeprefix('tcp://')}"}
    tls = options.get("tls_config") or {}
    if tls.get("ca_file"):
        check["ca_file"] = tls["ca_file"]
    if tls.get("insecure_skip_verify"):
        draft.lose(target, "its certificate is verified: insecure_skip_verify is not brought over")
    steps = options.get("query_response") or []
    sends = [step["send"] for step in steps if "send" in step]
    expects = [step["expect"] for step in steps if "expect" in step]
    plain = _plain(str(expects[0])) if expects else None
    first_sends = bool(steps) and "send" in steps[0] and "expect" not in steps[0]
    if expects and plain:
        check["expect"] = {"answer": plain}
        if first_sends and isinstance(sends[0], str):
            check["send"] = literal(f"{sends[0]}\n")
    if len(steps) > (2 if first_sends else 1) or (steps and not plain) or any("starttls" in step for step in steps):
        draft.lose(
            target, "of its dialogue only the first answer is looked at" if plain else "its dialogue is left out"
        )
    return check


def _plain(pattern: str) -> str | None:
    """The literal text that a pattern begins with, at least two characters of it."""
    text = pattern.removeprefix("^")
    found = re.match(r"(?:[A-Za-z0-9 _@:;,=/<>!-]|\\[.+*?()|\[\]{}^$/-]|\+(?=[A-Z]))*", text)
    plain = found[0] if found else ""
    rest = text[len(plain) :]
    if rest[:1] in ("*", "?", "{", "+"):
        plain = plain[:-1]
    plain = re.sub(r"\\(.)", r"\1", plain).strip()
    return plain if len(plain) >= 2 else None


def _dns(draft: Draft, target: str, options: dict[str, Any]) -> Check:
    parts = urlsplit(f"//{target}")
    check: Check = {"kind": "dns", "name": str(options.get("query_name", "")).rstrip("."), "server": parts.hostname}
    check["type"] = str(options.get("query_type") or "ANY")
    if check["type"] == "ANY":
        check["type"] = "A"
        draft.lose(target, "a question for ANY record is one for A")
    if _port(parts):
        check["port"] = _port(parts)
    if options.get("transport_protocol") == "tcp":
        check["tcp"] = True
    for key in ("validate_answer_rrs", "validate_authority_rrs", "validate_additional_rrs"):
        if options.get(key):
            draft.lose(target, f"{key} is not brought over: see `expect: {{answers: […]}}`")
    if options.get("valid_rcodes") not in (None, [], ["NOERROR"]):
        draft.lose(target, "only NOERROR is a good answer")
    return check


def _seconds(text: Any, default: float) -> float:
    try:
        return parse_duration(text) if text else default
    except ValueError:
        return default
