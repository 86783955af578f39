"""How a result stands in the store: one row of the hot table, and the way back.

Every reader of single results goes through `read_rows`, so that packed hours can join the hot ones in one place.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, select

from probes.result import NO_PHASES, Phases, Reason, Result, Status
from probes.store.tables import error, hot, series

STATUS_CODES = {Status.UP: 0, Status.DEGRADED: 1, Status.DOWN: 2, Status.UNKNOWN: 3}
STATUSES = (Status.UP, Status.DEGRADED, Status.DOWN, Status.UNKNOWN)

MAX_INT = 2**31 - 1


def to_us(seconds: float | None) -> int | None:
    """Whole microseconds, never negative: a clock set back must not make a negative duration."""
    if seconds is None or not math.isfinite(seconds):
        return None
    return max(0, round(seconds * 1e6))


def to_s(us: float | None) -> float | None:
    """Seconds of microseconds."""
    return None if us is None else us / 1e6


def pack_metrics(metrics: Mapping[str, float]) -> str | None:
    """JSON without spaces; what is no finite number is left out, for JSON has no word for it."""
    if not metrics:
        return None
    finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
    return json.dumps(finite, separators=(",", ":")) if finite else None


def find_series(connection: Connection, check_id: str, location: str | None = None) -> dict[int, str]:
    """Location by series id of a check, all of them or one."""
    query = select(series.c.id, series.c.location).where(series.c.check_id == check_id)
    if location is not None:
        query = query.where(series.c.location == location)
    return {row.id: row.location for row in connection.execute(query)}


def read_rows(
    connection: Connection,
    series_ids: Iterable[int],
    from_ms: int,
    to_ms: int,
    *,
    columns: Sequence[Any] = (hot,),
    limit: int | None = None,
    newest_first: bool = False,
) -> Sequence[Row[Any]]:
    """Rows of single results with from_ms <= slot_ms < to_ms, in slot order."""
    query = (
        select(*columns)
        .where(hot.c.slot_ms >= from_ms, hot.c.slot_ms < to_ms, hot.c.series_id.in_(list(series_ids)))
        .order_by(hot.c.slot_ms.desc() if newest_first else hot.c.slot_ms)
    )
    return connection.execute(query.limit(limit) if limit is not None else query).fetchall()


def with_names() -> Select[Any]:
    """Hot rows beside their check, location, reason and message: what `to_result` reads."""
    return (
        select(hot, series.c.check_id, series.c.location, error.c.reason, error.c.message)
        .join(series, series.c.id == hot.c.series_id)
        .outerjoin(error, error.c.id == hot.c.error_id)
    )


def to_result(row: Row[Any]) -> Result:
    """A row of `with_names` as a Result."""
    return Result(
        check_id=row.check_id,
        location=row.location,
        slot_ms=row.slot_ms,
        started_ms=row.slot_ms + row.late_ms,
        status=STATUSES[row.status],
        reason=to_reason(row.reason),
        message=row.message or "",
        duration_s=to_s(row.total_us),
        code=row.code,
        phases=_phases(row),
        metrics=json.loads(row.metrics) if row.metrics else {},
    )


def to_reason(word: str | None) -> Reason | None:
    """The reason of a stored word; a word of another version is our own ignorance."""
    if not word:
        return None
    try:
        return Reason(word)
    except ValueError:
        return Reason.INTERNAL


def _phases(row: Row[Any]) -> Phases:
    if row.dns_us is row.connect_us is row.tls_us is row.ttfb_us is row.transfer_us is None:
        return NO_PHASES
    return Phases(to_s(row.dns_us), to_s(row.connect_us), to_s(row.tls_us), to_s(row.ttfb_us), to_s(row.transfer_us))
