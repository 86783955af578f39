"""What did failing runs see? Evidence is written with its result, read for people, and gone when it expires."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from probes.evidence import unpack
from probes.result import EvidenceKind, Result
from probes.store.database import Link, Store, reading, writing
from probes.store.statement import change, inserting, rows, scalar

MOST_A_CHECK = 100
"""Of one check at one location the newest so many are kept: one that fails every minute must not fill the disk."""

_COLUMNS = ("check_id", "location", "slot_ms", "kind", "created_ms", "expires_ms", "data")
_ADD = inserting("evidence", _COLUMNS)
_NEWEST = """
SELECT check_id, location, slot_ms, kind, created_ms, expires_ms, data FROM evidence
WHERE check_id IN :check_ids AND slot_ms >= :from_ms AND slot_ms < :to_ms
ORDER BY slot_ms DESC, check_id, location LIMIT :limit
"""
_MOST = "SELECT count(*) FROM evidence GROUP BY check_id, location ORDER BY count(*) DESC LIMIT 1"
_PRUNE = """
DELETE FROM evidence WHERE (check_id, location, slot_ms) IN (
  SELECT check_id, location, slot_ms FROM (
    SELECT check_id, location, slot_ms,
      row_number() OVER (PARTITION BY check_id, location ORDER BY slot_ms DESC) AS place
    FROM evidence
  ) AS ranked WHERE place > :most
)
"""


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


def write_evidence(link: Link, results: Sequence[Result]) -> None:
    """Keep the evidence that some of these results carry, in the transaction of the results."""
    kept = [
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
    if kept:
        change(link, _ADD, *kept)


def load_evidence(store: Store, check_ids: Sequence[str], from_ms: int, to_ms: int, limit: int = 10) -> list[Seen]:
    """Evidence of these checks with from_ms <= slot_ms < to_ms, the newest first. Raises StoreError."""
    with reading(store) as link:
        found = rows(link, _NEWEST, check_ids=list(check_ids), from_ms=from_ms, to_ms=to_ms, limit=limit)
    return [
        Seen(check_id, location, slot_ms, EvidenceKind(kind), created_ms, expires_ms, unpack(data))
        for check_id, location, slot_ms, kind, created_ms, expires_ms, data in found
    ]


def prune_surplus(store: Store, most: int = MOST_A_CHECK) -> int:
    """Delete what a check has beyond the newest `most`; returns the number of rows. Raises StoreError."""
    with reading(store) as link:
        crowded = scalar(link, _MOST)
    if (crowded or 0) <= most:
        return 0
    with writing(store) as link:
        return change(link, _PRUNE, {"most": most})
