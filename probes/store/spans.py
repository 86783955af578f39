"""Where does the store read a range of time from? Single results, hours or days: the finest that is needed and held."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, func, select

from probes.store.due import DAY_MS, HOUR_MS, day_of, hour_of
from probes.store.meta import PRUNED_MS, ROLLED_MS, get_ms
from probes.store.tables import due_hour, rollup_d, rollup_h

Source = Literal["raw", "hour", "day"]


@dataclass(frozen=True, slots=True)
class Held:
    """What the store holds: rollups before `rolled_ms`, single results from `raw_ms`, hours from `hourly_ms` on.

    0 where nothing was deleted. Hours in `due` wait to be rolled up (again): their single results are all there.
    """

    rolled_ms: int
    raw_ms: int = 0
    hourly_ms: int = 0
    due: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Span:
    """from_ms <= t < to_ms, to be read from one source."""

    source: Source
    from_ms: int
    to_ms: int


def load_held(connection: Connection) -> Held:
    """What the store holds now."""
    rolled_ms = get_ms(connection, ROLLED_MS)
    hourly_ms = connection.scalar(select(func.min(rollup_h.c.bucket_ms))) or rolled_ms
    daily_ms = connection.scalar(select(func.min(rollup_d.c.bucket_ms)))
    nothing_older = daily_ms is None or daily_ms >= day_of(hourly_ms)
    due = frozenset(connection.scalars(select(due_hour.c.bucket_ms)))
    return Held(rolled_ms, get_ms(connection, PRUNED_MS), 0 if nothing_older else hourly_ms, due)


def plan(from_ms: int, to_ms: int, step_ms: int, held: Held) -> list[Span]:
    """The spans of a range that is drawn in steps of `step_ms`, in order, without gap or overlap.

    A source is coarser than the step only where nothing finer is held; then a whole hour or day may reach over the
    edges of the range.
    """
    spans: list[Span] = []
    for span in _pieces(from_ms, to_ms, step_ms, held):
        last = spans[-1] if spans else None
        if last and last.source == span.source and last.to_ms == span.from_ms:
            spans[-1] = Span(span.source, last.from_ms, span.to_ms)
        else:
            spans.append(span)
    return spans


def _pieces(from_ms: int, to_ms: int, step_ms: int, held: Held) -> Iterator[Span]:
    at_ms = from_ms
    while at_ms < to_ms:
        source = _source(at_ms, to_ms, step_ms, held)
        end_ms = _end(source, at_ms, to_ms, step_ms, held)
        yield Span(source, at_ms, end_ms)
        at_ms = end_ms


def _source(at_ms: int, to_ms: int, step_ms: int, held: Held) -> Source:
    if at_ms >= held.rolled_ms or hour_of(at_ms) in held.due:
        return "raw"
    whole_day = at_ms == day_of(at_ms) and at_ms + DAY_MS <= min(to_ms, held.rolled_ms) and not _is_due(at_ms, held)
    whole_hour = at_ms == hour_of(at_ms) and at_ms + HOUR_MS <= to_ms
    raw_held = at_ms >= held.raw_ms
    if raw_held and (step_ms < HOUR_MS or not whole_hour):
        return "raw"
    if at_ms >= held.hourly_ms and not (step_ms >= DAY_MS and whole_day):
        return "hour"
    # A day that is not complete has no rollup of its own yet.
    return "day" if day_of(at_ms) + DAY_MS <= held.rolled_ms else "hour"


def _end(source: Source, at_ms: int, to_ms: int, step_ms: int, held: Held) -> int:
    if source == "day":
        return min(day_of(at_ms) + DAY_MS, to_ms)
    if source == "hour":
        return min(hour_of(at_ms) + HOUR_MS, to_ms)
    if at_ms >= held.rolled_ms:
        return to_ms
    if step_ms < HOUR_MS and not held.due:
        return min(to_ms, held.rolled_ms)
    return min(hour_of(at_ms) + HOUR_MS, to_ms)


def _is_due(day_ms: int, held: Held) -> bool:
    return any(day_ms <= hour_ms < day_ms + DAY_MS for hour_ms in held.due)
