"""What an incident is: a period of trouble with one root, its members, its timers and what happened to it."""

import base64
import hashlib
import secrets
from dataclasses import dataclass
from enum import StrEnum

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class IncidentState(StrEnum):
    """Where an incident stands with people: nobody has it, somebody has it, it is over."""

    OPEN = "open"
    ACKED = "acked"
    RESOLVED = "resolved"


class Severity(StrEnum):
    """How loudly people are told: a page for what is down, a warning for what is degraded."""

    PAGE = "page"
    WARNING = "warning"


class Level(StrEnum):
    """Why a target is a member."""

    DOWN = "down"
    DEGRADED = "degraded"
    NO_DATA = "no_data"


@dataclass(frozen=True, slots=True)
class Member:
    """A target that belongs to an incident; `left_ms` is set once it is well again (it may join again)."""

    target: str
    joined_ms: int
    left_ms: int | None = None
    level: Level = Level.DOWN

    @property
    def active(self) -> bool:
        """True while the target is in trouble."""
        return self.left_ms is None


@dataclass(frozen=True, slots=True)
class Incident:
    """A period of trouble. `root` and members are target ids, or `location:NAME` where a worker sends no data.

    Times are UTC epoch milliseconds. The root is a member too. `seq` numbers the events, the newest included.
    """

    id: str
    key: str
    state: IncidentState
    severity: Severity
    root: str
    members: tuple[Member, ...]
    title: str
    cause: str
    reason: str
    opened_ms: int
    resolved_ms: int | None = None
    acked_by: str | None = None
    acked_ms: int | None = None
    acked_until_ms: int | None = None
    seq: int = 0
    wait_until_ms: int | None = None  # group wait: nothing is said before
    told_ms: int | None = None  # the newest message that says "in trouble"
    told: tuple[str, ...] = ()  # targets that the messages named
    update_due_ms: int | None = None
    repeat_due_ms: int | None = None
    root_ok_ms: int | None = None  # since when the root is well while members are not
    closed_as: str = ""  # recovered, removed, merged, by hand
    refire: bool = False  # opened again after people were told that it is over
    unannounced: bool = False  # closed, and the engine still owes the message
    dismissing: bool = False  # closed by hand while in trouble: its members are left alone until they are well

    @property
    def is_open(self) -> bool:
        """True until it is resolved, acknowledged or not."""
        return self.state is not IncidentState.RESOLVED

    @property
    def active(self) -> tuple[str, ...]:
        """Members that are in trouble now, the root first where it is one of them."""
        ids = [member.target for member in self.members if member.active]
        return tuple(sorted(ids, key=lambda target: target != self.root))

    def member(self, target: str) -> Member | None:
        """The membership of a target, over or not."""
        return next((member for member in self.members if member.target == target), None)


@dataclass(frozen=True, slots=True)
class IncidentEvent:
    """One thing that happened to an incident: opened, joined, left, rerooted, acked, resolved, comment …"""

    incident_id: str
    seq: int
    at_ms: int
    kind: str
    text: str
    author: str = ""


@dataclass(frozen=True, slots=True)
class Silence:
    """Muting by hand: incidents whose labels match are not told of between the two times."""

    id: str
    matchers: dict[str, str]
    starts_ms: int
    ends_ms: int
    author: str
    comment: str
    created_ms: int


@dataclass(frozen=True, slots=True)
class Notification:
    """One delivery to one notifier, with its attempts. `state` is pending, sending, sent, dead or superseded."""

    id: str
    incident_id: str | None
    seq: int
    kind: str
    notifier: str
    state: str
    attempts: int
    created_ms: int
    due_ms: int
    sent_ms: int | None
    last_code: int | None
    last_error: str
    title: str


@dataclass(frozen=True, slots=True)
class Pending:
    """How far the outbox is behind."""

    n: int
    oldest_due_ms: int | None
    dead: int


def new_id(now_ms: int) -> str:
    """A ULID: 48 bits of time, 80 random, 26 characters of Crockford's base 32; sorts by time."""
    number = (now_ms << 80) | secrets.randbits(80)
    return "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(125, -5, -5))


def notification_id(incident_id: str, seq: int, notifier: str) -> str:
    """The idempotency key of a delivery: the same however often and by whomever it is sent."""
    digest = hashlib.sha256(f"{incident_id}|{seq}|{notifier}".encode()).digest()[:16]
    return base64.b32encode(digest).decode().rstrip("=").lower()
