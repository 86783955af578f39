"""How long is what kept? Rows beyond their age are deleted in pieces, so that nobody waits for the lock."""

import time
from typing import Any, Protocol

from sqlalchemy import Column, Engine, Table, delete, select

from probes.store import due
from probes.store.database import reading, writing
from probes.store.due import day_of, hour_of
from probes.store.evidence import prune_surplus
from probes.store.keys import block_key, key_of
from probes.store.maintenance import free_pages
from probes.store.meta import PRUNED_MS, ROLLED_MS, get_ms, put
from probes.store.tables import block, event, evidence, hot, push, rollup_d, rollup_h, run_request

PIECE = 5000
BLOCKS = 500
PAUSE_S = 0.005
PUSH_AGE_MS = 7 * 86_400_000
REQUEST_AGE_MS = 3_600_000


class Retention(Protocol):
    """Ages in seconds; `probes.config.Retention` is one."""

    @property
    def raw_s(self) -> float:
        """Age of single results."""

    @property
    def hourly_s(self) -> float:
        """Age of hourly rollups."""

    @property
    def daily_s(self) -> float:
        """Age of daily rollups and events."""


def prune(engine: Engine, retention: Retention, now_ms: int) -> int:
    """Delete what is older than its age; returns the number of rows. Call it hourly. Raises StoreError.

    A single result is never deleted before its hour is rolled up, nor an hourly rollup before its day is.
    """
    raw_ms = _announce(engine, hour_of(now_ms - int(retention.raw_s * 1000)))
    hourly_ms = min(day_of(now_ms - int(retention.hourly_s * 1000)), day_of(raw_ms))
    daily_ms = now_ms - int(retention.daily_s * 1000)
    gone = _delete_before(engine, block, block.c.id, block_key(raw_ms))
    gone += _delete_before(engine, hot, hot.c.id, key_of(raw_ms))
    gone += _delete_before(engine, rollup_h, rollup_h.c.bucket_ms, hourly_ms)
    gone += _delete_before(engine, rollup_d, rollup_d.c.bucket_ms, day_of(daily_ms))
    gone += _delete_before(engine, event, event.c.at_ms, daily_ms)
    gone += _delete_before(engine, push, push.c.at_ms, now_ms - PUSH_AGE_MS)
    gone += _delete_before(engine, run_request, run_request.c.at_ms, now_ms - REQUEST_AGE_MS)
    gone += _delete_before(engine, evidence, evidence.c.expires_ms, now_ms)
    gone += prune_surplus(engine)
    if gone:
        free_pages(engine)
    return gone


def _announce(engine: Engine, before_ms: int) -> int:
    # First, so that a late result of an hour that is going cannot come in and be rolled up as if it were all of it.
    with writing(engine) as connection:
        due.exclude(connection)
        rolled_ms = get_ms(connection, ROLLED_MS)
        pruned_ms = max(min(before_ms, rolled_ms, due.oldest(connection) or rolled_ms), get_ms(connection, PRUNED_MS))
        put(connection, PRUNED_MS, str(pruned_ms))
    return pruned_ms


def _delete_before(engine: Engine, table: Table, column: Column[Any], before: int) -> int:
    gone, piece = 0, BLOCKS if table is block else PIECE
    while True:
        with reading(engine) as connection:
            edge = connection.scalar(select(column).where(column < before).order_by(column).offset(piece - 1).limit(1))
        condition = column < before if edge is None else column <= edge
        with writing(engine) as connection:
            deleted = connection.execute(delete(table).where(condition)).rowcount
        gone += deleted
        if edge is None:
            return gone
        time.sleep(PAUSE_S)
