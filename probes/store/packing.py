"""How results leave `hot`: an hour becomes a block a series, with its rollup; then its rows go, in short transactions.

A pure function of rows, safe to kill anywhere: rows go only after the blocks that hold them were committed, and an hour
into which something came meanwhile is due again, which keeps its rows. Two processes may pack at once: a slice that
another one has written since it was read is done again.
"""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, Engine, delete, func, select, text

from probes.store import due
from probes.store.block import pack
from probes.store.columns import Columns
from probes.store.database import is_sqlite, put_rows, reading, writing
from probes.store.due import HOUR_MS, hour_of
from probes.store.history import read_blocks_of, unpack_readable
from probes.store.keys import SERIES_BITS, block_key, key_of
from probes.store.maintenance import free_all_pages
from probes.store.meta import HOT_MS, ROLLED_MS, UNPACKED_MS, get_ms, put
from probes.store.rows import HotRow
from probes.store.tables import HOT_COLUMNS, block, hot, meta, rollup_h, within
from probes.store.tally import Tally, find_reasons

SLICE = 100
"""Series written in one transaction, so that the worker's batches get in between."""
ROWS = 50_000
"""About as many results are in memory at once."""
PIECE = 5000
"""Rows deleted in one transaction."""
PAUSE_S = 0.005

_PACK = 7_301_448  # number of an advisory lock
_MASK = (1 << SERIES_BITS) - 1


def pack_hour(engine: Engine, hour_ms: int) -> None:
    """Bring the blocks and rollups of an hour up to everything that is in `hot`. Raises StoreError."""
    query = select(hot.c.series_id, func.count()).where(within(hour_ms, hour_ms + HOUR_MS)).group_by(hot.c.series_id)
    with reading(engine) as connection:
        found = {int(series_id): int(n) for series_id, n in connection.execute(query).fetchall()}
        counts = sorted((_without_rollup(connection, hour_ms) | found).items())
    for ids in _groups(counts):
        with reading(engine) as connection:
            rows = _read(connection, hour_ms, ids)
        for start in range(0, len(ids), SLICE):
            part = ids[start : start + SLICE]
            while not _pack_slice(engine, hour_ms, {series_id: rows[series_id] for series_id in part}):
                with reading(engine) as connection:
                    rows |= _read(connection, hour_ms, part)


def pack_old(engine: Engine, now_ms: int) -> int:
    """Pack what a version without blocks has left, hour by hour; the number of hours. Raises StoreError."""
    with reading(engine) as connection:
        unpacked_ms = get_ms(connection, UNPACKED_MS)
        hours = due.hours_with_results(connection, 0, unpacked_ms) if unpacked_ms else ()
    for hour_ms in hours:
        pack_hour(engine, hour_ms)
        trim_hot(engine, min(hour_ms + HOUR_MS, hour_of(now_ms - due.CLOSE_MS)), packed_ms=hour_ms + HOUR_MS)
    if unpacked_ms:
        with writing(engine) as connection:
            connection.execute(delete(meta).where(meta.c.key == UNPACKED_MS))
        free_all_pages(engine)  # packed results take a fifth of the room, and the rest is not needed again
    return len(hours)


def trim_hot(engine: Engine, before_ms: int, packed_ms: int | None = None) -> int:
    """Delete results before a time from `hot`, as far as they are in blocks; the number of rows. Raises StoreError."""
    with writing(engine) as connection:
        due.exclude(connection)
        if packed_ms is None and get_ms(connection, UNPACKED_MS):
            return 0
        edge_ms = min(before_ms, _packed_before(connection), packed_ms or before_ms)
        hot_ms = max(get_ms(connection, HOT_MS), hour_of(max(edge_ms, 0)))
        put(connection, HOT_MS, str(hot_ms))
    gone = 0
    while deleted := _delete_piece(engine, hot_ms):
        gone += deleted
        time.sleep(PAUSE_S)
    return gone


def trim(engine: Engine, now_ms: int) -> int:
    """Delete from `hot` the closed hours that are packed; the number of rows. Raises StoreError.

    They are not kept there any longer: a chart of one check goes through every row of `hot` in its range.
    """
    return trim_hot(engine, hour_of(now_ms - due.CLOSE_MS))


def _packed_before(connection: Connection) -> int:
    """Everything before this time is packed: hours that are due again are not."""
    rolled_ms = get_ms(connection, ROLLED_MS)
    oldest_ms = due.oldest(connection)
    return rolled_ms if oldest_ms is None else min(rolled_ms, oldest_ms)


def _delete_piece(engine: Engine, hot_ms: int) -> int:
    with writing(engine) as connection:
        due.exclude(connection)
        # Asked again: a late result may have come since, and it is not packed yet.
        before = key_of(min(hot_ms, _packed_before(connection)))
        last = connection.scalar(
            select(hot.c.id).where(hot.c.id < before).order_by(hot.c.id).offset(PIECE - 1).limit(1)
        )
        condition = hot.c.id < before if last is None else hot.c.id <= last
        return connection.execute(delete(hot).where(condition)).rowcount


def _without_rollup(connection: Connection, hour_ms: int) -> dict[int, int]:
    """Series that have a block of this hour and no rollup, as after a salvage, with their numbers of results."""
    rolled = _rolled(connection, hour_ms)
    query = select(block.c.id, block.c.n).where(
        block.c.id >= block_key(hour_ms), block.c.id < block_key(hour_ms + HOUR_MS)
    )
    return {key & _MASK: n for key, n in connection.execute(query).fetchall() if key & _MASK not in rolled}


def _rolled(connection: Connection, hour_ms: int) -> set[int]:
    return set(connection.scalars(select(rollup_h.c.series_id).where(rollup_h.c.bucket_ms == hour_ms)))


def _groups(counts: Sequence[tuple[int, int]]) -> list[list[int]]:
    groups: list[list[int]] = []
    rows = ROWS
    for series_id, n in counts:
        if rows + n > ROWS:
            groups.append([])
            rows = 0
        groups[-1].append(series_id)
        rows += n
    return groups


def _read(connection: Connection, hour_ms: int, ids: Sequence[int]) -> dict[int, list[HotRow]]:
    query = (
        select(*HOT_COLUMNS)
        .where(within(hour_ms, hour_ms + HOUR_MS), hot.c.series_id >= ids[0], hot.c.series_id <= ids[-1])
        .order_by(hot.c.id)
    )
    rows: dict[int, list[HotRow]] = defaultdict(list)
    for row in connection.execute(query).fetchall():
        rows[row[0] & _MASK].append(row)  # type: ignore[arg-type]
    return rows


def _pack_slice(engine: Engine, hour_ms: int, rows: Mapping[int, Sequence[HotRow]]) -> bool:
    """Write the blocks and rollups of some series; False where somebody else has written them meanwhile."""
    keys = [block_key(hour_ms, series_id) for series_id in sorted(rows)]
    with reading(engine) as connection:
        before = {key: data for key, _, data in read_blocks_of(connection, keys)}
        rolled = _rolled(connection, hour_ms)
        packed: dict[int, Columns] = {}
        for key in keys:
            known = unpack_readable(key, before[key]) if key in before else Columns()
            merged = known.merged(Columns.of_rows(rows[key & _MASK]).rounded())
            if len(merged) > len(known) or (len(merged) and key & _MASK not in rolled):
                packed[key] = merged
        reasons = find_reasons(connection, packed.values())
    blocks, rollups = [], []
    for key, columns in packed.items():
        tally = Tally()
        tally.add(columns, reasons)
        rollups.append(tally.to_row(hour_ms, key & _MASK))
        blocks.append({"id": key, "n": len(columns), "data": pack(columns, hour_ms)})
    if not blocks:
        return True
    with writing(engine) as connection:
        if not is_sqlite(connection):
            connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _PACK})
        if {key: data for key, _, data in read_blocks_of(connection, keys)} != before:
            return False
        put_rows(connection, block, blocks)
        put_rows(connection, rollup_h, rollups)
    return True
