"""How a result stands in the store: one row of the hot table, and the way back.

Results are read through `probes.store.history`, where packed hours join the hot ones.
"""

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from probes.result import NO_PHASES, Phases, Reason, Result, Status
from probes.store.database import Link
from probes.store.keys import SERIES_BITS, key_of
from probes.store.statement import rows as ask

STATUS_CODES = {Status.UP: 0, Status.DEGRADED: 1, Status.DOWN: 2, Status.UNKNOWN: 3}
STATUSES = (Status.UP, Status.DEGRADED, Status.DOWN, Status.UNKNOWN)

MAX_INT = 2**31 - 1

Name = tuple[str, str]
"""Check and location of a series."""
Error = tuple[str, str]
"""Reason and message."""
NO_ERROR: Error = ("", "")

_CHUNK = 500


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


def find_series(link: Link, check_id: str, location: str | None = None) -> dict[int, str]:
    """Location by series id of a check, all of them or one."""
    query = "SELECT id, location FROM series WHERE check_id = :check_id"
    if location is None:
        return dict(ask(link, query, check_id=check_id))
    return dict(ask(link, f"{query} AND location = :location", check_id=check_id, location=location))


def find_names(link: Link) -> dict[int, Name]:
    """(check id, location) of every series."""
    found = ask(link, "SELECT id, check_id, location FROM series")
    return {series_id: (check_id, location) for series_id, check_id, location in found}


def find_errors(link: Link, rows: Iterable[HotRow]) -> dict[int, Error]:
    """Reason and message of the errors of some rows, by their ids."""
    return find_texts(link, {row.error_id for row in rows if row.error_id is not None})


def find_texts(link: Link, ids: Collection[int]) -> dict[int, Error]:
    """Reason and message of errors, by their ids."""
    wanted, found = sorted(ids), dict[int, Error]()
    for start in range(0, len(wanted), _CHUNK):
        texts = ask(link, "SELECT id, reason, message FROM error WHERE id IN :ids", ids=wanted[start : start + _CHUNK])
        found.update({error_id: (reason, message) for error_id, reason, message in texts})
    return found


def to_results(rows: Sequence[HotRow], names: Mapping[int, Name], errors: Mapping[int, Error]) -> list[Result]:
    """Rows as results, with the check and location of each series."""
    return [_to_result(row, names[row.series_id], errors.get(row.error_id or 0, NO_ERROR)) for row in rows]


def _to_result(row: HotRow, name: Name, said: Error) -> Result:
    return Result(
        check_id=name[0],
        location=name[1],
        slot_ms=row.slot_ms,
        started_ms=row.slot_ms + row.late_ms,
        status=STATUSES[row.status],
        reason=to_reason(said[0]),
        message=said[1],
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


def _phases(row: HotRow) -> Phases:
    if row.dns_us is row.connect_us is row.tls_us is row.ttfb_us is row.transfer_us is None:
        return NO_PHASES
    return Phases(to_s(row.dns_us), to_s(row.connect_us), to_s(row.tls_us), to_s(row.ttfb_us), to_s(row.transfer_us))
