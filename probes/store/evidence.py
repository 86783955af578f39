"""What did failing runs see? Evidence is written with its result, read for people, and gone when it expires."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, delete, func, select, tuple_

from probes.evidence import unpack
from probes.result import EvidenceKind, Result
from probes.store.database import reading, upsert, writing
from probes.store.tables import evidence

MOST_A_CHECK = 100
"""Of one check at one location the newest so many are kept: one that fails every minute must not fill the disk."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one failing run of a check saw. Times in UTC epoch milliseconds."""

    check_id: str
    location: str
    slot_ms: int
    kind: EvidenceKind
    created_ms: int
    expires_ms: int
    content: dict[str, Any]


def write_evidence(connection: Connection, results: Sequence[Result]) -> None:
    """Keep the evidence that some of these results carry, in the transaction of the results."""
    rows = [
        {
            "check_id": result.check_id,
            "location": result.location,
            "slot_ms": result.slot_ms,
            "kind": result.evidence.kind.value,
            "created_ms": result.evidence.created_ms,
            "expires_ms": result.evidence.expires_ms,
            "data": result.evidence.data,
        }
        for result in results
        if result.evidence is not None and result.evidence.data
    ]
    if rows:
        connection.execute(upsert(connection)(evidence).on_conflict_do_nothing(), rows)


def load_evidence(engine: Engine, check_ids: Sequence[str], from_ms: int, to_ms: int, limit: int = 10) -> list[Seen]:
    """Evidence of these checks with from_ms <= slot_ms < to_ms, the newest first. Raises StoreError."""
    query = (
        select(evidence)
        .where(evidence.c.check_id.in_(list(check_ids)), evidence.c.slot_ms >= from_ms, evidence.c.slot_ms < to_ms)
        .order_by(evidence.c.slot_ms.desc(), evidence.c.check_id, evidence.c.location)
        .limit(limit)
    )
    with reading(engine) as connection:
        rows = connection.execute(query).fetchall()
    return [
        Seen(
            check_id=row.check_id,
            location=row.location,
            slot_ms=row.slot_ms,
            kind=EvidenceKind(row.kind),
            created_ms=row.created_ms,
            expires_ms=row.expires_ms,
            content=unpack(row.data),
        )
        for row in rows
    ]


def prune_surplus(engine: Engine, most: int = MOST_A_CHECK) -> int:
    """Delete what a check has beyond the newest `most`; returns the number of rows. Raises StoreError."""
    identity = (evidence.c.check_id, evidence.c.location, evidence.c.slot_ms)
    place = func.row_number().over(partition_by=identity[:2], order_by=evidence.c.slot_ms.desc()).label("place")
    ranked = select(*identity, place).subquery()
    surplus = select(ranked.c.check_id, ranked.c.location, ranked.c.slot_ms).where(ranked.c.place > most)
    with reading(engine) as connection:
        crowded = connection.scalar(
            select(func.count()).select_from(evidence).group_by(*identity[:2]).order_by(func.count().desc()).limit(1)
        )
    if (crowded or 0) <= most:
        return 0
    with writing(engine) as connection:
        return connection.execute(delete(evidence).where(tuple_(*identity).in_(surplus))).rowcount
