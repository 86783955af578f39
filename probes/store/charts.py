"""How has a check behaved over a range of time? The series to draw; percentiles from sketches, never averaged."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, Engine

from probes.result import NO_PHASES, Phases
from probes.store.buckets import read_rollups
from probes.store.changes import Change, load_changes
from probes.store.columns import Columns
from probes.store.database import reading
from probes.store.due import DAY_MS, HOUR_MS
from probes.store.history import read_columns
from probes.store.rows import find_series
from probes.store.spans import Held, Span, load_held, plan
from probes.store.tally import Tally, find_reasons
from probes.store.uptime import Uptime, load_uptime

MAX_POINTS = 500
RAW_MS = 2 * DAY_MS
"""Ranges up to this long are drawn from single results."""

SECOND_MS, MINUTE_MS = 1000, 60_000
_EVER_MS = 1 << 60
STEPS_MS = (
    *(SECOND_MS * seconds for seconds in (1, 2, 5, 10, 15, 30)),
    *(MINUTE_MS * minutes for minutes in (1, 2, 5, 10, 15, 30)),
    *(HOUR_MS * hours for hours in (1, 2, 3, 6, 12)),
    *(DAY_MS * days for days in (1, 2, 7, 14, 28, 56, 112)),
)


@dataclass(frozen=True, slots=True)
class Point:
    """The results of one step of a chart, which begins at `t_ms`.

    Percentiles are of the answered runs, within 1 %; phases are means over the same runs; metrics are means.
    """

    t_ms: int
    n: int
    up: int
    degraded: int
    down: int
    unknown: int
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    phases: Phases = NO_PHASES
    metrics: Mapping[str, float] = field(default_factory=dict)
    codes: Mapping[int, int] = field(default_factory=dict)


def load_series(
    engine: Engine, check_id: str, from_ms: int, to_ms: int, points: int = MAX_POINTS, *, location: str | None = None
) -> list[Point]:
    """What to draw for from_ms <= t < to_ms: at most `points` (and 500), none for a step without results.

    All locations together, or one. Single results up to a range of two days, hours or days beyond. Raises StoreError.
    """
    if to_ms <= from_ms:
        return []
    with reading(engine) as connection:
        held = load_held(connection)
        step_ms = step_of(from_ms, to_ms, min(points, MAX_POINTS), held)
        spans = plan(from_ms - from_ms % step_ms, to_ms + -to_ms % step_ms, step_ms, held)
        ids = list(find_series(connection, check_id, location))
        tallies: dict[int, Tally] = defaultdict(Tally)
        for span in spans if ids else ():
            _count(connection, ids, span, step_ms, tallies)
    return [_point(t_ms, tally) for t_ms, tally in sorted(tallies.items()) if t_ms + step_ms > from_ms]


def step_of(from_ms: int, to_ms: int, points: int, held: Held) -> int:
    """The smallest step that draws a range in at most `points` points and that the store has something for."""
    length_ms = to_ms - from_ms
    least_ms = SECOND_MS
    if length_ms > RAW_MS or from_ms < held.raw_ms:
        least_ms = HOUR_MS
    if from_ms < held.hourly_ms:
        least_ms = DAY_MS
    # One point more than the length asks for: the range may begin and end within a step.
    fitting = (step for step in STEPS_MS if step >= least_ms and length_ms // step + 2 <= points)
    return next(fitting, STEPS_MS[-1])


def _count(connection: Connection, ids: Sequence[int], span: Span, step_ms: int, tallies: dict[int, Tally]) -> None:
    if span.source == "raw":
        parts = read_columns(connection, span.from_ms, span.to_ms, ids)
        reasons = find_reasons(connection, [columns for _, columns in parts])
        for _, columns in parts:
            for t_ms, piece in _steps(columns, step_ms):
                tallies[t_ms].add(piece, reasons)
    else:
        for row in read_rollups(connection, ids, span):
            tallies[row.bucket_ms - row.bucket_ms % step_ms].merge(row)


def _steps(columns: Columns, step_ms: int) -> Iterator[tuple[int, Columns]]:
    at, slots = 0, columns.slots
    while at < len(slots):
        t_ms = slots[at] - slots[at] % step_ms
        end = bisect_left(slots, t_ms + step_ms, at)
        yield t_ms, columns.part(at, end)
        at = end


def _point(t_ms: int, tally: Tally) -> Point:
    up, degraded, down, unknown = tally.counts
    return Point(
        t_ms,
        tally.n,
        up,
        degraded,
        down,
        unknown,
        tally.quantile_s(0.5),
        tally.quantile_s(0.95),
        tally.quantile_s(0.99),
        tally.mean_phases(),
        tally.mean_metrics(),
        dict(sorted(tally.codes.items())),
    )


def count_span(connection: Connection, ids: Sequence[int], span: Span, tally: Tally) -> None:
    """Count all results of a span of some series."""
    _count(connection, ids, span, _EVER_MS, defaultdict(lambda: tally))


__all__ = [
    "MAX_POINTS",
    "Change",
    "Point",
    "Uptime",
    "count_span",
    "load_changes",
    "load_series",
    "load_uptime",
    "step_of",
]
