"""What a notification says: plain facts that every notifier puts in its own form."""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from alerts.announce import Kind
from alerts.condition import Condition
from alerts.incident import Incident, Level, Severity, notification_id
from probes.redact import clean
from probes.result import Reason
from probes.target import Estate

_SAYS = {
    Reason.DNS_NXDOMAIN: "has no address: the name does not exist",
    Reason.DNS_TIMEOUT: "cannot be looked up: the resolver does not answer",
    Reason.DNS_SERVFAIL: "cannot be looked up: the resolver reports a failure",
    Reason.TCP_REFUSED: "refuses connections",
    Reason.TCP_TIMEOUT: "does not answer: the connection times out",
    Reason.TCP_RESET: "cuts connections",
    Reason.NET_UNREACHABLE: "cannot be reached: no route",
    Reason.TLS_EXPIRED: "shows an expired certificate",
    Reason.TLS_NOT_YET: "shows a certificate that is not valid yet",
    Reason.TLS_HOSTNAME: "shows a certificate for another name",
    Reason.TLS_UNTRUSTED: "shows a certificate that is not trusted",
    Reason.TLS_REVOKED: "shows a revoked certificate",
    Reason.TLS_CLIENT_CERT: "wants a client certificate that it does not get",
    Reason.HTTP_STATUS: "answers with an error",
    Reason.BODY_MISMATCH: "answers with the wrong content",
    Reason.DEADLINE: "does not answer in time",
    Reason.AUTH_FAILED: "is up but refuses our credentials",
    Reason.TOO_MANY_CONNECTIONS: "is up but has no connection left",
    Reason.READ_ONLY: "is up but read-only",
    Reason.LOADING: "is up but still loading",
    Reason.QUERY_ERROR: "fails our query",
    Reason.PROTOCOL_ERROR: "does not speak the expected protocol",
    Reason.VALUE_LIMIT: "is beyond a limit",
    Reason.STEP_FAILED: "fails a step",
    Reason.STALE_TARGET: "has not reported in time",
}
_NAMED = 5
OWN_ROOT = "backwatch:itself"
"""The root of messages about Backwatch itself, which no incident in the store stands behind."""


@dataclass(frozen=True, slots=True)
class Affected:
    """One member as a message shows it."""

    target: str
    title: str
    tier: str
    level: str
    message: str
    since_ms: int


@dataclass(frozen=True, slots=True)
class Message:
    """Everything a notifier may want to say. Text is cleaned of control characters, and is data: escape it.

    `id` is the idempotency key; `status` is firing or resolved; the root is the first of `members`.
    """

    id: str
    incident_id: str
    seq: int
    kind: str
    severity: str
    status: str
    site: str
    root: str
    tier: str
    title: str
    cause: str
    reason: str
    members: tuple[Affected, ...]
    opened_ms: int
    resolved_ms: int | None
    at_ms: int
    url: str
    external_url: str
    closed_as: str = ""

    @property
    def subject(self) -> str:
        """One line: `[DOWN] shop: database shop/db refuses connections — web and app affected`."""
        site = f"{self.site}: " if self.site else ""
        text = f"[{self.word}] {site}{self.title}{_SUFFIX.get(self.kind, '')}"
        return " ".join(text.split())[:250]

    @property
    def word(self) -> str:
        """The state in a word."""
        if self.kind == Kind.TEST:
            return "TEST"
        if self.status == "resolved":
            return "RESOLVED"
        if self.root.startswith("location:"):
            return "NO DATA"
        return "DOWN" if self.severity == Severity.PAGE else "DEGRADED"

    def to_json(self) -> str:
        """For the outbox."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Message":
        """From the outbox."""
        values = json.loads(text)
        return cls(**{**values, "members": tuple(Affected(**member) for member in values["members"])})


_SUFFIX = {"update": " (update)", "repeat": " (still)", "refire": " (again)"}


def compose(
    kind: Kind, incident: Incident, affected: Collection[Affected], estate: Estate, *, external_url: str, at_ms: int
) -> Message:
    """The message about an incident as it is now, yet without the id that its notifier gives it."""
    target = estate.targets.get(incident.root)
    return Message(
        id="",
        incident_id=incident.id,
        seq=incident.seq,
        kind=kind,
        severity=incident.severity,
        status="firing" if incident.is_open else "resolved",
        site=target.site if target else "",
        root=incident.root,
        tier=str(target.tier) if target else "",
        title=incident.title,
        cause=incident.cause,
        reason=incident.reason,
        members=tuple(affected),
        opened_ms=incident.opened_ms,
        resolved_ms=incident.resolved_ms,
        at_ms=at_ms,
        url=f"{external_url}/incidents?incident={incident.id}",
        external_url=external_url,
        closed_as=incident.closed_as,
    )


def compose_test(notification: str, notifier: str, author: str, external_url: str, at_ms: int) -> Message:
    """A message that says that messages arrive."""
    text = f"Backwatch reaches {notifier} (asked for by {author})"
    return Message(
        id=notification, incident_id="", seq=0, kind=Kind.TEST, severity=Severity.WARNING, status="firing", site="",
        root="", tier="", title=clean(text, 250), cause="Nothing is wrong: this is a test.", reason="test", members=(),
        opened_ms=at_ms, resolved_ms=None, at_ms=at_ms, url=external_url, external_url=external_url,
    )  # fmt: skip


def title_of(incident: Incident, estate: Estate, affected: Collection[str]) -> str:
    """Tier and target at fault, what it does, and who suffers."""
    others = [estate.targets[one].name if one in estate.targets else one for one in affected if one != incident.root]
    if incident.root.startswith("location:"):
        return f"no data from {incident.root.removeprefix('location:')} about {_enumerate(others)}"
    target = estate.targets.get(incident.root)
    tier = f"{target.tier}".replace("_", " ") + " " if target else ""
    suffering = f" — {_enumerate(others)} affected" if others else ""
    return clean(f"{tier}{incident.root} {_what(incident)}{suffering}", 500)


def _what(incident: Incident) -> str:
    if incident.severity is Severity.WARNING:
        return f"is degraded: {clean(incident.cause, 120)}" if incident.cause else "is degraded"
    says = _SAYS.get(Reason(incident.reason)) if incident.reason in set(Reason) else None
    return says or "is down"


def _enumerate(names: list[str]) -> str:
    names = sorted(names)
    if len(names) > _NAMED:
        names = [*names[: _NAMED - 1], f"{len(names) - _NAMED + 1} more"]
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def affected_of(
    targets: Collection[str], conditions: Mapping[str, Condition], estate: Estate, root: str
) -> tuple[Affected, ...]:
    """The lines about members, the root first."""
    lines = []
    for target_id in sorted(targets, key=lambda target: (target != root, target)):
        target = estate.targets.get(target_id)
        condition = conditions.get(target_id)
        level = (condition.level or (Level.DOWN if condition.failing else None)) if condition else None
        lines.append(
            Affected(
                target=target_id,
                title=clean(target.title if target else target_id, 200),
                tier=str(target.tier) if target else "",
                level=str(level or "well"),
                message=clean(condition.message, 300) if condition else "",
                since_ms=condition.since_ms if condition else 0,
            )
        )
    return tuple(lines)


def addressed(message: Message, notifier: str) -> Message:
    """The message with the id that its delivery to a notifier has."""
    values: dict[str, Any] = {**asdict(message), "members": message.members}
    return Message(**{**values, "id": notification_id(message.incident_id, message.seq, notifier)})


def lines(message: Message) -> list[str]:
    """The message as plain text, for mail and log."""
    if message.kind == Kind.TEST:
        return [message.title, "", message.cause]
    text = [message.title, ""]
    if message.cause:
        text.append(f"Cause:    {message.cause}")
    text.append(f"Since:    {utc(message.opened_ms)}")
    if message.resolved_ms is not None:
        lasted = lasting(message.resolved_ms - message.opened_ms)
        text.append(f"Resolved: {utc(message.resolved_ms)}, {message.closed_as}, after {lasted}")
    if message.members:
        text += ["", "Targets:"]
        text += [f"  {_member_line(member)}" for member in message.members]
    if message.root == OWN_ROOT:
        return [*text, "", f"See: {message.url}"]
    text += ["", f"Incident: {message.url}"]
    if message.status == "firing":
        text.append(f"Acknowledge there, or: backwatch incident ack {message.incident_id}")
    return text


def lasting(length_ms: int) -> str:
    """A time span for people, in its two largest units."""
    seconds = max(0, round(length_ms / 1000))
    parts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s")]
    told = [f"{count} {unit}" for count, unit in parts if count]
    return " ".join(told[:2]) or "0 s"


def utc(at_ms: int) -> str:
    """A time for people."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso(at_ms: int) -> str:
    """A time for programs."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _member_line(member: Affected) -> str:
    said = f": {member.message}" if member.message else ""
    return f"{member.target} ({member.tier.replace('_', ' ')}) {member.level.replace('_', ' ')}{said}"
