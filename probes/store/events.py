"""What happened beside the results? Our own gaps, clock jumps, configuration changes, deploys."""

from dataclasses import dataclass

from probes.store.database import Store, reading, writing
from probes.store.statement import change, rows


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at a time, or from `at_ms` until `end_ms`, to a site, target, check or process."""

    id: int
    at_ms: int
    end_ms: int | None
    kind: str
    subject: str
    text: str


_ADD = "INSERT INTO event (at_ms, end_ms, kind, subject, text) VALUES (:at_ms, :end_ms, :kind, :subject, :text)"
_TOUCHING = """
SELECT id, at_ms, end_ms, kind, subject, text FROM event
WHERE at_ms < :to_ms AND (at_ms >= :from_ms OR end_ms > :from_ms)
"""


def record_event(
    store: Store, at_ms: int, kind: str, text: str, *, subject: str = "", end_ms: int | None = None
) -> None:
    """Keep an event. Kinds in use: gap (we were down), clock_jump, config, deploy, sample_data, and the names of facts
    that changed (certificate, dns_answer, redirects, address_family)."""
    row = {"at_ms": at_ms, "end_ms": end_ms, "kind": kind[:40], "subject": subject[:300], "text": text[:500]}
    with writing(store) as link:
        change(link, _ADD, row)


def load_events(
    store: Store, from_ms: int, to_ms: int, subject: str | None = None, kind: str | None = None
) -> list[Event]:
    """Events that touch from_ms <= t < to_ms, oldest first; of one subject or kind where given."""
    query = _TOUCHING
    if subject is not None:
        query += " AND subject = :subject"
    if kind is not None:
        query += " AND kind = :kind"
    wanted = {name: value for name, value in (("subject", subject), ("kind", kind)) if value is not None}
    with reading(store) as link:
        found = rows(link, f"{query} ORDER BY at_ms, id", from_ms=from_ms, to_ms=to_ms, **wanted)
    return [Event(*row) for row in found]
