"""How the newest result of each series follows a batch: forward only, whatever order results come in."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from probes.store.bulk import insert_rows
from probes.store.database import Link, is_sqlite
from probes.store.history import read_rows
from probes.store.keys import MAX_SLOT_MS, SERIES_BITS, SERIES_MASK
from probes.store.rows import HotRow
from probes.store.statement import change, putting, rows

_CHUNK = 500
_COLUMNS = ("series_id", "slot_ms", "prev_slot_ms", "status", "since_ms", "code", "total_us", "error_id")
_LOAD = """
SELECT series_id, slot_ms, prev_slot_ms, status, since_ms, code, total_us, error_id FROM state WHERE series_id IN :ids
"""
_PUT = putting("state", _COLUMNS)


@dataclass(slots=True)
class _Newest:
    values: dict[str, Any]
    late_ms: int | None = None  # oldest row of the batch that came after a newer one


def update_states(link: Link, rows: Sequence[HotRow]) -> None:
    """Bring `state` up to a batch that is already in `hot`; rows are in slot order, one a (slot, series)."""
    if is_sqlite(link) and _follow_in_place(link, rows):
        return
    by_series: dict[int, list[HotRow]] = defaultdict(list)
    for row in rows:
        by_series[row.series_id].append(row)
    before = _load(link, list(by_series))
    after = {series_id: follow(before.get(series_id), batch) for series_id, batch in by_series.items()}
    _mend_late(link, after)
    changed = [newest.values for series_id, newest in sorted(after.items()) if newest.values != before.get(series_id)]
    if changed:
        change(link, _PUT, *changed)


def _follow_in_place(link: Link, rows: Sequence[HotRow]) -> bool:
    """What `follow` does, row after row by the database itself; False when a row was not newer than its series.

    What was written then is no more than what `follow` begins with when it looks at the batch once more.
    """
    newest = [(row[0] & SERIES_MASK, slot := row[0] >> SERIES_BITS, *row[1:4], row[10], slot) for row in rows]
    return insert_rows(link, _NEWEST, _FOLLOWED, newest) == len(newest)


_NEWEST = "INSERT INTO state (series_id, slot_ms, status, code, total_us, error_id, since_ms)"
_FOLLOWED = """
ON CONFLICT (series_id) DO UPDATE SET
  prev_slot_ms = slot_ms,
  since_ms = CASE WHEN status = excluded.status THEN since_ms ELSE excluded.slot_ms END,
  slot_ms = excluded.slot_ms, status = excluded.status, code = excluded.code, total_us = excluded.total_us,
  error_id = excluded.error_id
WHERE excluded.slot_ms > slot_ms
"""


def follow(before: Mapping[str, Any] | None, batch: Sequence[HotRow]) -> _Newest:
    """The newest result after a batch in slot order; a late row never turns it back."""
    newest = _Newest(dict(before) if before else {})
    for row in batch:
        values = newest.values
        if values and row.slot_ms <= values["slot_ms"]:
            if row.slot_ms < values["slot_ms"] and newest.late_ms is None:
                newest.late_ms = row.slot_ms
            continue
        same = bool(values) and values["status"] == row.status
        newest.values = {
            "series_id": row.series_id,
            "prev_slot_ms": values["slot_ms"] if values else None,
            "since_ms": values["since_ms"] if same else row.slot_ms,
            "slot_ms": row.slot_ms,
            "status": row.status,
            "code": row.code,
            "total_us": row.total_us,
            "error_id": row.error_id,
        }
    return newest


def mend(values: Mapping[str, Any], window: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """`prev_slot_ms` and `since_ms` again, from all (slot, status) of the series at and after its oldest late row.

    Before the late row came, every result from `since_ms` on had the same status and the one before it another.
    """
    mended = dict(values)
    if len(window) > 1:
        mended["prev_slot_ms"] = window[-2][0]
    since_ms = None
    for slot_ms, status in reversed(window):
        if status != values["status"]:
            break
        since_ms = slot_ms
    else:
        since_ms = min(values["since_ms"], window[0][0]) if window else values["since_ms"]
    if since_ms is not None:
        mended["since_ms"] = since_ms
    return mended


def _load(link: Link, series_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    load = _LOAD if is_sqlite(link) else f"{_LOAD} FOR UPDATE"
    for start in range(0, len(series_ids), _CHUNK):
        states = rows(link, load, ids=list(series_ids[start : start + _CHUNK]))
        found.update({row[0]: dict(zip(_COLUMNS, row, strict=True)) for row in states})
    return found


def _mend_late(link: Link, after: Mapping[int, _Newest]) -> None:
    late = {series_id: newest.late_ms for series_id, newest in after.items() if newest.late_ms is not None}
    if not late:
        return
    windows: dict[int, list[tuple[int, int]]] = defaultdict(list)
    ids = list(late)
    for start in range(0, len(ids), _CHUNK):
        for row in read_rows(link, min(late.values()), MAX_SLOT_MS, ids[start : start + _CHUNK]):
            windows[row.series_id].append((row.slot_ms, row.status))
    for series_id in late:
        after[series_id].values = mend(after[series_id].values, windows[series_id])
