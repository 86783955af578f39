"""When did a check change its status, from what to what, and why?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine

from probes.result import Reason, Status
from probes.store.buckets import read_rollups
from probes.store.database import reading
from probes.store.due import DAY_MS, HOUR_MS
from probes.store.history import newest_rows, read_rows
from probes.store.rows import NO_ERROR, STATUSES, find_errors, find_series, to_reason
from probes.store.spans import Span, load_held, plan

_BEFORE_MS = DAY_MS


@dataclass(frozen=True, slots=True)
class Change:
    """A result whose status differs from the one before it; `before` is None where there is none within a day."""

    slot_ms: int
    location: str
    before: Status | None
    after: Status
    reason: Reason | None
    message: str


def load_changes(
    engine: Engine, check_id: str, from_ms: int, to_ms: int, *, location: str | None = None
) -> list[Change]:
    """Changes with from_ms <= slot_ms < to_ms, oldest first, as far back as single results are kept.

    Hours in which nothing changed are known from their rollups and not read. Raises StoreError.
    """
    with reading(engine) as connection:
        held = load_held(connection)
        spans = plan(max(from_ms, held.raw_ms), to_ms, HOUR_MS, held)
        found = [
            change
            for series_id, place in find_series(connection, check_id, location).items()
            for change in _changes(connection, series_id, place, spans)
        ]
    return sorted(found, key=lambda change: (change.slot_ms, change.location))


def _changes(connection: Connection, series_id: int, place: str, spans: Sequence[Span]) -> Iterator[Change]:
    status = _status_before(connection, series_id, spans[0].from_ms) if spans else None
    for span in spans:
        for part, only in _parts(connection, series_id, span):
            if only is not None and only == status:
                continue
            turns = []
            for row in read_rows(connection, part.from_ms, part.to_ms, [series_id]):
                if row.status != status:
                    turns.append((status, row))
                status = row.status
            errors = find_errors(connection, (row for _, row in turns))
            for old, row in turns:
                before = None if old is None else STATUSES[old]
                reason, message = errors.get(row.error_id or 0, NO_ERROR)
                yield Change(row.slot_ms, place, before, STATUSES[row.status], to_reason(reason), message)


def _parts(connection: Connection, series_id: int, span: Span) -> Iterator[tuple[Span, int | None]]:
    """Spans of single results, each with the one status all of them have, None where they have several."""
    if span.source == "raw":
        yield span, None
        return
    for row in read_rollups(connection, [series_id], span, ("bucket_ms", "up", "degraded", "down", "unknown")):
        had = [status for status, count in enumerate(row[1:]) if count]
        yield Span("raw", row.bucket_ms, row.bucket_ms + HOUR_MS), had[0] if len(had) == 1 else None


def _status_before(connection: Connection, series_id: int, from_ms: int) -> int | None:
    before = newest_rows(connection, from_ms - _BEFORE_MS, from_ms, [series_id], limit=1)
    return before[0].status if before else None
