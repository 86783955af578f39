"""Which results has a reader not seen yet? Found from the state of each series."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from sqlalchemy import Connection, select

from probes.store.history import read_rows
from probes.store.rows import HotRow
from probes.store.tables import series, state

LOOKBACK_MS = 3 * 3_600_000
_CHUNK = 500


@dataclass(frozen=True, slots=True)
class _Wanted:
    series_id: int
    newest_ms: int
    after_ms: int


def find_fresh(
    connection: Connection, seen: Mapping[tuple[str, str], int], checks: Container[str] | None = None
) -> tuple[list[HotRow], dict[int, tuple[str, str]]]:
    """Rows newer than seen, in slot order, and the check and location of each of their series."""
    query = select(series.c.check_id, series.c.location, state.c.series_id, state.c.slot_ms, state.c.prev_slot_ms).join(
        series, series.c.id == state.c.series_id
    )
    wanted, names = [], {}
    for row in connection.execute(query).fetchall():
        name = (row.check_id, row.location)
        if row.slot_ms > seen.get(name, -1) and (checks is None or row.check_id in checks):
            wanted.append(_Wanted(row.series_id, row.slot_ms, _after(row.slot_ms, row.prev_slot_ms, seen.get(name))))
            names[row.series_id] = name
    # A check that stopped long ago must not draw the scan of the others back to its own time.
    running_ms = max((one.newest_ms for one in wanted), default=0) - LOOKBACK_MS
    running = [one for one in wanted if one.newest_ms >= running_ms]
    stopped = [one for one in wanted if one.newest_ms < running_ms]
    found = _read(connection, running)
    for one in stopped:
        found += _read(connection, [_Wanted(one.series_id, one.newest_ms, one.newest_ms - 1)])
    return sorted(found, key=attrgetter("id")), names


def _after(newest_ms: int, prev_ms: int | None, seen_ms: int | None) -> int:
    if prev_ms is None or (seen_ms is not None and prev_ms <= seen_ms):
        return newest_ms - 1
    return max(newest_ms - LOOKBACK_MS, -1 if seen_ms is None else seen_ms)


def _read(connection: Connection, wanted: Sequence[_Wanted]) -> list[HotRow]:
    found: list[HotRow] = []
    for start in range(0, len(wanted), _CHUNK):
        after = {one.series_id: one.after_ms for one in wanted[start : start + _CHUNK]}
        to_ms = max(one.newest_ms for one in wanted[start : start + _CHUNK])
        rows = read_rows(connection, min(after.values()) + 1, to_ms + 1, after)
        found += [row for row in rows if row.slot_ms > after[row.series_id]]
    return found
