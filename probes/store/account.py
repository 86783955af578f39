"""What do the results of a check come to over a stretch of time, with some of it taken out?"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, Engine

from probes.store.buckets import read_rollups
from probes.store.database import reading
from probes.store.due import DAY_MS, HOUR_MS, day_of, hour_of
from probes.store.history import read_columns
from probes.store.rows import find_series
from probes.store.spans import Held, Span, load_held, plan
from probes.store.tally import Tally, find_reasons
from probes.store.uptime import Piece, Uptime, add_up, load_pieces, sum_up

Period = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Account:
    """Uptime, all counts and latencies, and (ok, judged) of each UTC day, by its start.

    `excluded_ms` is how much was taken out, `kept_ms` how much of what was asked to be taken out could not be: where
    only daily sums are kept.
    """

    uptime: Uptime
    tally: Tally
    days: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    excluded_ms: int = 0
    kept_ms: int = 0


def load_account(engine: Engine, check_id: str, from_ms: int, to_ms: int, excluded: Sequence[Period] = ()) -> Account:
    """from_ms <= t < to_ms without the excluded periods, all locations together. Raises StoreError.

    Where single results are not kept any more a period is taken out by whole hours.
    """
    with reading(engine) as connection:
        held = load_held(connection)
        ids = list(find_series(connection, check_id))
        out, kept_ms = rounded(excluded, held)
        stretches = outside(from_ms, to_ms, out)
        length_ms = sum(end_ms - start_ms for start_ms, end_ms in stretches)
        pieces = [_pieces(connection, series_id, stretches, held) for series_id in ids]
        tally = _tally(connection, ids, stretches, held)
    days: dict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for piece in (piece for several in pieces for piece in several):
        ok, judged = days[day_of(piece.from_ms)]
        days[day_of(piece.from_ms)] = (ok + piece.ok, judged + piece.judged)
    uptime = sum_up(add_up(several, length_ms) for several in pieces)
    return Account(uptime, tally, dict(days), to_ms - from_ms - length_ms, kept_ms)


def rounded(periods: Sequence[Period], held: Held) -> tuple[list[Period], int]:
    """The periods as far as they can be taken out: by the hour where that is the finest; and how much cannot be."""
    found: list[Period] = []
    kept_ms = 0
    for start_ms, end_ms in periods:
        if start_ms < held.hourly_ms:
            kept_ms += end_ms - start_ms
        elif start_ms < held.raw_ms:
            found.append((hour_of(start_ms), end_ms + -end_ms % HOUR_MS))
        else:
            found.append((start_ms, end_ms))
    return found, kept_ms


def outside(from_ms: int, to_ms: int, periods: Sequence[Period]) -> list[Period]:
    """What is left of from_ms <= t < to_ms without these periods, which may overlap."""
    left: list[Period] = []
    at_ms = from_ms
    for start_ms, end_ms in sorted(periods):
        if start_ms > at_ms:
            left.append((at_ms, min(start_ms, to_ms)))
        at_ms = max(at_ms, end_ms)
        if at_ms >= to_ms:
            break
    if at_ms < to_ms:
        left.append((at_ms, to_ms))
    return [(start_ms, end_ms) for start_ms, end_ms in left if start_ms < end_ms]


def _pieces(connection: Connection, series_id: int, stretches: Sequence[Period], held: Held) -> list[Piece]:
    return [
        piece for start_ms, end_ms in stretches for piece in load_pieces(connection, series_id, start_ms, end_ms, held)
    ]


def _tally(connection: Connection, ids: Sequence[int], stretches: Sequence[Period], held: Held) -> Tally:
    tally = Tally()
    for start_ms, end_ms in stretches if ids else ():
        for span in plan(start_ms, end_ms, DAY_MS, held):
            _count(connection, ids, span, tally)
    return tally


def _count(connection: Connection, ids: Sequence[int], span: Span, tally: Tally) -> None:
    if span.source == "raw":
        parts = [columns for _, columns in read_columns(connection, span.from_ms, span.to_ms, ids)]
        reasons = find_reasons(connection, parts)
        for columns in parts:
            tally.add(columns, reasons)
    else:
        for row in read_rollups(connection, ids, span):
            tally.merge(row)
