"""How a result stands in the store: one row of the hot table, and the way back.

Results are read through `with_names` (whole) and `read_tallied` (to be counted), so that packed hours can join the hot
ones in one place.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, Select, select

from probes.result import NO_PHASES, Phases, Reason, Result, Status
from probes.store.tables import SERIES_BITS, error, hot, key_of, series, within

STATUS_CODES = {Status.UP: 0, Status.DEGRADED: 1, Status.DOWN: 2, Status.UNKNOWN: 3}
STATUSES = (Status.UP, Status.DEGRADED, Status.DOWN, Status.UNKNOWN)

MAX_INT = 2**31 - 1

Rows = Sequence[Any]
TALLIED = (
    hot.c.series_id,
    hot.c.slot_ms,
    hot.c.status,
    hot.c.code,
    hot.c.total_us,
    hot.c.dns_us,
    hot.c.connect_us,
    hot.c.tls_us,
    hot.c.ttfb_us,
    hot.c.transfer_us,
    hot.c.metrics,
    error.c.reason,
)


class HotRow(NamedTuple):
    """A row of `hot`, its columns in order: a plain tuple is what drivers insert fastest."""

    id: int
    status: int
    code: int | None
    total_us: int | None
    dns_us: int | None
    connect_us: int | None
    tls_us: int | None
    ttfb_us: int | None
    transfer_us: int | None
    late_ms: int
    error_id: int | None
    metrics: str | None

    @property
    def slot_ms(self) -> int:
        """The slot within the key."""
        return self.id >> SERIES_BITS

    @property
    def series_id(self) -> int:
        """The series within the key."""
        return self.id & (1 << SERIES_BITS) - 1


NO_PHASES_US = (None, None, None, None, None)


def to_row(result: Result, series_id: int, error_id: int | None) -> HotRow:
    """A result as its row; what no column can hold is kept as far as it goes."""
    phases, code = result.phases, result.code
    return HotRow(
        key_of(result.slot_ms, series_id),
        STATUS_CODES[result.status],
        code if code is None or 0 <= code <= MAX_INT else max(-MAX_INT, min(code, MAX_INT)),
        to_us(result.duration_s),
        *(
            NO_PHASES_US
            if phases is NO_PHASES
            else (
                to_us(phases.dns_s),
                to_us(phases.connect_s),
                to_us(phases.tls_s),
                to_us(phases.ttfb_s),
                to_us(phases.transfer_s),
            )
        ),
        min(result.late_ms, MAX_INT),
        error_id,
        pack_metrics(result.metrics) if result.metrics else None,
    )


def to_us(seconds: float | None) -> int | None:
    """Whole microseconds, never negative: a clock set back must not make a negative duration."""
    if seconds is None:
        return None
    if 0 <= seconds < 1e9:
        return int(seconds * 1e6 + 0.5)
    return 0 if seconds < 0 else None


def to_s(us: float | None) -> float | None:
    """Seconds of microseconds."""
    return None if us is None else us / 1e6


def pack_metrics(metrics: Mapping[str, float]) -> str | None:
    """JSON without spaces; what is no finite number is left out, for JSON has no word for it."""
    return _pack(tuple(metrics.items()))


@lru_cache(maxsize=8192)
def _pack(metrics: tuple[tuple[str, float], ...]) -> str | None:
    # The same numbers come again and again: sizes, counts, days left.
    finite = {name: value for name, value in metrics if math.isfinite(value)}
    return json.dumps(finite, separators=(",", ":")) if finite else None


def find_series(connection: Connection, check_id: str, location: str | None = None) -> dict[int, str]:
    """Location by series id of a check, all of them or one."""
    query = select(series.c.id, series.c.location).where(series.c.check_id == check_id)
    if location is not None:
        query = query.where(series.c.location == location)
    return {row.id: row.location for row in connection.execute(query)}


def read_tallied(connection: Connection, from_ms: int, to_ms: int, series_ids: Iterable[int] | None = None) -> Rows:
    """What `Tally.add` reads, with from_ms <= slot_ms < to_ms, in slot order; of some series or all."""
    query = select(*TALLIED).outerjoin(error, error.c.id == hot.c.error_id)
    query = query.where(within(from_ms, to_ms))
    if series_ids is not None:
        query = query.where(hot.c.series_id.in_(list(series_ids)))
    return connection.execute(query.order_by(hot.c.id)).fetchall()


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
