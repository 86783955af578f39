"""When people are told of an incident: group wait, updates, reminders, the end. Pure."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from enum import StrEnum

from alerts.book import Book
from alerts.incident import Incident, IncidentState, Severity
from alerts.timings import Timings


class Kind(StrEnum):
    """What a notification is."""

    FIRE = "fire"
    UPDATE = "update"
    REFIRE = "refire"
    REPEAT = "repeat"
    RESOLVE = "resolve"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to be told of an incident as it is now; `incident.seq` is the number of the event that says so."""

    kind: Kind
    incident: Incident


@dataclass(frozen=True, slots=True)
class Stage:
    """What the decision looks at beside the incident."""

    timings: Timings
    settled: Callable[[Incident], bool]  # nothing deeper can still turn up
    muted: Callable[[Incident], bool]  # under maintenance
    affected: Callable[[Incident], Collection[str]]  # the targets that a message would name

    def repeat_ms(self, incident: Incident) -> int:
        """Time between reminders."""
        timings = self.timings
        page = incident.severity is Severity.PAGE
        return int((timings.repeat_interval if page else timings.repeat_interval_warning) * 1000)


def announce(book: Book, stage: Stage) -> list[Notice]:
    """The notices that are due now; the book's incidents remember that they were given."""
    notices = []
    for incident in list(book.incidents.values()):
        notice = _end(book, incident) if not incident.is_open else _trouble(book, incident, stage)
        if notice is not None:
            notices.append(notice)
    return notices


def _end(book: Book, incident: Incident) -> Notice | None:
    if not incident.unannounced:
        return None
    if incident.told_ms is None:
        book.put(replace(incident, unannounced=False))
        return None
    return Notice(Kind.RESOLVE, book.record(incident, "notified", Kind.RESOLVE, unannounced=False))


def _trouble(book: Book, incident: Incident, stage: Stage) -> Notice | None:
    incident = _end_acknowledgement(book, incident)
    kind = _due(incident, stage, book.now_ms)
    if kind is None or stage.muted(incident):
        return None
    told = tuple(sorted({*incident.told, *stage.affected(incident)}))
    repeat_due_ms = incident.repeat_due_ms
    if kind is not Kind.UPDATE or repeat_due_ms is None:
        repeat_due_ms = book.now_ms + stage.repeat_ms(incident)
    told_of = book.record(
        incident,
        "notified",
        kind,
        told=told,
        told_ms=book.now_ms,
        wait_until_ms=None,
        update_due_ms=None,
        repeat_due_ms=repeat_due_ms,
        refire=False,
    )
    return Notice(kind, told_of)


def _due(incident: Incident, stage: Stage, now_ms: int) -> Kind | None:
    if incident.wait_until_ms is not None:
        if now_ms < incident.wait_until_ms and not stage.settled(incident):
            return None
        return Kind.REFIRE if incident.refire else Kind.FIRE
    if incident.update_due_ms is not None and now_ms >= incident.update_due_ms:
        return Kind.UPDATE
    if incident.state is IncidentState.ACKED:
        return None
    if incident.repeat_due_ms is not None and now_ms >= incident.repeat_due_ms:
        return Kind.REPEAT
    return None


def _end_acknowledgement(book: Book, incident: Incident) -> Incident:
    until_ms = incident.acked_until_ms
    if incident.state is not IncidentState.ACKED or until_ms is None or book.now_ms < until_ms:
        return incident
    return book.record(
        incident,
        "ack_expired",
        f"the acknowledgement of {incident.acked_by} is over",
        state=IncidentState.OPEN,
        repeat_due_ms=book.now_ms,
    )
