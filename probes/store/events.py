"""What happened beside the results? Our own gaps, clock jumps, configuration changes, deploys."""

from dataclasses import dataclass

from sqlalchemy import Engine, insert, or_, select

from probes.store.database import reading, writing
from probes.store.tables import event


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at a time, or from `at_ms` until `end_ms`, to a site, target, check or process."""

    id: int
    at_ms: int
    end_ms: int | None
    kind: str
    subject: str
    text: str


def record_event(
    engine: Engine, at_ms: int, kind: str, text: str, *, subject: str = "", end_ms: int | None = None
) -> None:
    """Keep an event. Kinds in use: gap (we were down), clock_jump, config, deploy, sample_data, and the names of facts
    that changed (certificate, dns_answer, redirects, address_family)."""
    row = {"at_ms": at_ms, "end_ms": end_ms, "kind": kind[:40], "subject": subject[:300], "text": text[:500]}
    with writing(engine) as connection:
        connection.execute(insert(event).values(**row))


def load_events(
    engine: Engine, from_ms: int, to_ms: int, subject: str | None = None, kind: str | None = None
) -> list[Event]:
    """Events that touch from_ms <= t < to_ms, oldest first; of one subject or kind where given."""
    query = select(event).where(event.c.at_ms < to_ms, or_(event.c.at_ms >= from_ms, event.c.end_ms > from_ms))
    if subject is not None:
        query = query.where(event.c.subject == subject)
    if kind is not None:
        query = query.where(event.c.kind == kind)
    with reading(engine) as connection:
        rows = connection.execute(query.order_by(event.c.at_ms, event.c.id)).fetchall()
    return [Event(row.id, row.at_ms, row.end_ms, row.kind, row.subject, row.text) for row in rows]
