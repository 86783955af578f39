"""How our things look as JSON: the shapes of the HTTP contract (times ISO 8601 UTC, durations in seconds)."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from alerts.incident import Incident, IncidentEvent, Notification, Silence
from dashboard.path import Node, SitePath
from dashboard.phrase import utc, utc_or_none
from dashboard.queries import Own, Snapshot
from dashboard.standing import CheckNow
from dashboard.theme import TIER_WORDS
from probes.result import Result
from probes.store.charts import Point
from probes.store.evidence import Seen
from probes.store.summary import Summary


def finite(value: float | None) -> float | None:
    """JSON has no NaN and no infinity."""
    return value if value is not None and math.isfinite(value) else None


def metrics(values: Mapping[str, float]) -> dict[str, float | None]:
    """Metrics by name."""
    return {name: finite(value) for name, value in values.items()}


def check(now: CheckNow, newest: Result | None, summary: Summary | None) -> dict[str, Any]:
    """A check as it stands."""
    return {
        "check": now.check.id,
        "site": now.check.site,
        "target": now.check.target,
        "tier": now.check.tier.value,
        "kind": now.check.kind,
        "status": now.status.value,
        "reason": now.reason.value if now.reason else None,
        "message": now.message,
        "since": utc_or_none(now.since_ms),
        "code": now.code,
        "duration_s": finite(now.duration_s),
        "metrics": metrics(newest.metrics) if newest and not now.stale else {},
        "uptime_24h": finite(summary.uptime_24h) if summary else None,
        "coverage_24h": finite(summary.coverage_24h) if summary else None,
        "stale": now.stale,
        "newest": utc_or_none(now.slot_ms),
        "tags": list(now.check.tags),
    }


def windows(summary: Summary | None) -> dict[str, float | None]:
    """Uptime over longer windows, each beside the share of its window that was judged."""
    return {
        f"{what}_{window}": finite(getattr(summary, f"{what}_{window}")) if summary else None
        for window in ("7d", "30d", "90d")
        for what in ("uptime", "coverage")
    }


def seen(one: Seen) -> dict[str, Any]:
    """What a failing run saw."""
    return {
        "location": one.location,
        "slot": utc(one.slot_ms),
        "kind": one.kind.value,
        "expires": utc(one.expires_ms),
        "saw": one.content,
    }


def result(one: Result) -> dict[str, Any]:
    """A single result."""
    return {
        "check": one.check_id,
        "location": one.location,
        "slot": utc(one.slot_ms),
        "started": utc(one.started_ms),
        "status": one.status.value,
        "reason": one.reason.value if one.reason else None,
        "message": one.message,
        "duration_s": finite(one.duration_s),
        "code": one.code,
        "phases": asdict(one.phases),
        "metrics": metrics(one.metrics),
    }


def point(one: Point) -> dict[str, Any]:
    """A point of a series."""
    return {
        "t": utc(one.t_ms),
        "n": one.n,
        "up": one.up,
        "degraded": one.degraded,
        "down": one.down,
        "unknown": one.unknown,
        "p50_s": finite(one.p50_s),
        "p95_s": finite(one.p95_s),
        "p99_s": finite(one.p99_s),
        "phases": asdict(one.phases),
        "metrics": metrics(one.metrics),
        "codes": {str(code): n for code, n in one.codes.items()},
    }


def incident(one: Incident) -> dict[str, Any]:
    """An incident without its events."""
    return {
        "id": one.id,
        "state": one.state.value,
        "severity": one.severity.value,
        "root": one.root,
        "members": [member.target for member in one.members],
        "active": list(one.active),
        "title": one.title,
        "cause": one.cause,
        "reason": one.reason,
        "opened": utc(one.opened_ms),
        "resolved": utc_or_none(one.resolved_ms),
        "acked_by": one.acked_by,
        "acked": utc_or_none(one.acked_ms),
    }


def event(one: IncidentEvent) -> dict[str, Any]:
    """Something that happened to an incident."""
    return {"seq": one.seq, "at": utc(one.at_ms), "kind": one.kind, "text": one.text, "author": one.author}


def notification(one: Notification) -> dict[str, Any]:
    """A delivery."""
    return {
        "id": one.id,
        "incident": one.incident_id,
        "kind": one.kind,
        "notifier": one.notifier,
        "state": one.state,
        "attempts": one.attempts,
        "created": utc(one.created_ms),
        "due": utc(one.due_ms),
        "sent": utc_or_none(one.sent_ms),
        "last_code": one.last_code,
        "last_error": one.last_error,
        "title": one.title,
    }


def silence(one: Silence) -> dict[str, Any]:
    """A silence."""
    return {
        "id": one.id,
        "matchers": dict(one.matchers),
        "starts": utc(one.starts_ms),
        "ends": utc(one.ends_ms),
        "author": one.author,
        "comment": one.comment,
    }


def path(one: SitePath, at_ms: int) -> dict[str, Any]:
    """The request path of a site."""
    return {
        "site": one.site,
        "title": one.title,
        "at": utc(at_ms),
        "status": one.look.value,
        "roots": list(one.roots),
        "waiting": [node.target for node in one.waiting],
        "incident": one.incident.id if one.incident else None,
        "tiers": [
            {"tier": tier.value, "title": TIER_WORDS[tier], "targets": [_node(node) for node in nodes]}
            for tier, nodes in one.tiers
        ],
        "needs": [{"from": above, "to": below, "soft": soft} for above, below, soft in one.edges],
    }


def backwatch(own: Own, snapshot: Snapshot | None = None) -> dict[str, Any]:
    """How Backwatch itself fares."""
    return {
        "workers": [
            {"name": one.name, "location": one.location, "version": one.version, "seen": utc(one.seen_ms)}
            for one in own.processes
            if one.role == "worker"
        ],
        "absent": [absence.role for absence in own.absences],
        "overloaded": [one.name for one in own.overloaded],
        "late_ratio": finite(own.late_ratio),
        "lateness_p99_s": finite(own.lateness_p99_s),
        "outbox_pending": own.outbox.n,
        "outbox_dead": own.outbox.dead,
        "store_bytes": own.store_bytes,
        "newest": utc_or_none(snapshot.newest_ms) if snapshot else None,
    }


def _node(node: Node) -> dict[str, Any]:
    worst = node.worst
    return {
        "target": node.target,
        "status": node.look.value,
        "since": utc_or_none(worst.since_ms),
        "message": worst.message,
        "root": node.is_root,
        "waits_for": list(node.waits_for),
        "checks": [one.check.id for one in node.checks],
    }
