"""How rollups are read: the rows of named hours or days of some series."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Table, select

from probes.store.due import DAY_MS, HOUR_MS, day_of, hour_of
from probes.store.spans import Span
from probes.store.tables import rollup_d, rollup_h

_CHUNK = 5000


def read_rollups(
    connection: Connection, ids: Iterable[int], span: Span, columns: Sequence[Any] | None = None
) -> list[Any]:
    """Rows of the span's hours or days, in time order; each bucket is named, for the key begins with the time."""
    table, width_ms, first_ms = _table_of(span)
    chosen = list(columns) if columns else [table]
    buckets = list(range(first_ms, span.to_ms, width_ms))
    rows: list[Any] = []
    for start in range(0, len(buckets), _CHUNK):
        query = (
            select(*(table.c[column] if isinstance(column, str) else column for column in chosen))
            .where(table.c.bucket_ms.in_(buckets[start : start + _CHUNK]), table.c.series_id.in_(list(ids)))
            .order_by(table.c.bucket_ms, table.c.series_id)
        )
        rows += connection.execute(query).fetchall()
    return rows


def _table_of(span: Span) -> tuple[Table, int, int]:
    if span.source == "day":
        return rollup_d, DAY_MS, day_of(span.from_ms)
    return rollup_h, HOUR_MS, hour_of(span.from_ms)
