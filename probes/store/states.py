"""How does every check stand now? The newest result of each series."""

from dataclasses import dataclass

from sqlalchemy import Engine, select

from probes.result import Reason, Status
from probes.store.database import reading
from probes.store.rows import STATUSES, to_reason, to_s
from probes.store.tables import error, series, state


@dataclass(frozen=True, slots=True)
class Standing:
    """The newest result of a check at a location; `since_ms` is the first slot of its status in a row."""

    check_id: str
    location: str
    slot_ms: int
    status: Status
    since_ms: int
    reason: Reason | None
    message: str
    code: int | None
    duration_s: float | None


def load_standings(engine: Engine) -> list[Standing]:
    """The standing of every check at every location, by check id."""
    query = (
        select(state, series.c.check_id, series.c.location, error.c.reason, error.c.message)
        .join(series, series.c.id == state.c.series_id)
        .outerjoin(error, error.c.id == state.c.error_id)
        .order_by(series.c.check_id, series.c.location)
    )
    with reading(engine) as connection:
        rows = connection.execute(query).fetchall()
    return [
        Standing(
            check_id=row.check_id,
            location=row.location,
            slot_ms=row.slot_ms,
            status=STATUSES[row.status],
            since_ms=row.since_ms,
            reason=to_reason(row.reason),
            message=row.message or "",
            code=row.code,
            duration_s=to_s(row.total_us),
        )
        for row in rows
    ]
