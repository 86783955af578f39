"""How has a check behaved over a range of time? The series to draw; percentiles from sketches, never averaged."""

from collections.abc import Sequence

from sqlalchemy import Connection, Engine

from probes.store.arrays import read_arrays
from probes.store.buckets import read_rollups
from probes.store.changes import Change, load_changes
from probes.store.database import reading
from probes.store.due import DAY_MS, HOUR_MS
from probes.store.points import ROLLUP, Point, Steps, unclear_errors
from probes.store.rows import find_series, find_texts
from probes.store.spans import Held, Span, load_held, plan
from probes.store.uptime import Uptime, load_uptime

MAX_POINTS = 500
RAW_MS = 2 * DAY_MS
"""Ranges up to this long are drawn from single results."""

SECOND_MS, MINUTE_MS = 1000, 60_000
STEPS_MS = (
    *(SECOND_MS * seconds for seconds in (1, 2, 5, 10, 15, 30)),
    *(MINUTE_MS * minutes for minutes in (1, 2, 5, 10, 15, 30)),
    *(HOUR_MS * hours for hours in (1, 2, 3, 6, 12)),
    *(DAY_MS * days for days in (1, 2, 7, 14, 28, 56, 112)),
)


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
        if not ids:
            return []
        first_ms = from_ms - from_ms % step_ms
        steps = Steps(first_ms, step_ms, -(-(to_ms - first_ms) // step_ms))
        for span in spans:
            _count(connection, ids, span, steps)
    return steps.points()


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


def _count(connection: Connection, ids: Sequence[int], span: Span, steps: Steps) -> None:
    if span.source == "raw":
        arrays = read_arrays(connection, span.from_ms, span.to_ms, ids)
        reasons = {one: reason for one, (reason, _) in find_texts(connection, unclear_errors(arrays)).items()}
        steps.add(arrays, reasons)
    else:
        steps.add_rollups(read_rollups(connection, ids, span, ROLLUP))


__all__ = [
    "MAX_POINTS",
    "Change",
    "Point",
    "Uptime",
    "load_changes",
    "load_series",
    "load_uptime",
    "step_of",
]
