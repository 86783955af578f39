"""The incidents that are being worked on, with every change noted down as an event."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from alerts.incident import Incident, IncidentEvent, IncidentState, Level, Member, Severity, new_id


class Book:
    """Live incidents at one moment. What is changed through it is what has to be stored."""

    def __init__(self, incidents: Iterable[Incident], now_ms: int) -> None:
        self.now_ms = now_ms
        self.incidents: dict[str, Incident] = {incident.id: incident for incident in incidents}
        self.events: list[IncidentEvent] = []
        self.changed: dict[str, None] = {}

    @property
    def open(self) -> list[Incident]:
        """Incidents that are not resolved, the oldest first."""
        return sorted((one for one in self.incidents.values() if one.is_open), key=lambda one: (one.opened_ms, one.id))

    def put(self, incident: Incident) -> Incident:
        """Note a changed incident."""
        if self.incidents.get(incident.id) != incident:
            self.incidents[incident.id] = incident
            self.changed[incident.id] = None
        return incident

    def record(self, incident: Incident, kind: str, text: str = "", **changes: Any) -> Incident:
        """Note a change together with the event that tells of it."""
        incident = replace(incident, seq=incident.seq + 1, **changes)
        self.events.append(IncidentEvent(incident.id, incident.seq, self.now_ms, kind, text[:500]))
        return self.put(incident)

    def start(self, root: str, level: Level, since_ms: int, wait_ms: int) -> Incident:
        """Open an incident with its root as the first member."""
        severity = Severity.PAGE if level is Level.DOWN else Severity.WARNING
        incident = Incident(
            id=new_id(self.now_ms),
            key=root,
            state=IncidentState.OPEN,
            severity=severity,
            root=root,
            members=(Member(root, self.now_ms, level=level),),
            title="",
            cause="",
            reason="",
            opened_ms=since_ms,
            wait_until_ms=self.now_ms + wait_ms,
        )
        return self.record(incident, "opened", root)

    def reopen(self, incident: Incident, level: Level, wait_ms: int) -> Incident:
        """The same trouble again: the same incident, told of again if people had heard that it is over."""
        again = replace(incident, members=_joined(incident.members, incident.root, self.now_ms, level))
        return self.record(
            again,
            "reopened",
            incident.root,
            state=IncidentState.OPEN,
            severity=Severity.PAGE if level is Level.DOWN else Severity.WARNING,
            resolved_ms=None,
            closed_as="",
            acked_by=None,
            acked_ms=None,
            acked_until_ms=None,
            refire=incident.told_ms is not None,
            told_ms=None,
            told=(),
            update_due_ms=None,
            repeat_due_ms=None,
            root_ok_ms=None,
            unannounced=False,
            wait_until_ms=self.now_ms + wait_ms,
        )

    def join(self, incident: Incident, target: str, level: Level) -> Incident:
        """A target becomes a member, again or for the first time, or its level changes."""
        member = incident.member(target)
        if member is not None and member.active and member.level is level:
            return incident
        members = _joined(incident.members, target, self.now_ms, level)
        if member is not None and member.active:
            return self.put(replace(incident, members=members))
        return self.record(incident, "joined", target, members=members)

    def leave(self, incident: Incident, targets: Sequence[str], why: str) -> Incident:
        """Members are well again, or no longer there."""
        for target in targets:
            members = tuple(
                replace(member, left_ms=self.now_ms) if member.target == target else member
                for member in incident.members
            )
            incident = self.record(incident, "left", f"{target} {why}", members=members)
        return incident

    def reroot(self, incident: Incident, root: str, level: Level, update_due_ms: int | None) -> Incident:
        """A deeper target takes the blame; the incident keeps its id."""
        members = _joined(incident.members, root, self.now_ms, level)
        text = f"root cause now {root}, was {incident.root}"
        return self.record(
            incident,
            "rerooted",
            text,
            root=root,
            key=root,
            members=members,
            cause="",
            reason="",
            root_ok_ms=None,
            update_due_ms=update_due_ms,
        )

    def close(self, incident: Incident, closed_as: str, text: str = "") -> Incident:
        """Resolve; a message is owed if people were told of the trouble."""
        members = tuple(
            replace(member, left_ms=self.now_ms) if member.active else member for member in incident.members
        )
        return self.record(
            incident,
            "resolved",
            text,
            state=IncidentState.RESOLVED,
            members=members,
            resolved_ms=self.now_ms,
            closed_as=closed_as,
            unannounced=incident.told_ms is not None,
            wait_until_ms=None,
            update_due_ms=None,
            repeat_due_ms=None,
            root_ok_ms=None,
        )


def _joined(members: tuple[Member, ...], target: str, now_ms: int, level: Level) -> tuple[Member, ...]:
    known = next((member for member in members if member.target == target), None)
    if known is None:
        return (*members, Member(target, now_ms, level=level))
    joined_ms = known.joined_ms if known.active else now_ms
    again = Member(target, joined_ms, level=level)
    return tuple(again if member.target == target else member for member in members)
