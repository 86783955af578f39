"""Which single results are there? Hot and packed ones read as one, each once, whichever of the two it lies in.

Results before `HOT_MS` lie in blocks, and beside them in `hot` those that came late and wait to be merged; results from
there on lie in `hot`. What is hot is read first: should an hour be packed and deleted meanwhile, its blocks are there.
"""

import logging
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Column, Connection, func, select

from probes.store.block import BlockError, unpack
from probes.store.columns import Columns
from probes.store.due import HOUR_MS, hour_of
from probes.store.meta import HOT_MS, PRUNED_MS, get_ms
from probes.store.rows import HotRow
from probes.store.tables import SERIES_BITS, block, block_key, hot, key_of, within

HOT_COLUMNS = tuple(hot.c[name] for name in HotRow._fields)

log = logging.getLogger(__name__)

_CHUNK = 500
_MASK = (1 << SERIES_BITS) - 1
_MANY = 50
HOUR_KEYS = HOUR_MS << SERIES_BITS


def read_rows(connection: Connection, from_ms: int, to_ms: int, ids: Iterable[int] | None = None) -> list[HotRow]:
    """Results with from_ms <= slot_ms < to_ms, in slot order; of some series or all."""
    wanted = None if ids is None else list(ids)
    found = _read_hot(connection, from_ms, to_ms, wanted)
    hot_ms = get_ms(connection, HOT_MS)
    if from_ms >= hot_ms:
        return found
    known: dict[int, HotRow] = {row.id: row for row in found}
    for key, data in _read_blocks(connection, from_ms, min(to_ms, hot_ms), wanted):
        columns = Part(key & _MASK, key, data, ()).columns(from_ms, to_ms)
        known.update((row.id, row) for row in columns.rows(key & _MASK))
    return [known[key] for key in sorted(known)]


def read_columns(
    connection: Connection, from_ms: int, to_ms: int, ids: Iterable[int] | None = None
) -> list[tuple[int, Columns]]:
    """The same as columns, each with its series: one or more a series, those of a series in slot order."""
    parts = []
    for part in find_parts(connection, from_ms, to_ms, ids):
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


def find_parts(connection: Connection, from_ms: int, to_ms: int, ids: Iterable[int] | None = None) -> list[Part]:
    """Where the results with from_ms <= slot_ms < to_ms are, in order of hour and series; blocks are whole hours."""
    wanted = None if ids is None else list(ids)
    rows = _read_hot(connection, from_ms, to_ms, wanted)
    hot_ms = get_ms(connection, HOT_MS)
    late: dict[tuple[int, int], list[HotRow]] = defaultdict(list)
    current: dict[int, list[HotRow]] = defaultdict(list)
    for row in rows:
        if row.slot_ms < hot_ms:
            late[hour_of(row.slot_ms), row.series_id].append(row)
        else:
            current[row.series_id].append(row)
    parts: list[tuple[int, Part]] = []
    if from_ms < hot_ms:
        for key, data in _read_blocks(connection, from_ms, min(to_ms, hot_ms), wanted):
            hour_ms, series_id = (key >> SERIES_BITS) * HOUR_MS, key & _MASK
            parts.append((hour_ms, Part(series_id, key, data, late.pop((hour_ms, series_id), ()))))
    parts += [(hour_ms, Part(series_id, None, b"", waiting)) for (hour_ms, series_id), waiting in late.items()]
    parts += [(hot_ms, Part(series_id, None, b"", of_series)) for series_id, of_series in current.items()]
    return [part for _, part in sorted(parts, key=lambda one: (one[0], one[1].series_id))]


def newest_rows(
    connection: Connection, from_ms: int, to_ms: int, ids: Sequence[int], limit: int | None = None
) -> list[HotRow]:
    """The newest results with from_ms <= slot_ms < to_ms of some series, newest first, at most `limit`."""
    found: list[HotRow] = []
    hot_ms = get_ms(connection, HOT_MS)
    if to_ms > hot_ms:
        found = _newest_hot(connection, max(from_ms, hot_ms), to_ms, ids, limit)
    if limit is None or len(found) < limit:
        for begin_ms, end_ms in _windows(connection, from_ms, min(to_ms, hot_ms)):
            found += reversed(read_rows(connection, begin_ms, end_ms, ids))
            if limit is not None and len(found) >= limit:
                break
    # Should the oldest hot hours have been packed since the first look, they were found twice.
    unique = {row.id: row for row in found}
    return [unique[key] for key in sorted(unique, reverse=True)][:limit]


def without_packed(connection: Connection, rows: Sequence[HotRow], hot_ms: int) -> list[HotRow]:
    """Those of the rows whose slot no block has yet; blocks have what is before `hot_ms` (HOT_MS)."""
    keys = sorted({block_key(row.slot_ms, row.series_id) for row in rows if row.slot_ms < hot_ms})
    packed: set[int] = set()
    for key, _, data in read_blocks_of(connection, keys):
        packed.update(key_of(slot_ms, key & _MASK) for slot_ms in unpack_readable(key, data).slots)
    return [row for row in rows if row.id not in packed] if packed else list(rows)


def read_blocks_of(connection: Connection, keys: Sequence[int]) -> Iterator[tuple[int, int, bytes]]:
    """Key, number of results and bytes of the blocks of some keys that there are."""
    for start in range(0, len(keys), _CHUNK):
        query = select(block).where(block.c.id.in_(keys[start : start + _CHUNK])).order_by(block.c.id)
        for key, n, data in connection.execute(query).fetchall():
            yield key, n, bytes(data)


def unpack_readable(key: int, data: bytes) -> Columns:
    """The results of a block; none where it is damaged, which the log and `backwatch db check` say."""
    try:
        return unpack(data, (key >> SERIES_BITS) * HOUR_MS)
    except BlockError as error:
        log.error("block %d is left out: %s", key, error)
        return Columns()


def read_hour_blocks(connection: Connection, hour_ms: int) -> list[tuple[int, int, bytes]]:
    """Key, number of results and bytes of every block of an hour."""
    query = select(block).where(block.c.id >= block_key(hour_ms), block.c.id < block_key(hour_ms + HOUR_MS))
    return [(key, n, bytes(data)) for key, n, data in connection.execute(query.order_by(block.c.id)).fetchall()]


def hours_held(connection: Connection) -> list[int]:
    """Every hour that has single results, oldest first."""
    hours = {key // HOUR_KEYS * HOUR_MS for key in _steps(connection, hot.c.id, HOUR_KEYS)}
    hours |= {(key >> SERIES_BITS) * HOUR_MS for key in _steps(connection, block.c.id, 1 << SERIES_BITS)}
    return sorted(hours)


def first_ms(connection: Connection) -> int | None:
    """The hour of the oldest single result."""
    oldest_hot = connection.scalar(select(func.min(hot.c.id)))
    oldest_block = connection.scalar(select(func.min(block.c.id)))
    hours = [] if oldest_hot is None else [hour_of(oldest_hot >> SERIES_BITS)]
    hours += [] if oldest_block is None else [(oldest_block >> SERIES_BITS) * HOUR_MS]
    return min(hours, default=None)


def _steps(connection: Connection, column: Column[int], width: int) -> Iterator[int]:
    """The first key of each `width` keys that has any: one look a step."""
    after = -1
    while (key := connection.scalar(select(func.min(column)).where(column > after))) is not None:
        yield key
        after = key // width * width + width - 1


def _read_hot(connection: Connection, from_ms: int, to_ms: int, ids: Sequence[int] | None) -> list[HotRow]:
    query = select(*HOT_COLUMNS).where(within(from_ms, to_ms))
    if ids is not None and len(ids) == 1:
        query = query.where(hot.c.id.op("&")(_MASK) == ids[0])  # every row of the range is looked at: a sixth less
    elif ids is not None:
        query = query.where(hot.c.series_id.in_(ids))
    return list(map(HotRow._make, connection.execute(query.order_by(hot.c.id)).fetchall()))


def _newest_hot(
    connection: Connection, from_ms: int, to_ms: int, ids: Sequence[int], limit: int | None
) -> list[HotRow]:
    query = select(*HOT_COLUMNS).where(within(from_ms, to_ms), hot.c.series_id.in_(ids)).order_by(hot.c.id.desc())
    return list(map(HotRow._make, connection.execute(query.limit(limit) if limit is not None else query).fetchall()))


def _read_blocks(
    connection: Connection, from_ms: int, to_ms: int, ids: Sequence[int] | None
) -> Iterator[tuple[int, bytes]]:
    begin_ms = max(from_ms, get_ms(connection, PRUNED_MS), 0)
    hours = range(hour_of(begin_ms), to_ms, HOUR_MS)
    if ids is None or len(ids) > _MANY:
        wanted = None if ids is None else frozenset(ids)
        found: Iterable[tuple[int, int, bytes]] = (
            one
            for hour_ms in hours
            for one in read_hour_blocks(connection, hour_ms)
            if wanted is None or one[0] & _MASK in wanted
        )
    else:
        keys = [block_key(hour_ms, series_id) for hour_ms in hours for series_id in sorted(ids)]
        found = read_blocks_of(connection, keys)
    return ((key, data) for key, _, data in found)


def _windows(connection: Connection, from_ms: int, to_ms: int) -> Iterator[tuple[int, int]]:
    """The range in windows of hours, newest first, each twice as long as the one after it."""
    oldest_ms = first_ms(connection)
    if oldest_ms is None:
        return
    begin_ms, end_ms, length_ms = max(from_ms, oldest_ms), to_ms, HOUR_MS
    while end_ms > begin_ms:
        middle_ms = max(begin_ms, hour_of(end_ms - length_ms))
        yield middle_ms, end_ms
        end_ms, length_ms = middle_ms, min(2 * length_ms, 24 * HOUR_MS)
