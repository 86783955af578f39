"""How do sums come into the rollups whose single results never were in this store? For history of other programs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, Table, func, select

from probes.store import due
from probes.store.database import reading, upsert, writing
from probes.store.due import DAY_MS, HOUR_MS, day_of
from probes.store.interning import Interning
from probes.store.meta import ROLLED_MS, get_ms
from probes.store.tables import rollup_d, rollup_h
from probes.store.tally import Tally

SLICE = 500


@dataclass(frozen=True, slots=True)
class Sum:
    """How often a check was up and down in one hour or UTC day, and its least and greatest latency in seconds.

    No percentiles: they cannot be had from sums.
    """

    check_id: str
    bucket_ms: int
    up: int
    down: int
    min_s: float | None = None
    max_s: float | None = None


def save_past_hours(engine: Engine, location: str, sums: Sequence[Sum]) -> int:
    """Add hours that are over and of which the store has nothing yet; returns how many were new. Raises StoreError.

    Their days are due again: call `roll_up` afterwards.
    """
    return _save(engine, location, sums, rollup_h)


def save_past_days(engine: Engine, location: str, sums: Sequence[Sum]) -> int:
    """Add days before the first hour that the store has a sum of; returns how many were new. Raises StoreError."""
    with reading(engine) as connection:
        first_ms = connection.scalar(select(func.min(rollup_h.c.bucket_ms)))
    return _save(
        engine, location, [one for one in sums if first_ms is None or one.bucket_ms < day_of(first_ms)], rollup_d
    )


def _save(engine: Engine, location: str, sums: Sequence[Sum], table: Table) -> int:
    saved = 0
    interning = Interning()
    for start in range(0, len(sums), SLICE):
        part = sums[start : start + SLICE]
        with writing(engine) as connection:
            due.exclude(connection)
            ids = interning.series_ids(connection, ((one.check_id, location) for one in part))
            rolled_ms = get_ms(connection, ROLLED_MS)
            width_ms = HOUR_MS if table is rollup_h else DAY_MS
            rows = [
                _tally(one).to_row(one.bucket_ms, ids[one.check_id, location])
                for one in part
                if one.bucket_ms + width_ms <= rolled_ms and one.up + one.down
            ]
            added = _insert(connection, table, rows)
            saved += len(added)
            if table is rollup_h:
                due.mark(connection, set(added))
        interning.keep()
    return saved


def _insert(connection: Connection, table: Table, rows: Sequence[dict[str, object]]) -> list[int]:
    if not rows:
        return []
    buckets = {row["bucket_ms"] for row in rows}
    query = select(table.c.bucket_ms, table.c.series_id).where(table.c.bucket_ms.in_(buckets))
    held = {(row.bucket_ms, row.series_id) for row in connection.execute(query)}
    new = [row for row in rows if (row["bucket_ms"], row["series_id"]) not in held]
    if new:
        connection.execute(upsert(connection)(table).on_conflict_do_nothing(), new)
    return _whole(row["bucket_ms"] for row in new)


def _whole(values: Iterable[object]) -> list[int]:
    return [value for value in values if isinstance(value, int)]


def _tally(one: Sum) -> Tally:
    tally = Tally(counts=[one.up, 0, one.down, 0])
    tally.min_us = None if one.min_s is None else int(one.min_s * 1e6)
    tally.max_us = None if one.max_s is None else int(one.max_s * 1e6)
    return tally
