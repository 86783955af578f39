"""Two weeks that never were: a plausible past for every check of the demo, written the way a worker writes."""

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime

from sqlalchemy import Engine

from alerts.incident import Incident, IncidentEvent, IncidentState, Level, Member, Severity, new_id
from alerts.message import title_of
from alerts.store.incidents import write_incidents
from dashboard.queries import SAMPLE_KEY
from probes.result import NO_PHASES, Phases, Reason, Result, Status
from probes.store.database import writing
from probes.store.events import record_event
from probes.store.meta import set_meta
from probes.store.results import ResultWriter
from probes.store.rollups import roll_up
from probes.store.summary import write_summaries
from probes.target import Check, Estate, Tier

DAY_MS = 86_400_000
MINUTE_MS = 60_000
LENGTH_MS = 14 * DAY_MS
# As dense as ten seconds allow: older days are drawn from hours anyway.
DENSE_MS, DENSE_STEP_MS, STEP_MS = DAY_MS, MINUTE_MS, 5 * MINUTE_MS
BATCH = 5000

# Kinds that fail with what they stand on; a port or a certificate does not.
_FOLLOWS = frozenset({"http", "heartbeat", "health", "journey"})
_STEADY = ("_max", "max_memory_bytes", "tls_version", "cipher_bits", "chain_length", "ttl_s", "answers")
_NOT_SHOWN = ("uptime_s", "_changed", "restarted")
Progress = Callable[[float], object]


@dataclass(frozen=True, slots=True)
class Outage:
    """A period of trouble of a target, from the point of view of the target at fault."""

    root: str
    members: tuple[str, ...]
    from_ms: int
    to_ms: int
    status: Status
    reason: Reason
    message: str

    def holds(self, target: str, at_ms: int) -> bool:
        """Whether a target was in it at that time."""
        return self.from_ms <= at_ms < self.to_ms and (target == self.root or target in self.members)


# How long ago, how long, and what: (tier, days ago, minutes, status, reason, message).
_PLOT = (
    (Tier.DATABASE, 9.31, 14, Status.DOWN, Reason.QUERY_ERROR, "unable to open database file"),
    (Tier.THIRD_PARTY, 6.12, 23, Status.DOWN, Reason.DEADLINE, "no answer within 2 s"),
    (Tier.CACHE, 3.24, 52, Status.DEGRADED, Reason.VALUE_LIMIT, "hit_ratio 0.52 below 0.85"),
    (Tier.APP, 1.43, 9, Status.DOWN, Reason.HTTP_STATUS, "status 500, expected 200"),
)


def plan_outages(estate: Estate, now_ms: int) -> list[Outage]:
    """A few past troubles, each of the last target of its tier; tiers that are not there have none."""
    outages = []
    for tier, days_ago, minutes, status, reason, message in _PLOT:
        root = next((target for target in reversed(list(estate.targets.values())) if target.tier is tier), None)
        if root is None:
            continue
        # One instance of several does not take its dependents with it.
        alone = sum(target.tier is tier for target in estate.targets.values()) == 1
        members = tuple(
            target_id for target_id in estate.targets if alone and root.id in estate.needed_by(target_id)
        ) if status is Status.DOWN else ()  # fmt: skip
        start = now_ms - int(days_ago * DAY_MS)
        outages.append(Outage(root.id, members, start, start + minutes * MINUTE_MS, status, reason, message))
    return outages


def slots(now_ms: int) -> list[int]:
    """The times of the history, oldest first: every five minutes, the last day every minute."""
    start, dense = now_ms - LENGTH_MS, now_ms - DENSE_MS
    return [*range(start, dense, STEP_MS), *range(dense, now_ms, DENSE_STEP_MS)]


def load_at(at_ms: int) -> float:
    """How busy the shop is, 0 to 1: quiet at night, most in the early evening, less at the weekend (UTC)."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    daily = 0.5 - 0.5 * math.cos((at.hour + at.minute / 60 - 4.0) / 24 * 2 * math.pi)
    return daily * (0.7 if at.weekday() >= 5 else 1.0)


class Past:
    """The past of one check, around what it answered just now."""

    def __init__(self, check: Check, now: Result | None, now_ms: int, chance: random.Random) -> None:
        self._check, self._chance, self._now_ms = check, chance, now_ms
        self._now = now if now is not None and now.status in (Status.UP, Status.DEGRADED) else None
        known = dict(self._now.metrics) if self._now else {}
        if "hit_ratio" in check.probe.metrics:
            known.setdefault("hit_ratio", 0.94)  # a first answer has no ratio yet: it takes two
        self._metrics = {name: value for name, value in known.items() if not name.endswith(_NOT_SHOWN)}

    def at(self, slot_ms: int, load: float, outage: Outage | None, location: str) -> Result:
        """The answer at a time, in an outage or not."""
        chance = self._chance
        factor = (0.8 + 0.5 * load) * math.exp(chance.gauss(0.0, 0.16))
        if chance.random() < 0.004:
            factor *= chance.uniform(2.0, 3.5)
        duration_s = self._now.duration_s * factor if self._now and self._now.duration_s is not None else None
        result = Result(
            check_id=self._check.id,
            location=location,
            slot_ms=slot_ms,
            started_ms=slot_ms + chance.randrange(0, 12),
            status=Status.UP,
            duration_s=duration_s,
            code=self._now.code if self._now else None,
            phases=_scaled(self._now.phases, factor) if self._now else NO_PHASES,
            metrics=self._metrics_at(slot_ms, load, factor),
        )
        return result if outage is None else self._broken(result, outage)

    def _metrics_at(self, slot_ms: int, load: float, factor: float) -> dict[str, float]:
        ago_days = (self._now_ms - slot_ms) / DAY_MS
        wobble = self._chance.gauss(0.0, 1.0)
        found = {}
        for name, value in self._metrics.items():
            if value == 0 or name.endswith(_STEADY) or name.startswith("is_"):
                found[name] = value
            elif name.endswith("days_left"):
                found[name] = value + ago_days
            elif "ratio" in name and 0 < value <= 1:
                swing = 0.012 * wobble + 0.03 * (load - 0.5)
                found[name] = min(1.0, max(0.0, value - swing if "hit" in name else value + swing))
            elif name.endswith("_s"):
                found[name] = value * factor
            else:
                varied = value * (0.75 + 0.5 * load + 0.04 * wobble)
                found[name] = float(round(varied)) if value == int(value) else varied
        return found

    def _broken(self, result: Result, outage: Outage) -> Result:
        if outage.status is Status.DEGRADED:
            if "hit_ratio" not in result.metrics:
                return result
            metrics = {**result.metrics, "hit_ratio": max(0.2, 0.52 + self._chance.gauss(0, 0.04))}
            message = f"hit_ratio {metrics['hit_ratio']:.2f} below 0.85"
            return replace(result, status=Status.DEGRADED, reason=outage.reason, message=message, metrics=metrics)
        own = self._check.target == outage.root
        if not own or outage.reason is Reason.HTTP_STATUS:
            if self._check.kind not in _FOLLOWS:
                return result
            if self._check.kind == "http":
                code = 500 if own else 503
                said = f"status {code}, expected 200"
                return replace(result, status=Status.DOWN, reason=Reason.HTTP_STATUS, message=said, code=code)
            return replace(result, status=Status.DOWN, reason=Reason.STALE_TARGET, message="no call came in time")
        return replace(
            result,
            status=Status.DOWN,
            reason=outage.reason,
            message=outage.message,
            code=None,
            duration_s=self._check.timeout_s if outage.reason is Reason.DEADLINE else result.duration_s,
            phases=NO_PHASES,
            metrics={},
        )


def results(
    estate: Estate, now: Mapping[str, Result], outages: Sequence[Outage], now_ms: int, location: str
) -> Iterator[Result]:
    """Every result of the two weeks, oldest first; the same for the same estate and time."""
    pasts = {
        check.id: Past(check, now.get(check.id), now_ms, random.Random(check.id))  # noqa: S311 - no secret
        for check in estate.checks.values()
    }
    for slot_ms in slots(now_ms):
        load = load_at(slot_ms)
        current = [outage for outage in outages if outage.from_ms <= slot_ms < outage.to_ms]
        for check in estate.checks.values():
            outage = next((one for one in current if one.holds(check.target, slot_ms)), None)
            # A check's runs are spread over the interval, as a worker spreads them.
            spread_ms = int(check.interval_s * 1000 * (hash_of(check.id) % 997) / 997)
            if (at_ms := slot_ms + spread_ms) < now_ms:
                yield pasts[check.id].at(at_ms, load, outage, location)


def hash_of(text: str) -> int:
    """A number for a text, the same in every process."""
    return int.from_bytes(text.encode()[-8:], "big")


def incident_of(outage: Outage, estate: Estate) -> tuple[Incident, list[IncidentEvent]]:
    """The resolved incident that an outage would have left, and what happened to it. Nothing is owed to anybody."""
    level = Level.DOWN if outage.status is Status.DOWN else Level.DEGRADED
    severity = Severity.PAGE if level is Level.DOWN else Severity.WARNING
    opened_ms, resolved_ms = outage.from_ms + 10_000, outage.to_ms + 15_000
    targets = (outage.root, *outage.members)
    bare = Incident(
        id=new_id(opened_ms),
        key=outage.root,
        state=IncidentState.RESOLVED,
        severity=severity,
        root=outage.root,
        members=tuple(Member(target, opened_ms, resolved_ms, level) for target in targets),
        title="",
        cause=outage.message,
        reason=outage.reason.value,
        opened_ms=opened_ms,
        resolved_ms=resolved_ms,
        told=targets,
        told_ms=opened_ms,
        closed_as="recovered",
    )
    title = title_of(bare, estate, targets)
    said = [
        ("comment", "Sample data: this happened in the demo's made-up past, and nobody was told.", opened_ms),
        ("opened", outage.root, opened_ms),
        *(("joined", target, opened_ms + 5000) for target in outage.members),
        ("resolved", "", resolved_ms),
    ]
    events = [IncidentEvent(bare.id, n, at_ms, kind, text) for n, (kind, text, at_ms) in enumerate(said, 1)]
    return replace(bare, title=title, seq=len(events)), events


def write_history(
    engine: Engine,
    estate: Estate,
    now: Mapping[str, Result],
    now_ms: int,
    *,
    location: str,
    progress: Progress = lambda _share: None,
) -> int:
    """Write results, rollups, summaries, resolved incidents and the mark that says where reality begins.

    `now` is what each check answers really, the pattern of its past. Returns the number of results. Raises StoreError.
    """
    outages = plan_outages(estate, now_ms)
    writer, batch, written = ResultWriter(engine), list[Result](), 0
    total = max(1, len(slots(now_ms)) * len(estate.checks))
    # The mark first: a history that is cut off half-way is still no reality.
    set_meta(engine, SAMPLE_KEY, str(now_ms))
    for result in results(estate, now, outages, now_ms, location):
        batch.append(result)
        if len(batch) >= BATCH:
            written += writer.save(batch)
            batch.clear()
            progress(0.75 * written / total)
    written += writer.save(batch)
    roll_up(engine, now_ms)
    progress(0.95)
    write_summaries(engine, now_ms)
    for outage in outages:
        incident, events = incident_of(outage, estate)
        with writing(engine) as connection:
            write_incidents(connection, [incident], events)
    record_event(
        engine, now_ms - LENGTH_MS, "sample_data", "everything before this end is the demo's sample data", end_ms=now_ms
    )
    progress(1.0)
    return written


def _scaled(phases: Phases, factor: float) -> Phases:
    values = [getattr(phases, one.name) for one in fields(Phases)]
    return Phases(*(value * factor if value is not None else None for value in values))
