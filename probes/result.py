"""What was answered: the stored result of one run of one check."""

from collections.abc import Callable, Mapping
from dataclasses import field
from enum import StrEnum

from probes.value import value


class Status(StrEnum):
    """State of a result or check; unknown is our own ignorance or fault, never red and never green."""

    UP = "up"
    DEGRADED = "degraded"
    DOWN = "down"
    UNKNOWN = "unknown"

    @property
    def badness(self) -> int:
        """Rank for "worst of all": up 0, degraded 1, unknown 2, down 3."""
        return _BADNESS[self]


_BADNESS = {Status.UP: 0, Status.DEGRADED: 1, Status.UNKNOWN: 2, Status.DOWN: 3}


class Reason(StrEnum):
    """Stable word for rules and charts; the message beside it is for people."""

    DNS_NXDOMAIN = "dns_nxdomain"
    DNS_TIMEOUT = "dns_timeout"
    DNS_SERVFAIL = "dns_servfail"
    TCP_REFUSED = "tcp_refused"
    TCP_TIMEOUT = "tcp_timeout"
    TCP_RESET = "tcp_reset"
    NET_UNREACHABLE = "net_unreachable"
    TLS_EXPIRED = "tls_expired"
    TLS_NOT_YET = "tls_not_yet"
    TLS_HOSTNAME = "tls_hostname"
    TLS_UNTRUSTED = "tls_untrusted"
    TLS_REVOKED = "tls_revoked"
    TLS_CLIENT_CERT = "tls_client_cert"
    TLS_VERSION = "tls_version"
    TLS_CIPHER = "tls_cipher"
    TLS_NOT_TLS = "tls_not_tls"
    TLS_EOF = "tls_eof"
    TLS_TIMEOUT = "tls_timeout"
    HTTP_STATUS = "http_status"
    HTTP_PROTOCOL = "http_protocol"
    HTTP_REDIRECT_LOOP = "http_redirect_loop"
    HTTP_HEADER_TOO_BIG = "http_header_too_big"
    BODY_TOO_BIG = "body_too_big"
    BODY_MISMATCH = "body_mismatch"
    DECODE_ERROR = "decode_error"
    DEADLINE = "deadline"
    AUTH_FAILED = "auth_failed"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    READ_ONLY = "read_only"
    LOADING = "loading"
    QUERY_ERROR = "query_error"
    PROTOCOL_ERROR = "protocol_error"  # the peer does not speak the kind's protocol
    VALUE_LIMIT = "value_limit"
    STEP_FAILED = "step_failed"
    STALE_TARGET = "stale_target"
    SSRF_BLOCKED = "ssrf_blocked"
    SELF_NET = "self_net"
    SELF_DNS = "self_dns"
    LATE = "late"
    CANCELLED = "cancelled"
    INTERNAL = "internal"

    @property
    def is_ours(self) -> bool:
        """True for our own faults, which make a result unknown instead of down."""
        return self in _OURS


_OURS = frozenset({Reason.SELF_NET, Reason.SELF_DNS, Reason.LATE, Reason.CANCELLED, Reason.INTERNAL})


@value(frozen=True, slots=True)
class Phases:
    """Seconds spent in each step of a run; None where the step did not happen."""

    dns_s: float | None = None
    connect_s: float | None = None
    tls_s: float | None = None
    ttfb_s: float | None = None
    transfer_s: float | None = None


NO_PHASES = Phases()


class EvidenceKind(StrEnum):
    """Of which failing run evidence is: the first of several in a row, or the one that confirmed the trouble."""

    FIRST = "first"
    CONFIRMED = "confirmed"


class Evidence:
    """What a failing run saw (`probes.evidence`). Times in UTC epoch milliseconds.

    Secrets are taken out when `data` is first asked for, in the writer's thread: it takes too long for the loop's.
    """

    __slots__ = ("_data", "_make", "created_ms", "expires_ms", "kind")

    def __init__(self, kind: EvidenceKind, created_ms: int, expires_ms: int, make: Callable[[], bytes]) -> None:
        self.kind, self.created_ms, self.expires_ms = kind, created_ms, expires_ms
        self._make: Callable[[], bytes] | None = make
        self._data = b""

    @property
    def data(self) -> bytes:
        """Compressed JSON, without secrets; made once. Empty where that failed before."""
        make, self._make = self._make, None
        if make is not None:
            self._data = make()
        return self._data


@value(frozen=True, slots=True)
class Result:
    """One stored answer; (check_id, location, slot_ms) is its identity. Times are UTC epoch milliseconds."""

    check_id: str
    location: str
    slot_ms: int
    started_ms: int
    status: Status
    reason: Reason | None = None
    message: str = ""
    duration_s: float | None = None
    code: int | None = None
    phases: Phases = NO_PHASES
    metrics: Mapping[str, float] = field(default_factory=dict)
    evidence: Evidence | None = field(default=None, compare=False, repr=False)
    """On its way to the store only: results that are read back do not carry it."""

    @property
    def late_ms(self) -> int:
        """How much later than its slot the run really started."""
        late_ms = self.started_ms - self.slot_ms
        return late_ms if late_ms > 0 else 0
