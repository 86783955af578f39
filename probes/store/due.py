"""Which hours are still to be rolled up? Claimed before they are read, marked again when a late result comes in.

Nothing is lost between a reader of an hour and a writer into it: whoever rolled an hour up removes its mark only if
the count of marks is the one it began with.
"""

from collections.abc import Iterable, Sequence

from probes.store.database import Link, Store, is_sqlite, reading, writing
from probes.store.keys import SERIES_BITS, key_of
from probes.store.meta import ROLLED_MS, get_ms, put
from probes.store.statement import change, rows, scalar

HOUR_MS = 3_600_000
DAY_MS = 86_400_000
CLOSE_MS = 120_000

_CLAIM = 7_301_447  # number of an advisory lock

_MARK = """
INSERT INTO due_hour (bucket_ms, marks) VALUES (:bucket_ms, 1)
ON CONFLICT (bucket_ms) DO UPDATE SET marks = due_hour.marks + 1
"""
_SETTLE = "DELETE FROM due_hour WHERE bucket_ms = :hour_ms AND marks = :marks"
_FIRST = "SELECT min(id) FROM hot WHERE id >= :begin AND id < :end"


def hour_of(slot_ms: int) -> int:
    """Start of the hour of a time."""
    return slot_ms - slot_ms % HOUR_MS


def day_of(slot_ms: int) -> int:
    """Start of the UTC day of a time."""
    return slot_ms - slot_ms % DAY_MS


def exclude(link: Link) -> None:
    """Nobody is writing results in this transaction's time, and whoever comes next sees what it did."""
    if not is_sqlite(link):
        rows(link, "SELECT pg_advisory_xact_lock(:number)", number=_CLAIM)


def share(link: Link) -> None:
    """A writer of results enters: on a server, no hour is claimed until it has committed. SQLite has one writer."""
    if not is_sqlite(link):
        rows(link, "SELECT pg_advisory_xact_lock_shared(:number)", number=_CLAIM)


def mark(link: Link, hours: Iterable[int]) -> None:
    """A result came into hours that were claimed before."""
    marked = [{"bucket_ms": hour_ms} for hour_ms in sorted(hours)]
    if marked:
        change(link, _MARK, *marked)


def claim(store: Store, now_ms: int) -> list[tuple[int, int]]:
    """Hours to roll up, with their marks, oldest first: those closed since the last claim, and those marked again."""
    until_ms = hour_of(now_ms - CLOSE_MS)
    with reading(store) as link:
        rolled_ms = get_ms(link, ROLLED_MS)
    if until_ms > rolled_ms:
        with writing(store) as link:
            exclude(link)
            rolled_ms = get_ms(link, ROLLED_MS)
            filled = hours_with_results(link, rolled_ms, until_ms)
            mark(link, {*filled, *last_hours([rolled_ms, *filled], until_ms)})
            put(link, ROLLED_MS, str(max(rolled_ms, until_ms)))
    with reading(store) as link:
        found = rows(link, "SELECT bucket_ms, marks FROM due_hour ORDER BY bucket_ms")
    return [(hour_ms, marks) for hour_ms, marks in found]


def pending(store: Store, now_ms: int) -> bool:
    """Whether `claim` would give anything. Raises StoreError."""
    with reading(store) as link:
        return hour_of(now_ms - CLOSE_MS) > get_ms(link, ROLLED_MS) or oldest(link) is not None


def last_hours(times_ms: Iterable[int], until_ms: int) -> set[int]:
    """The last hour of each day that is complete: empty or not, it is what completes the day's own rollup."""
    days = {day_of(time_ms) for time_ms in times_ms if time_ms > 0}
    return {day_ms + DAY_MS - HOUR_MS for day_ms in days if day_ms + DAY_MS <= until_ms}


def hours_with_results(link: Link, from_ms: int, to_ms: int) -> Sequence[int]:
    """Hours that have results in `hot`, oldest first."""
    hours: list[int] = []
    at_ms = from_ms
    while True:
        # One step a filled hour: the key begins with the time.
        key = scalar(link, _FIRST, begin=key_of(at_ms), end=key_of(to_ms))
        if key is None:
            return hours
        hours.append(hour_of(key >> SERIES_BITS))
        at_ms = hours[-1] + HOUR_MS


def settle(link: Link, hour_ms: int, marks: int) -> None:
    """The hour was rolled up from everything that had come in at `marks`."""
    change(link, _SETTLE, {"hour_ms": hour_ms, "marks": marks})


def oldest(link: Link) -> int | None:
    """The oldest hour that is still to be rolled up."""
    hour_ms: int | None = scalar(link, "SELECT min(bucket_ms) FROM due_hour")
    return hour_ms
