"""Is the store whole? What SQLite says of its file, and what must hold between our tables."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

from sqlalchemy import Connection, Engine, select

from probes.store.block import BlockError, unpack
from probes.store.columns import STEP_US, Columns
from probes.store.damage import find_damage
from probes.store.database import database_file, reading
from probes.store.due import HOUR_MS
from probes.store.history import hours_held, read_hour_blocks
from probes.store.keys import SERIES_BITS
from probes.store.maintenance import Progress
from probes.store.meta import HOT_MS, PRUNED_MS, ROLLED_MS, get_ms
from probes.store.rows import HotRow
from probes.store.tables import HOT_COLUMNS, due_hour, error, hot, rollup_d, rollup_h, series, state, summary, within

MAX_NAMED = 5

_MASK = (1 << SERIES_BITS) - 1


def db_check(engine: Engine, progress: Progress = lambda *_: None) -> list[str]:
    """Problems as sentences, empty for a clean store. Reads every result: minutes on a big store. Raises StoreError."""
    parts: tuple[Callable[[Connection], list[str]], ...] = (
        _check_file,
        _check_orphans,
        partial(_check_results, progress=progress),
    )
    problems: list[str] = []
    for part in parts:
        with reading(engine) as connection:
            problems += part(connection)
        if part is _check_file and problems:
            break  # a damaged file answers nothing else rightly
    return problems


def _check_file(connection: Connection) -> list[str]:
    file = database_file(connection.engine)
    return find_damage(file) if file is not None else []


def _check_orphans(connection: Connection) -> list[str]:
    problems = []
    for table in (hot, state, rollup_h, rollup_d, summary):
        ids = select(table.c.series_id).distinct().where(table.c.series_id.not_in(select(series.c.id)))
        problems += _say(list(connection.scalars(ids)), f"{table.name} has rows of a series that does not exist")
    for table in (hot, state):
        ids = (
            select(table.c.error_id)
            .distinct()
            .where(table.c.error_id.is_not(None), table.c.error_id.not_in(select(error.c.id)))
        )
        problems += _say(list(connection.scalars(ids)), f"{table.name} has rows with an error text that does not exist")
    return problems


@dataclass(slots=True)
class _Run:
    """The newest results of a series: the last of them, the one before, and since when they have its status."""

    last: HotRow
    prev_ms: int | None
    since_ms: int
    began: bool  # the result before `since_ms` is there, and has another status


@dataclass(slots=True)
class _Findings:
    damaged: set[int] = field(default_factory=set)
    miscounted: set[int] = field(default_factory=set)
    not_added_up: set[int] = field(default_factory=set)
    series: set[int] = field(default_factory=set)
    errors: set[int] = field(default_factory=set)
    runs: dict[int, _Run] = field(default_factory=dict)


def _check_results(connection: Connection, progress: Progress) -> list[str]:
    """Every hour as readers see it: its blocks, its rollups, and what the states say of the newest of all."""
    found = _Findings()
    hot_ms, rolled_ms, pruned_ms = (get_ms(connection, key) for key in (HOT_MS, ROLLED_MS, PRUNED_MS))
    due = set(connection.scalars(select(due_hour.c.bucket_ms)))
    hours = hours_held(connection)
    for number, hour_ms in enumerate(hours):
        progress("hours of results checked", number, len(hours))
        if hour_ms + HOUR_MS <= pruned_ms:
            continue  # late in being deleted
        blocks = _unpacked(connection, hour_ms, found)
        rows = _hot_of(connection, hour_ms)
        seen = rows if hour_ms >= hot_ms else _joined(blocks, rows)
        if hour_ms < rolled_ms and hour_ms not in due:
            rolled = _rolled(connection, hour_ms)
            if rolled != {series_id: len(columns) for series_id, columns in seen.items()}:
                found.not_added_up.add(hour_ms)
            if any(rolled.get(series_id) != len(columns) for series_id, columns in blocks.items()):
                found.miscounted.add(hour_ms)
        for series_id, columns in seen.items():
            found.runs[series_id] = _follow(found.runs.get(series_id), columns, series_id)
    return [*_say_blocks(connection, found), *_check_states(connection, found.runs, pruned_ms)]


def _unpacked(connection: Connection, hour_ms: int, found: _Findings) -> dict[int, Columns]:
    blocks: dict[int, Columns] = {}
    for key, n, data in read_hour_blocks(connection, hour_ms):
        found.series.add(key & _MASK)
        try:
            columns = unpack(data, hour_ms)
        except BlockError:
            found.damaged.add(key)
            continue
        slots = columns.slots
        inside = bool(slots) and hour_ms <= slots[0] and slots[-1] < hour_ms + HOUR_MS
        if len(columns) != n or not inside or any(a >= b for a, b in pairwise(slots)):
            found.damaged.add(key)
        found.errors.update(error_id for error_id in set(columns.error_id) if error_id is not None)
        blocks[key & _MASK] = columns
    return blocks


def _hot_of(connection: Connection, hour_ms: int) -> dict[int, Columns]:
    rows: dict[int, list[HotRow]] = {}
    query = select(*HOT_COLUMNS).where(within(hour_ms, hour_ms + HOUR_MS)).order_by(hot.c.id)
    for row in connection.execute(query).fetchall():
        rows.setdefault(row[0] & _MASK, []).append(HotRow._make(row))
    return {series_id: Columns.of_rows(of_series) for series_id, of_series in rows.items()}


def _joined(blocks: Mapping[int, Columns], rows: Mapping[int, Columns]) -> dict[int, Columns]:
    ids = {*blocks, *rows}
    return {series_id: blocks.get(series_id, Columns()).merged(rows.get(series_id, Columns())) for series_id in ids}


def _rolled(connection: Connection, hour_ms: int) -> dict[int, int]:
    query = select(rollup_h.c.series_id, rollup_h.c.n).where(rollup_h.c.bucket_ms == hour_ms)
    return {row.series_id: row.n for row in connection.execute(query)}


def _follow(run: _Run | None, columns: Columns, series_id: int) -> _Run:
    status = columns.status
    last = next(iter(columns.part(len(columns) - 1, len(columns)).rows(series_id)))
    start = len(status) - 1
    while start and status[start - 1] == status[start]:
        start -= 1
    prev_ms = columns.slots[-2] if len(columns) > 1 else run.last.slot_ms if run else None
    if start == 0 and run and run.last.status == last.status:
        return _Run(last, prev_ms, run.since_ms, run.began)
    return _Run(last, prev_ms, columns.slots[start], start > 0 or run is not None)


def _say_blocks(connection: Connection, found: _Findings) -> list[str]:
    lost_series = found.series - set(connection.scalars(select(series.c.id)))
    lost_errors = found.errors - set(connection.scalars(select(error.c.id)))
    return [
        *_say(lost_series, "block has rows of a series that does not exist"),
        *_say(lost_errors, "block has rows with an error text that does not exist"),
        *_say(found.damaged, "a block is damaged"),
        *_say(found.miscounted, "a block has not the results that its hour's rollup counted"),
        *_say(found.not_added_up, "a rolled up hour does not add up to its results"),
    ]


def _check_states(connection: Connection, runs: Mapping[int, _Run], pruned_ms: int) -> list[str]:
    not_newest, wrong_since = set(runs), set()
    nothing_there = set()
    for row in connection.execute(select(state)).fetchall():
        run = runs.get(row.series_id)
        if run is None:
            if row.slot_ms >= pruned_ms:
                nothing_there.add(row.series_id)
            continue
        if _is_same((row.slot_ms, row.status, row.code, row.error_id, row.total_us), run.last):
            not_newest.discard(row.series_id)
        since_is_held = run.began or row.since_ms >= pruned_ms
        if row.since_ms != run.since_ms if since_is_held else row.since_ms > run.since_ms:
            wrong_since.add(row.series_id)
        if run.prev_ms is not None and row.prev_slot_ms != run.prev_ms:
            wrong_since.add(row.series_id)
    return [
        *_say(not_newest, "the state is not the newest result"),
        *_say(nothing_there, "the state stands for a result that is not there"),
        *_say(wrong_since, "the state says wrongly since when it holds"),
    ]


def _is_same(said: tuple[int, int, int | None, int | None, int | None], last: HotRow) -> bool:
    *exact, total_us = said
    if exact != [last.slot_ms, last.status, last.code, last.error_id] or (total_us is None) != (last.total_us is None):
        return False
    return abs((total_us or 0) - (last.total_us or 0)) <= STEP_US // 2  # packed durations are rounded


def _say(found: Iterable[int], sentence: str) -> list[str]:
    ordered = sorted(found)
    if not ordered:
        return []
    named = ", ".join(str(one) for one in ordered[:MAX_NAMED])
    return [f"{sentence}: {len(ordered)} times ({named}{' …' if len(ordered) > MAX_NAMED else ''})"]
