"""Which hours are still to be rolled up? Claimed before they are read, marked again when a late result comes in.

Nothing is lost between a reader of an hour and a writer into it: whoever rolled an hour up removes its mark only if
the count of marks is the one it began with.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, Engine, delete, func, select, text

from probes.store.database import is_sqlite, reading, upsert, writing
from probes.store.meta import ROLLED_MS, get_ms, put
from probes.store.tables import SERIES_BITS, due_hour, hot, within

HOUR_MS = 3_600_000
DAY_MS = 86_400_000
CLOSE_MS = 120_000

_CLAIM = 7_301_447  # number of an advisory lock


def hour_of(slot_ms: int) -> int:
    """Start of the hour of a time."""
    return slot_ms - slot_ms % HOUR_MS


def day_of(slot_ms: int) -> int:
    """Start of the UTC day of a time."""
    return slot_ms - slot_ms % DAY_MS


def exclude(connection: Connection) -> None:
    """Nobody is writing results in this transaction's time, and whoever comes next sees what it did."""
    if not is_sqlite(connection):
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _CLAIM})


def share(connection: Connection) -> None:
    """A writer of results enters: on a server, no hour is claimed until it has committed. SQLite has one writer."""
    if not is_sqlite(connection):
        connection.execute(text("SELECT pg_advisory_xact_lock_shared(:number)"), {"number": _CLAIM})


def mark(connection: Connection, hours: Iterable[int]) -> None:
    """A result came into hours that were claimed before."""
    rows = [{"bucket_ms": hour, "marks": 1} for hour in sorted(hours)]
    if rows:
        insert = upsert(connection)(due_hour)
        again = insert.on_conflict_do_update(index_elements=["bucket_ms"], set_={"marks": due_hour.c.marks + 1})
        connection.execute(again, rows)


def claim(engine: Engine, now_ms: int) -> list[tuple[int, int]]:
    """Hours to roll up, with their marks, oldest first: those closed since the last claim, and those marked again."""
    until_ms = hour_of(now_ms - CLOSE_MS)
    with reading(engine) as connection:
        rolled_ms = get_ms(connection, ROLLED_MS)
    if until_ms > rolled_ms:
        with writing(engine) as connection:
            exclude(connection)
            rolled_ms = get_ms(connection, ROLLED_MS)
            filled = hours_with_results(connection, rolled_ms, until_ms)
            mark(connection, {*filled, *last_hours([rolled_ms, *filled], until_ms)})
            put(connection, ROLLED_MS, str(max(rolled_ms, until_ms)))
    with reading(engine) as connection:
        rows = connection.execute(select(due_hour).order_by(due_hour.c.bucket_ms)).fetchall()
    return [(row.bucket_ms, row.marks) for row in rows]


def pending(engine: Engine, now_ms: int) -> bool:
    """Whether `claim` would give anything. Raises StoreError."""
    with reading(engine) as connection:
        return hour_of(now_ms - CLOSE_MS) > get_ms(connection, ROLLED_MS) or oldest(connection) is not None


def last_hours(times_ms: Iterable[int], until_ms: int) -> set[int]:
    """The last hour of each day that is complete: empty or not, it is what completes the day's own rollup."""
    days = {day_of(time_ms) for time_ms in times_ms if time_ms > 0}
    return {day_ms + DAY_MS - HOUR_MS for day_ms in days if day_ms + DAY_MS <= until_ms}


def hours_with_results(connection: Connection, from_ms: int, to_ms: int) -> Sequence[int]:
    """Hours that have results in `hot`, oldest first."""
    hours: list[int] = []
    at_ms = from_ms
    while True:
        # One step a filled hour: the key begins with the time.
        key = connection.scalar(select(func.min(hot.c.id)).where(within(at_ms, to_ms)))
        if key is None:
            return hours
        hours.append(hour_of(key >> SERIES_BITS))
        at_ms = hours[-1] + HOUR_MS


def settle(connection: Connection, hour_ms: int, marks: int) -> None:
    """The hour was rolled up from everything that had come in at `marks`."""
    connection.execute(delete(due_hour).where(due_hour.c.bucket_ms == hour_ms, due_hour.c.marks == marks))


def oldest(connection: Connection) -> int | None:
    """The oldest hour that is still to be rolled up."""
    hour_ms: int | None = connection.scalar(select(func.min(due_hour.c.bucket_ms)))
    return hour_ms
