"""Is the store whole? What SQLite says of its file, and what must hold between our tables."""

from collections.abc import Callable

from sqlalchemy import Connection, Engine, and_, case, func, or_, select

from probes.store.damage import find_damage
from probes.store.database import is_sqlite, reading
from probes.store.due import HOUR_MS
from probes.store.meta import PRUNED_MS, ROLLED_MS, get_ms
from probes.store.tables import due_hour, error, hot, rollup_d, rollup_h, series, state, summary, within

MAX_NAMED = 5


def db_check(engine: Engine) -> list[str]:
    """Problems as sentences, empty for a clean store. Reads every result: minutes on a big store. Raises StoreError."""
    parts: tuple[Callable[[Connection], list[str]], ...] = (
        _check_file,
        _check_orphans,
        _check_newest,
        _check_since,
        _check_rollups,
    )
    problems: list[str] = []
    for part in parts:
        with reading(engine) as connection:
            problems += part(connection)
        if part is _check_file and problems:
            break  # a damaged file answers nothing else rightly
    return problems


def _check_file(connection: Connection) -> list[str]:
    if not is_sqlite(connection):
        return []
    return find_damage(connection)


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


def _check_newest(connection: Connection) -> list[str]:
    newest = select(hot.c.series_id, func.max(hot.c.id).label("id")).group_by(hot.c.series_id).subquery()
    differs = or_(
        state.c.slot_ms.is_(None),
        state.c.slot_ms != hot.c.slot_ms,
        *(
            func.coalesce(state.c[name], -1) != func.coalesce(hot.c[name], -1)
            for name in ("status", "code", "total_us", "error_id")
        ),
    )
    query = (
        select(newest.c.series_id)
        .join(hot, hot.c.id == newest.c.id)
        .outerjoin(state, state.c.series_id == newest.c.series_id)
        .where(differs)
    )
    problems = _say(list(connection.scalars(query)), "the state is not the newest result")
    pruned_ms = get_ms(connection, PRUNED_MS)
    lost = select(state.c.series_id).where(
        state.c.slot_ms >= pruned_ms, state.c.series_id.not_in(select(newest.c.series_id))
    )
    return problems + _say(list(connection.scalars(lost)), "the state stands for a result that is not there")


def _check_since(connection: Connection) -> list[str]:
    pruned_ms = get_ms(connection, PRUNED_MS)
    window = select(
        hot.c.series_id,
        func.max(case((hot.c.status != state.c.status, hot.c.slot_ms))).label("other_ms"),
        func.min(case((hot.c.slot_ms >= state.c.since_ms, hot.c.slot_ms))).label("first_ms"),
        func.max(case((hot.c.slot_ms < state.c.slot_ms, hot.c.slot_ms))).label("prev_ms"),
        func.max(case((hot.c.slot_ms < state.c.since_ms, hot.c.slot_ms))).label("before_ms"),
    ).join(state, state.c.series_id == hot.c.series_id)
    runs = window.group_by(hot.c.series_id).subquery()
    wrong = or_(
        runs.c.other_ms >= state.c.since_ms,
        and_(state.c.since_ms >= pruned_ms, runs.c.first_ms != state.c.since_ms),
        and_(runs.c.before_ms.is_not(None), func.coalesce(runs.c.other_ms, -1) != runs.c.before_ms),
        and_(runs.c.prev_ms.is_not(None), func.coalesce(state.c.prev_slot_ms, -1) != runs.c.prev_ms),
    )
    query = select(runs.c.series_id).join(state, state.c.series_id == runs.c.series_id).where(wrong)
    return _say(list(connection.scalars(query)), "the state says wrongly since when it holds")


def _check_rollups(connection: Connection) -> list[str]:
    rolled_ms, pruned_ms = get_ms(connection, ROLLED_MS), get_ms(connection, PRUNED_MS)
    hour = hot.c.slot_ms - hot.c.slot_ms % HOUR_MS
    counted = (
        select(hour.label("bucket_ms"), hot.c.series_id, func.count().label("n"))
        .where(within(pruned_ms, rolled_ms))
        .group_by(hour, hot.c.series_id)
        .subquery()
    )
    query = (
        select(counted.c.bucket_ms)
        .distinct()
        .outerjoin(
            rollup_h, and_(rollup_h.c.bucket_ms == counted.c.bucket_ms, rollup_h.c.series_id == counted.c.series_id)
        )
        .where(
            func.coalesce(rollup_h.c.n, 0) != counted.c.n,
            counted.c.bucket_ms.not_in(select(due_hour.c.bucket_ms)),
        )
    )
    return _say(list(connection.scalars(query)), "a rolled up hour does not add up to its results")


def _say(found: list[int], sentence: str) -> list[str]:
    if not found:
        return []
    named = ", ".join(str(one) for one in sorted(found)[:MAX_NAMED])
    return [f"{sentence}: {len(found)} times ({named}{' …' if len(found) > MAX_NAMED else ''})"]
