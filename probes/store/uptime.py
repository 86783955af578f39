"""How much of the time did a check's target serve, and how much of that time do we know about?"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from sqlalchemy import Connection, Engine

from probes.store.buckets import read_rollups
from probes.store.database import reading
from probes.store.due import DAY_MS, HOUR_MS, hour_of
from probes.store.history import read_columns
from probes.store.rows import find_series
from probes.store.spans import Held, Span, load_held, plan

_COUNTS = ("bucket_ms", "up", "degraded", "down", "unknown")


@dataclass(frozen=True, slots=True)
class Uptime:
    """`ok` of `judged` results; `expected` is how many the whole range would have at the check's usual rhythm.

    Degraded serves, so it is ok; unknown is neither ok nor judged. `covered` counts judged results up to what was
    expected in their hour, so that the faster rhythm of an outage does not hide a gap of ours. Time before the first
    result is expected like any other: 14 days of results are 16 % of 90 days, and uptime must not look like more.
    """

    ok: int = 0
    judged: int = 0
    expected: int = 0
    covered: int = 0

    @property
    def ratio(self) -> float | None:
        """Share of the judged results in which the target served; None where nothing was judged."""
        return self.ok / self.judged if self.judged else None

    @property
    def coverage(self) -> float | None:
        """Share of what was expected that was judged; None where nothing was expected."""
        return min(1.0, self.covered / self.expected) if self.expected else None


@dataclass(frozen=True, slots=True)
class Piece:
    """Counts of one hour or day, or of a part of it."""

    from_ms: int
    to_ms: int
    ok: int
    judged: int
    n: int


def load_uptime(
    engine: Engine,
    check_id: str,
    from_ms: int,
    to_ms: int,
    *,
    interval_s: float | None = None,
    location: str | None = None,
) -> Uptime:
    """Uptime over from_ms <= t < to_ms, of all locations together or one. Raises StoreError.

    `interval_s` says how many results are expected; without it the usual number of an hour does.
    """
    with reading(engine) as connection:
        held = load_held(connection)
        ids = find_series(connection, check_id, location)
        parts = [load_pieces(connection, series_id, from_ms, to_ms, held) for series_id in ids]
    return sum_up(add_up(pieces, to_ms - from_ms, interval_s) for pieces in parts)


def sum_up(parts: Iterable[Uptime]) -> Uptime:
    """Several uptimes as one: every result counts the same."""
    total = Uptime()
    for one in parts:
        total = Uptime(
            total.ok + one.ok, total.judged + one.judged, total.expected + one.expected, total.covered + one.covered
        )
    return total


def add_up(pieces: Sequence[Piece], length_ms: int, interval_s: float | None = None) -> Uptime:
    """The uptime of one series over a time of this length; nothing at all where it has no result in it."""
    filled = [piece for piece in pieces if piece.n]
    if not filled:
        return Uptime()
    per_ms = 1 / (interval_s * 1000) if interval_s else _usual_rate(filled)
    # The newest run may still be on its way.
    expected = max(0, int(length_ms * per_ms + 0.5) - 1)
    covered = sum(min(piece.judged, (piece.to_ms - piece.from_ms) * per_ms) for piece in filled)
    judged = sum(piece.judged for piece in filled)
    return Uptime(sum(piece.ok for piece in filled), judged, max(expected, 1), int(covered + 0.5))


def _usual_rate(filled: list[Piece]) -> float:
    whole = [piece for piece in filled if piece.to_ms - piece.from_ms >= HOUR_MS]
    return median(piece.n / (piece.to_ms - piece.from_ms) for piece in whole or filled)


def load_pieces(connection: Connection, series_id: int, from_ms: int, to_ms: int, held: Held) -> list[Piece]:
    """Counts of a series by hour, or by day where no hours are held any more; in order."""
    pieces: list[Piece] = []
    for span in plan(from_ms, to_ms, HOUR_MS, held):
        pieces += _read_raw(connection, series_id, span) if span.source == "raw" else _read(connection, series_id, span)
    return pieces


def _read(connection: Connection, series_id: int, span: Span) -> list[Piece]:
    width_ms = DAY_MS if span.source == "day" else HOUR_MS
    return [
        Piece(
            row.bucket_ms,
            row.bucket_ms + width_ms,
            row.up + row.degraded,
            row.up + row.degraded + row.down,
            row.up + row.degraded + row.down + row.unknown,
        )
        for row in read_rollups(connection, [series_id], span, _COUNTS)
    ]


def _read_raw(connection: Connection, series_id: int, span: Span) -> list[Piece]:
    counts: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for _, columns in read_columns(connection, span.from_ms, span.to_ms, [series_id]):
        for (hour_ms, status), n in Counter(zip(map(hour_of, columns.slots), columns.status, strict=True)).items():
            counts[hour_ms][status] += n
    return [
        Piece(
            max(hour_ms, span.from_ms),
            min(hour_ms + HOUR_MS, span.to_ms),
            up + degraded,
            up + degraded + down,
            up + degraded + down + unknown,
        )
        for hour_ms, (up, degraded, down, unknown) in sorted(counts.items())
    ]
