"""Which single results are there? Hot and packed ones read as one, each once, whichever of the two it lies in.

Results before `HOT_MS` lie in blocks, and beside them in `hot` those that came late and wait to be merged; results from
there on lie in `hot`. What is hot is read first: should an hour be packed and deleted meanwhile, its blocks are there.
"""

import logging
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from probes.store.block import BlockError, unpack
from probes.store.columns import Columns
from probes.store.database import Link
from probes.store.due import HOUR_MS, hour_of
from probes.store.keys import SERIES_BITS, SERIES_MASK, block_key, key_of
from probes.store.meta import HOT_MS, PRUNED_MS, get_ms
from probes.store.rows import HotRow
from probes.store.statement import rows, scalar

log = logging.getLogger(__name__)

_CHUNK = 500
_MANY = 50

_HOT = """
SELECT id, status, code, total_us, dns_us, connect_us, tls_us, ttfb_us, transfer_us, late_ms, error_id, metrics
FROM hot WHERE id >= :begin AND id < :end
"""
_NEXT_HOT, _NEXT_BLOCK = (
    "SELECT min(id) FROM hot WHERE id > :after",
    "SELECT min(id) FROM block WHERE id > :after",
)
_BLOCKS = "SELECT id, n, data FROM block WHERE"
HOUR_KEYS = HOUR_MS << SERIES_BITS


def read_rows(link: Link, from_ms: int, to_ms: int, ids: Iterable[int] | None = None) -> list[HotRow]:
    """Results with from_ms <= slot_ms < to_ms, in slot order; of some series or all."""
    wanted = None if ids is None else list(ids)
    found = _read_hot(link, from_ms, to_ms, wanted)
    hot_ms = get_ms(link, HOT_MS)
    if from_ms >= hot_ms:
        return found
    known: dict[int, HotRow] = {row.id: row for row in found}
    for key, data in _read_blocks(link, from_ms, min(to_ms, hot_ms), wanted):
        columns = Part(key & SERIES_MASK, key, data, ()).columns(from_ms, to_ms)
        known.update((row.id, row) for row in columns.rows(key & SERIES_MASK))
    return [known[key] for key in sorted(known)]


def read_columns(link: Link, from_ms: int, to_ms: int, ids: Iterable[int] | None = None) -> list[tuple[int, Columns]]:
    """The same as columns, each with its series: one or more a series, those of a series in slot order."""
    parts = []
    for part in find_parts(link, from_ms, to_ms, ids):
        columns = part.columns(from_ms, to_ms)
        if len(columns):
            parts.append((part.series_id, columns))
    return parts


@dataclass(frozen=True, slots=True)
class Part:
    """Results of a series: those of a block, whose key is then not None, and rows beside them, in slot order."""

    series_id: int
    key: int | None
    data: bytes
    rows: Sequence[HotRow]

    def columns(self, from_ms: int, to_ms: int) -> Columns:
        """Those with from_ms <= slot_ms < to_ms."""
        rows = Columns.of_rows(self.rows)
        if self.key is None:
            return rows
        packed = unpack_readable(self.key, self.data)
        inside = packed.part(bisect_left(packed.slots, from_ms), bisect_left(packed.slots, to_ms))
        return inside.merged(rows) if self.rows else inside


def find_parts(link: Link, from_ms: int, to_ms: int, ids: Iterable[int] | None = None) -> list[Part]:
    """Where the results with from_ms <= slot_ms < to_ms are, in order of hour and series; blocks are whole hours."""
    wanted = None if ids is None else list(ids)
    rows = _read_hot(link, from_ms, to_ms, wanted)
    hot_ms = get_ms(link, HOT_MS)
    late: dict[tuple[int, int], list[HotRow]] = defaultdict(list)
    current: dict[int, list[HotRow]] = defaultdict(list)
    for row in rows:
        if row.slot_ms < hot_ms:
            late[hour_of(row.slot_ms), row.series_id].append(row)
        else:
            current[row.series_id].append(row)
    parts: list[tuple[int, Part]] = []
    if from_ms < hot_ms:
        for key, data in _read_blocks(link, from_ms, min(to_ms, hot_ms), wanted):
            hour_ms, series_id = (key >> SERIES_BITS) * HOUR_MS, key & SERIES_MASK
            parts.append((hour_ms, Part(series_id, key, data, late.pop((hour_ms, series_id), ()))))
    parts += [(hour_ms, Part(series_id, None, b"", waiting)) for (hour_ms, series_id), waiting in late.items()]
    parts += [(hot_ms, Part(series_id, None, b"", of_series)) for series_id, of_series in current.items()]
    return [part for _, part in sorted(parts, key=lambda one: (one[0], one[1].series_id))]


def newest_rows(link: Link, from_ms: int, to_ms: int, ids: Sequence[int], limit: int | None = None) -> list[HotRow]:
    """The newest results with from_ms <= slot_ms < to_ms of some series, newest first, at most `limit`."""
    found: list[HotRow] = []
    hot_ms = get_ms(link, HOT_MS)
    if to_ms > hot_ms:
        found = _newest_hot(link, max(from_ms, hot_ms), to_ms, ids, limit)
    if limit is None or len(found) < limit:
        for begin_ms, end_ms in _windows(link, from_ms, min(to_ms, hot_ms)):
            found += reversed(read_rows(link, begin_ms, end_ms, ids))
            if limit is not None and len(found) >= limit:
                break
    # Should the oldest hot hours have been packed since the first look, they were found twice.
    unique = {row.id: row for row in found}
    return [unique[key] for key in sorted(unique, reverse=True)][:limit]


def without_packed(link: Link, rows: Sequence[HotRow], hot_ms: int) -> list[HotRow]:
    """Those of the rows whose slot no block has yet; blocks have what is before `hot_ms` (HOT_MS)."""
    keys = sorted({block_key(row.slot_ms, row.series_id) for row in rows if row.slot_ms < hot_ms})
    packed: set[int] = set()
    for key, _, data in read_blocks_of(link, keys):
        packed.update(key_of(slot_ms, key & SERIES_MASK) for slot_ms in unpack_readable(key, data).slots)
    return [row for row in rows if row.id not in packed] if packed else list(rows)


def read_blocks_of(link: Link, keys: Sequence[int]) -> Iterator[tuple[int, int, bytes]]:
    """Key, number of results and bytes of the blocks of some keys that there are."""
    for start in range(0, len(keys), _CHUNK):
        yield from rows(link, f"{_BLOCKS} id IN :keys ORDER BY id", keys=list(keys[start : start + _CHUNK]))


def unpack_readable(key: int, data: bytes) -> Columns:
    """The results of a block; none where it is damaged, which the log and `backwatch db check` say."""
    try:
        return unpack(data, (key >> SERIES_BITS) * HOUR_MS)
    except BlockError as error:
        log.error("block %d is left out: %s", key, error)
        return Columns()


def read_hour_blocks(link: Link, hour_ms: int) -> list[tuple[int, int, bytes]]:
    """Key, number of results and bytes of every block of an hour."""
    query = f"{_BLOCKS} id >= :begin AND id < :end ORDER BY id"
    found = rows(link, query, begin=block_key(hour_ms), end=block_key(hour_ms + HOUR_MS))
    return [(key, n, data) for key, n, data in found]


def hours_held(link: Link) -> list[int]:
    """Every hour that has single results, oldest first."""
    hours = {key // HOUR_KEYS * HOUR_MS for key in _steps(link, _NEXT_HOT, HOUR_KEYS)}
    hours |= {(key >> SERIES_BITS) * HOUR_MS for key in _steps(link, _NEXT_BLOCK, 1 << SERIES_BITS)}
    return sorted(hours)


def first_ms(link: Link) -> int | None:
    """The hour of the oldest single result."""
    oldest_hot = scalar(link, "SELECT min(id) FROM hot")
    oldest_block = scalar(link, "SELECT min(id) FROM block")
    hours = [] if oldest_hot is None else [hour_of(oldest_hot >> SERIES_BITS)]
    hours += [] if oldest_block is None else [(oldest_block >> SERIES_BITS) * HOUR_MS]
    return min(hours, default=None)


def _steps(link: Link, following: str, width: int) -> Iterator[int]:
    """The first key of each `width` keys that has any: one look a step."""
    after = -1
    while (key := scalar(link, following, after=after)) is not None:
        yield key
        after = key // width * width + width - 1


def _read_hot(link: Link, from_ms: int, to_ms: int, ids: Sequence[int] | None) -> list[HotRow]:
    begin, end = key_of(from_ms), key_of(to_ms)
    if ids is None:
        found = rows(link, f"{_HOT} ORDER BY id", begin=begin, end=end)
    elif len(ids) == 1:  # every row of the range is looked at: a sixth less
        one = f"{_HOT} AND id & {SERIES_MASK} = :one ORDER BY id"
        found = rows(link, one, begin=begin, end=end, one=ids[0])
    elif ids:
        found = rows(link, f"{_HOT} AND series_id IN :ids ORDER BY id", begin=begin, end=end, ids=list(ids))
    else:
        found = ()
    return list(map(HotRow._make, found))


def _newest_hot(link: Link, from_ms: int, to_ms: int, ids: Sequence[int], limit: int | None) -> list[HotRow]:
    newest = f"{_HOT} AND series_id IN :ids ORDER BY id DESC"
    most = "" if limit is None else f" LIMIT {int(limit)}"
    return list(map(HotRow._make, rows(link, newest + most, begin=key_of(from_ms), end=key_of(to_ms), ids=list(ids))))


def _read_blocks(link: Link, from_ms: int, to_ms: int, ids: Sequence[int] | None) -> Iterator[tuple[int, bytes]]:
    begin_ms = max(from_ms, get_ms(link, PRUNED_MS), 0)
    hours = range(hour_of(begin_ms), to_ms, HOUR_MS)
    if ids is None or len(ids) > _MANY:
        wanted = None if ids is None else frozenset(ids)
        found: Iterable[tuple[int, int, bytes]] = (
            one
            for hour_ms in hours
            for one in read_hour_blocks(link, hour_ms)
            if wanted is None or one[0] & SERIES_MASK in wanted
        )
    else:
        keys = [block_key(hour_ms, series_id) for hour_ms in hours for series_id in sorted(ids)]
        found = read_blocks_of(link, keys)
    return ((key, data) for key, _, data in found)


def _windows(link: Link, from_ms: int, to_ms: int) -> Iterator[tuple[int, int]]:
    """The range in windows of hours, newest first, each twice as long as the one after it."""
    oldest_ms = first_ms(link)
    if oldest_ms is None:
        return
    begin_ms, end_ms, length_ms = max(from_ms, oldest_ms), to_ms, HOUR_MS
    while end_ms > begin_ms:
        middle_ms = max(begin_ms, hour_of(end_ms - length_ms))
        yield middle_ms, end_ms
        end_ms, length_ms = middle_ms, min(2 * length_ms, 24 * HOUR_MS)
