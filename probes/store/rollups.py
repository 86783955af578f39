"""Hours and days of results, added up: what charts of long ranges and the uptime of months are read from."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from sqlalchemy import Engine, select

from probes.store import due
from probes.store.database import put_rows, reading, writing
from probes.store.due import DAY_MS, day_of
from probes.store.meta import ROLLED_MS, get_ms
from probes.store.packing import SLICE, pack_hour, pack_old, trim
from probes.store.tables import rollup_d, rollup_h
from probes.store.tally import Tally


def roll_up(engine: Engine, now_ms: int) -> int:
    """Pack and roll up every hour that closed 120 s ago or got late results since, and the days that are complete.

    Returns the number of hours. Safe to kill and to call again, by any number of processes: an hour is a pure function
    of its results, and stays due until everything of it is written. Raises StoreError.
    """
    hours = due.claim(engine, now_ms)
    for day_ms, of_day in _by_day(hours):
        for hour_ms, _ in of_day:
            pack_hour(engine, hour_ms)
        with reading(engine) as connection:
            complete = get_ms(connection, ROLLED_MS) >= day_ms + DAY_MS
        if complete:
            _write_day(engine, day_ms)
        with writing(engine) as connection:
            for hour_ms, marks in of_day:
                due.settle(connection, hour_ms, marks)
        trim(engine, now_ms)
    old = pack_old(engine, now_ms)
    if old or not hours:
        trim(engine, now_ms)
    return len(hours) + old


def _by_day(hours: Iterable[tuple[int, int]]) -> Sequence[tuple[int, list[tuple[int, int]]]]:
    days: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for hour_ms, marks in hours:
        days[day_of(hour_ms)].append((hour_ms, marks))
    return sorted(days.items())


def _write_day(engine: Engine, day_ms: int) -> None:
    query = select(rollup_h).where(rollup_h.c.bucket_ms >= day_ms, rollup_h.c.bucket_ms < day_ms + DAY_MS)
    with reading(engine) as connection:
        rows = connection.execute(query).fetchall()
    tallies: dict[int, Tally] = defaultdict(Tally)
    for row in rows:
        tallies[row.series_id].merge(row)
    ids = sorted(tallies)
    for start in range(0, len(ids), SLICE):
        days = [tallies[series_id].to_row(day_ms, series_id) for series_id in ids[start : start + SLICE]]
        with writing(engine) as connection:
            put_rows(connection, rollup_d, days)
