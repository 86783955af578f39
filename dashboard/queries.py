"""What pages and programs ask of the store: the only reader of it here. Plain functions, no Streamlit."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from alerts.incident import Incident, IncidentEvent, IncidentState, Notification, Pending, Silence
from alerts.store import (
    load_incident,
    load_incident_events,
    load_incidents,
    load_notifications,
    load_notifier_states,
    load_silences,
    pending,
)
from alerts.store.notifications import NotifierState
from dashboard.standing import CheckNow, checks_now
from probes.result import Result, Status
from probes.store.changes import Change, load_changes
from probes.store.charts import Point, load_series
from probes.store.events import Event, load_events
from probes.store.evidence import Seen, load_evidence
from probes.store.meta import get_meta
from probes.store.processes import Process, load_processes
from probes.store.results import load_fresh_results, load_results
from probes.store.states import load_standings
from probes.store.summary import Summary, load_summaries
from probes.store.uptime import Uptime, load_uptime
from probes.target import Estate

SEEN_WITHIN_MS = 60_000
SAMPLE_KEY = "sample_until_ms"
DAY_MS = 86_400_000


def now_ms() -> int:
    """The time now in UTC epoch milliseconds."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Absence:
    """A role of ours that nobody fills: nobody was seen within a minute. `since_ms` None: nobody ever was."""

    role: str
    since_ms: int | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole estate at one moment. `newest_ms` is the slot of the newest result, None before the first."""

    at_ms: int
    checks: Mapping[str, CheckNow]
    newest_ms: int | None
    processes: tuple[Process, ...]
    absences: tuple[Absence, ...]


@dataclass(frozen=True, slots=True)
class ErrorRun:
    """Results in a row that say the same error: the newest of them, and how many."""

    newest: Result
    n: int


@dataclass(frozen=True, slots=True)
class CheckHistory:
    """One check over a range: points for charts, uptimes, the newest errors, changes, incidents, our own gaps."""

    from_ms: int
    to_ms: int
    points: Sequence[Point]
    uptimes: Mapping[str, Uptime]
    errors: Sequence[ErrorRun]
    changes: Sequence[Change]
    incidents: Sequence[Incident]
    gaps: Sequence[Event]
    events: Sequence[Event]
    newest: Result | None
    sample_until_ms: int | None


@dataclass(frozen=True, slots=True)
class IncidentDetail:
    """An incident with what happened to it and who was told."""

    incident: Incident
    events: Sequence[IncidentEvent]
    notifications: Sequence[Notification]


@dataclass(frozen=True, slots=True)
class Own:
    """Backwatch itself: who is at work, how far the outbox is behind, how large the store is."""

    at_ms: int
    processes: tuple[Process, ...]
    absences: tuple[Absence, ...]
    outbox: Pending
    store_bytes: int | None
    wal_bytes: int | None
    events: Sequence[Event] = field(default_factory=tuple)

    @property
    def lateness_p99_s(self) -> float | None:
        """The worst p99 lateness of the workers seen within a minute."""
        return self._worst("lateness_p99_s")

    @property
    def late_ratio(self) -> float | None:
        """The worst share of late runs of the workers seen within a minute."""
        return self._worst("late_ratio")

    @property
    def overloaded(self) -> tuple[Process, ...]:
        """The workers seen within a minute that cannot keep up; their first note says why, and what to do."""
        return tuple(one for one in self._workers() if one.figures.get("overloaded"))

    def _workers(self) -> Iterator[Process]:
        return (one for one in self.processes if one.role == "worker" and one.seen_ms >= self.at_ms - SEEN_WITHIN_MS)

    def _worst(self, figure: str) -> float | None:
        return max((one.figures[figure] for one in self._workers() if figure in one.figures), default=None)


def absent_roles(processes: Sequence[Process], at_ms: int) -> tuple[Absence, ...]:
    """Which of worker and alerts nobody fills."""
    missing = []
    for role in ("worker", "alerts"):
        seen = [one.seen_ms for one in processes if one.role == role]
        if not seen or max(seen) < at_ms - SEEN_WITHIN_MS:
            missing.append(Absence(role, max(seen, default=None)))
    return tuple(missing)


def load_snapshot(engine: Engine, estate: Estate, in_maintenance: frozenset[str] = frozenset()) -> Snapshot:
    """Every check as it stands now."""
    at_ms = now_ms()
    standings = load_standings(engine)
    processes = tuple(load_processes(engine))
    known = [one.slot_ms for one in standings if one.check_id in estate.checks]
    return Snapshot(
        at_ms=at_ms,
        checks=checks_now(estate, standings, at_ms, in_maintenance),
        newest_ms=max(known, default=None),
        processes=processes,
        absences=absent_roles(processes, at_ms),
    )


def load_all_summaries(engine: Engine) -> dict[str, Summary]:
    """Uptimes, bars and sparkline by check id; of several locations the one with the lowest uptime of the day."""
    chosen: dict[str, Summary] = {}
    for (check_id, _location), summary in sorted(load_summaries(engine).items()):
        known = chosen.get(check_id)
        if known is None or _share(summary.uptime_24h) < _share(known.uptime_24h):
            chosen[check_id] = summary
    return chosen


def load_newest_results(engine: Engine, check_ids: Sequence[str] | None = None) -> dict[str, Result]:
    """The newest result, with its metrics, of each check (the worst of its locations), of these or of all."""
    wanted = None if check_ids is None else set(check_ids)
    standings = load_standings(engine)
    seen = {
        (one.check_id, one.location): one.slot_ms - 1 if wanted is None or one.check_id in wanted else one.slot_ms
        for one in standings
    }
    newest: dict[str, Result] = {}
    for result in load_fresh_results(engine, seen):
        known = newest.get(result.check_id)
        if known is None or result.status.badness >= known.status.badness:
            newest[result.check_id] = result
    return newest


def load_history(engine: Engine, check_id: str, target_id: str, range_s: float, points: int = 240) -> CheckHistory:
    """One check over the last `range_s` seconds."""
    to_ms = now_ms()
    from_ms = to_ms - int(range_s * 1000)
    spans = {"24 h": DAY_MS, "7 d": 7 * DAY_MS, "30 d": 30 * DAY_MS, "90 d": 90 * DAY_MS}
    results = load_results(engine, check_id, max(from_ms, to_ms - 7 * DAY_MS), to_ms + 1000, limit=2000)
    incidents = [
        one
        for one in load_incidents(engine, limit=500)
        if one.member(target_id) and one.opened_ms < to_ms and (one.resolved_ms or to_ms) >= from_ms
    ]
    newest = load_newest_results(engine, [check_id]).get(check_id)
    return CheckHistory(
        from_ms=from_ms,
        to_ms=to_ms,
        points=load_series(engine, check_id, from_ms, to_ms, points),
        uptimes={name: load_uptime(engine, check_id, to_ms - length_ms, to_ms) for name, length_ms in spans.items()},
        errors=runs_of_errors(results)[:12],
        changes=list(reversed(load_changes(engine, check_id, from_ms, to_ms)))[:12],
        incidents=incidents,
        gaps=load_events(engine, from_ms, to_ms, kind="gap"),
        events=list(reversed(load_events(engine, from_ms, to_ms, subject=check_id)))[:12],
        newest=newest,
        sample_until_ms=load_sample_until(engine),
    )


def load_seen(engine: Engine, check_id: str, from_ms: int, to_ms: int, limit: int = 5) -> list[Seen]:
    """What the failing runs of a check saw, the newest first."""
    return load_evidence(engine, [check_id], from_ms, to_ms + 1, limit)


def runs_of_errors(results: Sequence[Result]) -> list[ErrorRun]:
    """Results that are not up, the newest first, those in a row that say the same taken together."""
    runs: list[ErrorRun] = []
    before: Result | None = None
    for result in results:
        if result.status is not Status.UP:
            alike = before is not None and (before.status, before.reason, before.message) == (
                result.status,
                result.reason,
                result.message,
            )
            if alike:
                runs[-1] = ErrorRun(runs[-1].newest, runs[-1].n + 1)
            else:
                runs.append(ErrorRun(result, 1))
        before = result
    return runs


def load_points(engine: Engine, check_id: str, from_ms: int, to_ms: int, points: int) -> list[Point]:
    """A check's series for a chart."""
    return load_series(engine, check_id, from_ms, to_ms, points)


def load_single_results(engine: Engine, check_id: str, from_ms: int, to_ms: int, limit: int) -> list[Result]:
    """Single results, the newest first."""
    return load_results(engine, check_id, from_ms, to_ms, limit=limit)


def load_sample_until(engine: Engine) -> int | None:
    """Results before this time are sample data (the demo's history); None where all of it is real."""
    value = get_meta(engine, SAMPLE_KEY)
    return int(value) if value else None


def load_open_incidents(engine: Engine) -> list[Incident]:
    """Incidents that are not over, the newest first."""
    return load_incidents(engine, states=(IncidentState.OPEN, IncidentState.ACKED))


def load_incident_list(engine: Engine, states: Sequence[IncidentState] | None, limit: int = 200) -> list[Incident]:
    """Incidents in these states, the newest first."""
    return load_incidents(engine, states=states, limit=limit)


def load_incident_detail(engine: Engine, incident_id: str) -> IncidentDetail | None:
    """One incident with its events and deliveries; None where there is none of that id."""
    incident = load_incident(engine, incident_id)
    if incident is None:
        return None
    events = load_incident_events(engine, incident_id)
    return IncidentDetail(incident, events, load_notifications(engine, incident_id=incident_id))


def load_deliveries(engine: Engine, limit: int = 200) -> tuple[list[Notification], Pending, dict[str, NotifierState]]:
    """The newest deliveries, how far the outbox is behind, and how each notifier fares."""
    return load_notifications(engine, limit=limit), pending(engine), load_notifier_states(engine)


def load_current_silences(engine: Engine) -> list[Silence]:
    """Silences in force or to come."""
    return load_silences(engine, now_ms())


def load_happened(engine: Engine, range_s: float, kind: str | None = None, most: int = 500) -> list[Event]:
    """What happened beside the results in the last `range_s` seconds, newest first, of one kind where given."""
    to_ms = now_ms()
    return list(reversed(load_events(engine, to_ms - int(range_s * 1000), to_ms + 1000, kind=kind)))[:most]


def load_own(engine: Engine) -> Own:
    """How Backwatch itself fares."""
    at_ms = now_ms()
    processes = tuple(load_processes(engine))
    store_bytes, wal_bytes = _file_sizes(engine)
    return Own(
        at_ms=at_ms,
        processes=processes,
        absences=absent_roles(processes, at_ms),
        outbox=pending(engine),
        store_bytes=store_bytes,
        wal_bytes=wal_bytes,
        events=list(reversed(load_events(engine, at_ms - 7 * DAY_MS, at_ms)))[:20],
    )


def _file_sizes(engine: Engine) -> tuple[int | None, int | None]:
    url = make_url(str(engine.url))
    if url.get_backend_name() != "sqlite" or not url.database:
        return None, None
    sizes = []
    for name in (url.database, url.database + "-wal"):
        file = Path(name)
        sizes.append(file.stat().st_size if file.exists() else 0)
    return sizes[0], sizes[1]


def _share(uptime: float | None) -> float:
    return 2.0 if uptime is None else uptime
