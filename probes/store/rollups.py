"""Hours and days of results, added up: what charts of long ranges and the uptime of months are read from."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from sqlalchemy import Engine, Table, func, select

from probes.store import due
from probes.store.database import reading, upsert, writing
from probes.store.due import DAY_MS, HOUR_MS, day_of
from probes.store.meta import ROLLED_MS, get_ms
from probes.store.rows import read_tallied
from probes.store.tables import rollup_d, rollup_h, state
from probes.store.tally import Tally

SLICE = 100
"""Series written in one transaction, so that the worker's batches get in between."""
PIECE_MS = 600_000
"""Time read at once, so that an hour of a thousand checks does not stand in memory."""


def roll_up(engine: Engine, now_ms: int) -> int:
    """Roll up every hour that closed 120 s ago or got late results since, and the days that are complete.

    Returns the number of hours. Safe to kill and to call again: an hour is a pure function of its results, and stays
    due until everything of it is written. Raises StoreError.
    """
    hours = due.claim(engine, now_ms)
    for day_ms, of_day in _by_day(hours):
        for hour_ms, _ in of_day:
            write_rollups(engine, rollup_h, hour_ms, _tally_hour(engine, hour_ms))
        with reading(engine) as connection:
            complete = get_ms(connection, ROLLED_MS) >= day_ms + DAY_MS
        if complete:
            write_rollups(engine, rollup_d, day_ms, _tally_day(engine, day_ms))
        with writing(engine) as connection:
            for hour_ms, marks in of_day:
                due.settle(connection, hour_ms, marks)
    return len(hours)


def write_rollups(engine: Engine, table: Table, bucket_ms: int, tallies: dict[int, Tally]) -> None:
    """Write the rows of a bucket, a slice of series a transaction."""
    ids = sorted(tallies)
    for start in range(0, len(ids), SLICE):
        rows = [tallies[series_id].to_row(bucket_ms, series_id) for series_id in ids[start : start + SLICE]]
        with writing(engine) as connection:
            insert = upsert(connection)(table)
            columns = {column.name: insert.excluded[column.name] for column in table.c if not column.primary_key}
            connection.execute(insert.on_conflict_do_update(index_elements=table.primary_key, set_=columns), rows)


def _by_day(hours: Iterable[tuple[int, int]]) -> Sequence[tuple[int, list[tuple[int, int]]]]:
    days: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for hour_ms, marks in hours:
        days[day_of(hour_ms)].append((hour_ms, marks))
    return sorted(days.items())


def _tally_hour(engine: Engine, hour_ms: int) -> dict[int, Tally]:
    tallies: dict[int, Tally] = defaultdict(Tally)
    with reading(engine) as connection:
        many = (connection.scalar(select(func.count()).select_from(state)) or 0) > SLICE
    piece_ms = PIECE_MS if many else HOUR_MS
    for from_ms in range(hour_ms, hour_ms + HOUR_MS, piece_ms):
        with reading(engine) as connection:
            rows = read_tallied(connection, from_ms, from_ms + piece_ms)
        for row in rows:
            tallies[row[0]].add(row)
    return tallies


def _tally_day(engine: Engine, day_ms: int) -> dict[int, Tally]:
    query = select(rollup_h).where(rollup_h.c.bucket_ms >= day_ms, rollup_h.c.bucket_ms < day_ms + DAY_MS)
    with reading(engine) as connection:
        rows = connection.execute(query).fetchall()
    tallies: dict[int, Tally] = defaultdict(Tally)
    for row in rows:
        tallies[row.series_id].merge(row)
    return tallies
