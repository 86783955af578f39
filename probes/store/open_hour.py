"""How many results came since the summaries were written? Counted on, not counted anew, each time somebody looks."""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, func, select

from probes.store.due import DAY_MS, day_of
from probes.store.keys import SERIES_BITS
from probes.store.meta import HOT_MS, get_ms
from probes.store.tables import hot, rollup_h, summary, within

SETTLED_MS = 120_000
"""Behind the newest result by this much, results are counted once. What comes later still is in the next summary."""

Counts = tuple[int, int, int, int]
"""Results by status: up, degraded, down, unknown."""
NOTHING: Counts = (0, 0, 0, 0)
ByDay = dict[int, dict[int, Counts]]
"""Counts by series and start of day."""


@dataclass(frozen=True, slots=True)
class _Counted:
    until: frozenset[int]
    to_ms: int
    counts: ByDay


_counted: WeakKeyDictionary[Engine, _Counted] = WeakKeyDictionary()
_guard = threading.Lock()


def count_since(engine: Engine, connection: Connection, until: frozenset[int]) -> ByDay:
    """Results of each series after its summary's end; `until` are the ends of all summaries there are."""
    with _guard:
        known = _counted.get(engine)
    hot_ms = get_ms(connection, HOT_MS)
    if known is None or known.until != until or known.to_ms < hot_ms:
        known = _Counted(until, min(until, default=0), {})
    newest_ms = max((connection.scalar(select(func.max(hot.c.id))) or 0) >> SERIES_BITS, hot_ms - 1)
    settled_ms = max(known.to_ms, newest_ms - SETTLED_MS)
    if settled_ms > known.to_ms:
        known = _Counted(until, settled_ms, _add(known.counts, _count(connection, known.to_ms, settled_ms, until)))
        with _guard:
            _counted[engine] = known
    return _add(known.counts, _count(connection, settled_ms, newest_ms + 1, until))


def to_counts(values: Iterable[Any]) -> Counts:
    """Four whole numbers."""
    up, degraded, down, unknown = (int(value) for value in values)
    return up, degraded, down, unknown


def plus(one: Counts, other: Counts) -> Counts:
    """The sum of two."""
    up, degraded, down, unknown = one
    return up + other[0], degraded + other[1], down + other[2], unknown + other[3]


def _count(connection: Connection, from_ms: int, to_ms: int, until: frozenset[int]) -> ByDay:
    found: ByDay = {}
    # What was packed since is in the rollups of its hours.
    hot_ms = min(max(get_ms(connection, HOT_MS), from_ms), to_ms)
    if from_ms < hot_ms:
        _add_packed(connection, from_ms, hot_ms, found)
    day = hot.c.slot_ms - hot.c.slot_ms % DAY_MS
    query = select(hot.c.series_id, day.label("day_ms"), hot.c.status, func.count()).where(within(hot_ms, to_ms))
    if hot_ms < max(until, default=0):
        query = query.outerjoin(summary, summary.c.series_id == hot.c.series_id)
        query = query.where(hot.c.slot_ms >= func.coalesce(summary.c.until_ms, 0))
    for series_id, day_ms, status, count in connection.execute(
        query.group_by(hot.c.series_id, day, hot.c.status)
    ).fetchall():
        by_day = found.setdefault(series_id, {})
        counts = list(by_day.get(day_ms, NOTHING))
        counts[status] += count
        by_day[day_ms] = (counts[0], counts[1], counts[2], counts[3])
    return found


def _add_packed(connection: Connection, from_ms: int, hot_ms: int, found: ByDay) -> None:
    columns = [rollup_h.c[name] for name in ("series_id", "bucket_ms", "up", "degraded", "down", "unknown")]
    query = (
        select(*columns)
        .outerjoin(summary, summary.c.series_id == rollup_h.c.series_id)
        .where(
            rollup_h.c.bucket_ms >= from_ms,
            rollup_h.c.bucket_ms < hot_ms,
            rollup_h.c.bucket_ms >= func.coalesce(summary.c.until_ms, 0),
        )
    )
    for series_id, bucket_ms, *counts in connection.execute(query):
        by_day = found.setdefault(series_id, {})
        known = by_day.get(day_of(bucket_ms), NOTHING)
        by_day[day_of(bucket_ms)] = plus(known, to_counts(counts))


def _add(one: Mapping[int, Mapping[int, Counts]], other: ByDay) -> ByDay:
    total = {series_id: dict(by_day) for series_id, by_day in one.items()}
    for series_id, by_day in other.items():
        known = total.setdefault(series_id, {})
        for day_ms, counts in by_day.items():
            known[day_ms] = plus(known[day_ms], counts) if day_ms in known else counts
    return total
