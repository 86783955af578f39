"""Everything as OpenMetrics 1.0 text, for a Prometheus that wants to know."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib.metadata import version

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboard import queries
from dashboard.context import current
from dashboard.maintenance import checks_in_maintenance
from dashboard.problem import answering
from dashboard.standing import CheckNow
from probes.result import Result, Status

MEDIA_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def _metrics(_request: Request) -> Response:
    context = current()
    snapshot = queries.load_snapshot(context.engine, context.estate, checks_in_maintenance(context))
    newest = queries.load_newest_results(context.engine)
    incidents = queries.load_open_incidents(context.engine)
    lines = [*check_lines(snapshot.checks, newest), *own_lines(queries.load_own(context.engine), len(incidents))]
    return Response("\n".join([*lines, "# EOF", ""]), headers={"Cache-Control": "no-store"}, media_type=MEDIA_TYPE)


def check_lines(checks: Mapping[str, CheckNow], newest: Mapping[str, Result]) -> Iterator[str]:
    """Status, duration by phase, and metrics of every check; what is stale has no duration and no metrics."""
    yield from _family("backwatch_check_status", "1 for the status a check has now, 0 for the others.")
    for now in checks.values():
        for status in Status:
            yield _sample("backwatch_check_status", {**_labels(now), "status": status.value}, now.status is status)
    fresh = {check_id: newest[check_id] for check_id, now in checks.items() if not now.stale and check_id in newest}
    yield from _family("backwatch_check_duration_seconds", "Duration of the newest run, by phase.", "seconds")
    for check_id, result in fresh.items():
        phases: dict[str, float | None] = {"total": result.duration_s}
        phases |= {name.removesuffix("_s"): value for name, value in asdict(result.phases).items()}
        for phase, value in phases.items():
            if value is not None:
                labels = {**_labels(checks[check_id]), "phase": phase}
                yield _sample("backwatch_check_duration_seconds", labels, value)
    yield from _family("backwatch_check_metric", "Numbers that the newest run reported, by name.")
    for check_id, result in fresh.items():
        for name, value in sorted(result.metrics.items()):
            yield _sample("backwatch_check_metric", {**_labels(checks[check_id]), "name": name}, value)
    yield from _family("backwatch_check_result_timestamp_seconds", "Slot of the newest result.", "seconds")
    for now in checks.values():
        if now.slot_ms is not None:
            yield _sample("backwatch_check_result_timestamp_seconds", _labels(now), now.slot_ms / 1000)


def own_lines(own: queries.Own, open_incidents: int) -> Iterator[str]:
    """How Backwatch itself fares."""
    yield "# TYPE backwatch_build info"
    yield "# HELP backwatch_build Version of Backwatch."
    yield _sample("backwatch_build_info", {"version": version("backwatch")}, 1)
    yield from _family("backwatch_process_seen_timestamp_seconds", "When a process of ours was last seen.", "seconds")
    for one in own.processes:
        labels = {"process": one.name, "role": one.role, "location": one.location}
        yield _sample("backwatch_process_seen_timestamp_seconds", labels, one.seen_ms / 1000)
    yield from _family("backwatch_process_figure", "Figures that a process of ours reports of itself, by name.")
    for one in own.processes:
        for name, value in sorted(one.figures.items()):
            yield _sample("backwatch_process_figure", {"process": one.name, "role": one.role, "name": name}, value)
    oldest_s = max(0.0, (own.at_ms - own.outbox.oldest_due_ms) / 1000) if own.outbox.oldest_due_ms else 0.0
    gauges = [
        ("backwatch_worker_lateness_p99_seconds", "How late runs start, 99th percentile.", own.lateness_p99_s),
        ("backwatch_worker_late_ratio", "Share of runs that began over a second late or not at all.", own.late_ratio),
        (
            "backwatch_worker_overloaded",
            "Workers that cannot keep up: run more, lengthen intervals, or raise worker.threads.",
            len(own.overloaded),
        ),
        ("backwatch_incidents_open", "Incidents that are not resolved.", open_incidents),
        ("backwatch_outbox_pending", "Notifications that wait to be sent.", own.outbox.n),
        ("backwatch_outbox_dead", "Notifications that were given up.", own.outbox.dead),
        ("backwatch_outbox_oldest_due_seconds", "How long the oldest notification is overdue.", oldest_s),
        ("backwatch_store_bytes", "Size of the embedded store.", own.store_bytes),
        ("backwatch_store_wal_bytes", "Size of the embedded store's write-ahead log.", own.wal_bytes),
    ]
    for name, text, known in gauges:
        if known is not None:
            unit = next((unit for unit in ("seconds", "bytes") if name.endswith(f"_{unit}")), "")
            yield from _family(name, text, unit)
            yield _sample(name, {}, known)


def _family(name: str, text: str, unit: str = "") -> Iterator[str]:
    yield f"# TYPE {name} gauge"
    if unit:
        yield f"# UNIT {name} {unit}"
    yield f"# HELP {name} {text}"


def _labels(now: CheckNow) -> dict[str, str]:
    check = now.check
    return {"check": check.id, "site": check.site, "tier": check.tier.value, "kind": check.kind}


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    said = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
    return f"{name}{{{said}}} {_number(value)}" if said else f"{name} {_number(value)}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(float(value)) if not float(value).is_integer() else str(int(value))


routes = [Route("/metrics", answering(_metrics))]
