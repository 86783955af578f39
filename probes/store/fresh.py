"""Which results has a reader not seen yet? Found from the state of each series."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select

from probes.store.rows import with_names
from probes.store.tables import hot, series, state, within

LOOKBACK_MS = 3 * 3_600_000
_CHUNK = 500


@dataclass(frozen=True, slots=True)
class _Wanted:
    series_id: int
    newest_ms: int
    after_ms: int


def find_fresh(connection: Connection, seen: Mapping[tuple[str, str], int]) -> list[Row[Any]]:
    """Rows of `with_names` newer than seen, in slot order."""
    query = select(series.c.check_id, series.c.location, state.c.series_id, state.c.slot_ms, state.c.prev_slot_ms).join(
        series, series.c.id == state.c.series_id
    )
    wanted = [
        _Wanted(
            row.series_id, row.slot_ms, _after(row.slot_ms, row.prev_slot_ms, seen.get((row.check_id, row.location)))
        )
        for row in connection.execute(query).fetchall()
        if row.slot_ms > seen.get((row.check_id, row.location), -1)
    ]
    # A check that stopped long ago must not draw the scan of the others back to its own time.
    running_ms = max((one.newest_ms for one in wanted), default=0) - LOOKBACK_MS
    running = [one for one in wanted if one.newest_ms >= running_ms]
    stopped = [one for one in wanted if one.newest_ms < running_ms]
    found = _read(connection, running)
    for one in stopped:
        found += _read(connection, [_Wanted(one.series_id, one.newest_ms, one.newest_ms - 1)])
    return sorted(found, key=lambda row: (row.slot_ms, row.series_id))


def _after(newest_ms: int, prev_ms: int | None, seen_ms: int | None) -> int:
    if prev_ms is None or (seen_ms is not None and prev_ms <= seen_ms):
        return newest_ms - 1
    return max(newest_ms - LOOKBACK_MS, -1 if seen_ms is None else seen_ms)


def _read(connection: Connection, wanted: Sequence[_Wanted]) -> list[Row[Any]]:
    found: list[Row[Any]] = []
    for start in range(0, len(wanted), _CHUNK):
        after = {one.series_id: one.after_ms for one in wanted[start : start + _CHUNK]}
        to_ms = max(one.newest_ms for one in wanted[start : start + _CHUNK])
        query = with_names().where(within(min(after.values()) + 1, to_ms + 1), hot.c.series_id.in_(list(after)))
        found += [row for row in connection.execute(query) if row.slot_ms > after[row.series_id]]
    return found
