"""Which results has a reader not seen yet? Found from the state of each series."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from probes.store.database import Link
from probes.store.history import read_rows
from probes.store.rows import HotRow
from probes.store.statement import rows

LOOKBACK_MS = 3 * 3_600_000
_CHUNK = 500
_STATES = """
SELECT series.check_id, series.location, state.series_id, state.slot_ms, state.prev_slot_ms
FROM state JOIN series ON series.id = state.series_id
"""


@dataclass(frozen=True, slots=True)
class _Wanted:
    series_id: int
    newest_ms: int
    after_ms: int


def find_fresh(
    link: Link, seen: Mapping[tuple[str, str], int], checks: Container[str] | None = None
) -> tuple[list[HotRow], dict[int, tuple[str, str]]]:
    """Rows newer than seen, in slot order, and the check and location of each of their series."""
    wanted, names = [], {}
    for check_id, location, series_id, slot_ms, prev_slot_ms in rows(link, _STATES):
        name = (check_id, location)
        if slot_ms > seen.get(name, -1) and (checks is None or check_id in checks):
            wanted.append(_Wanted(series_id, slot_ms, _after(slot_ms, prev_slot_ms, seen.get(name))))
            names[series_id] = name
    # A check that stopped long ago must not draw the scan of the others back to its own time.
    running_ms = max((one.newest_ms for one in wanted), default=0) - LOOKBACK_MS
    running = [one for one in wanted if one.newest_ms >= running_ms]
    stopped = [one for one in wanted if one.newest_ms < running_ms]
    found = _read(link, running)
    for one in stopped:
        found += _read(link, [_Wanted(one.series_id, one.newest_ms, one.newest_ms - 1)])
    return sorted(found, key=attrgetter("id")), names


def _after(newest_ms: int, prev_ms: int | None, seen_ms: int | None) -> int:
    if prev_ms is None or (seen_ms is not None and prev_ms <= seen_ms):
        return newest_ms - 1
    return max(newest_ms - LOOKBACK_MS, -1 if seen_ms is None else seen_ms)


def _read(link: Link, wanted: Sequence[_Wanted]) -> list[HotRow]:
    found: list[HotRow] = []
    for start in range(0, len(wanted), _CHUNK):
        after = {one.series_id: one.after_ms for one in wanted[start : start + _CHUNK]}
        to_ms = max(one.newest_ms for one in wanted[start : start + _CHUNK])
        given = read_rows(link, min(after.values()) + 1, to_ms + 1, after)
        found += [row for row in given if row.slot_ms > after[row.series_id]]
    return found
