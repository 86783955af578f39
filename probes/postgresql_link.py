"""How is a PostgreSQL session opened with each step timed, and what do its errors mean?"""

import select
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from probes.address import Address, safe
from probes.guard import check_addresses
from probes.lookup import timed_resolve
from probes.probe import Deadline, Failure
from probes.result import NO_PHASES, Phases, Reason

if TYPE_CHECKING:
    import psycopg
    from psycopg.pq.abc import PGconn

# libpq gives no SQLSTATE for a connection that failed, only text; its own part is English, the server's may not be.
_WORDS = (
    (Reason.TOO_MANY_CONNECTIONS, ("too many clients", "too many connections", "remaining connection slots")),
    (Reason.AUTH_FAILED, ("authentication failed", "no password supplied", "pg_hba.conf", "not permitted to log in")),
    (Reason.AUTH_FAILED, ("authentication method", "password must", 'role "')),
    (Reason.QUERY_ERROR, ('database "', "invalid connection option", "permission denied", "unrecognized")),
    (Reason.LOADING, ("starting up", "shutting down", "recovery mode", "not yet accepting")),
    (Reason.TCP_REFUSED, ("Connection refused", "No such file or directory")),
    (Reason.TLS_EXPIRED, ("certificate has expired",)),
    (Reason.TLS_NOT_YET, ("certificate is not yet valid",)),
    (Reason.TLS_HOSTNAME, ("does not match host name",)),
    (Reason.TLS_CLIENT_CERT, ("alert certificate required", "valid client certificate")),
    (Reason.TLS_VERSION, ("alert protocol version", "unsupported protocol")),
    (Reason.TLS_UNTRUSTED, ("certificate verify failed", "root certificate file")),
    (Reason.TLS_NOT_TLS, ("does not support SSL",)),
    (Reason.PROTOCOL_ERROR, ("invalid response", "expected authentication request", "lost synchronization")),
    (Reason.PROTOCOL_ERROR, ("unsupported frontend protocol", "unexpected response", "unexpected message")),
    (Reason.NET_UNREACHABLE, ("unreachable", "No route to host")),
    (Reason.TCP_TIMEOUT, ("timed out", "timeout expired")),
    (Reason.TCP_RESET, ("closed the connection unexpectedly", "reset by peer", "could not receive data", "EOF")),
)
_STATES = {
    "28": Reason.AUTH_FAILED,
    "53300": Reason.TOO_MANY_CONNECTIONS,
    "57P03": Reason.LOADING,
    "57014": Reason.DEADLINE,
    "25006": Reason.READ_ONLY,
    "08": Reason.TCP_RESET,
    "57P": Reason.TCP_RESET,
}


@dataclass(frozen=True, slots=True)
class Link:
    """An open session, and how long each step to it took."""

    connection: "psycopg.Connection[Any]"
    phases: Phases
    auth_s: float


def connect(where: Address, deadline: Deadline) -> Link:
    """Opens a session that can only read, whose statements the server itself ends at the deadline.

    Raises Failure; a host's addresses are tried in turn, each with its share of the time that is left.
    """
    if not where.host:
        _check_hosts(where, deadline)
        return _open(where, None, deadline, NO_PHASES, 1)
    addresses, dns_s = timed_resolve(where.host, deadline)
    check_addresses(where.host, addresses)
    failure: Failure | None = None
    for tried, address in enumerate(addresses):
        try:
            return _open(where, address, deadline, Phases(dns_s=dns_s), len(addresses) - tried)
        except Failure as problem:
            failure = problem
            if problem.reason not in {Reason.TCP_REFUSED, Reason.TCP_TIMEOUT, Reason.NET_UNREACHABLE}:
                raise
    raise failure or Failure(Reason.DNS_NXDOMAIN, f"{where.host}: the name has no address")


def _open(where: Address, address: str | None, deadline: Deadline, phases: Phases, share: int) -> Link:
    import psycopg

    left = deadline.remaining_s()
    conninfo = _conninfo(where, address, left, phases)
    started = time.monotonic()
    wire = psycopg.pq.PGconn.connect_start(conninfo.encode())
    clock = _Clock(wire, started)
    try:
        _finish_connecting(wire, clock, deadline, left / share)
    except Failure as failure:
        phases = clock.phases(phases.dns_s)
        wire.finish()
        words = safe(failure.message, where.password)
        words = f"{where.place}: {words}" if where.host else words
        raise Failure(failure.reason, words, phases=phases) from failure
    connection: psycopg.Connection[Any] = psycopg.Connection(wire)
    connection.autocommit = True
    return Link(connection, clock.phases(phases.dns_s), clock.auth_s())


def _check_hosts(where: Address, deadline: Deadline) -> None:
    """Where the query names hosts, libpq looks them up itself; sockets are paths (or `@` and an abstract name)."""
    for host in ",".join(where.query.get(name, "") for name in ("host", "hostaddr")).split(","):
        if host and not host.startswith(("/", "@")):
            check_addresses(host, timed_resolve(host, deadline)[0])


def _conninfo(where: Address, address: str | None, left_s: float, phases: Phases) -> str:
    import psycopg
    from psycopg.conninfo import make_conninfo

    milliseconds = max(1, int(left_s * 1000))
    fixed = {
        "application_name": "backwatch",
        "client_encoding": "UTF8",
        "options": f"-c default_transaction_read_only=on -c statement_timeout={milliseconds} -c lock_timeout=500 "
        "-c idle_in_transaction_session_timeout=5000",
    }
    chosen: dict[str, Any] = {"gssencmode": "disable", **where.query}
    if where.host:
        chosen |= {"host": where.host, "hostaddr": address, "port": where.port}
    chosen |= known_parts(user=where.username, password=where.password, dbname=where.path)
    try:
        return make_conninfo("", **chosen, **fixed)
    except psycopg.ProgrammingError as error:
        raise Failure(
            Reason.INTERNAL, f"the url is not usable: {safe(str(error), where.password)}", phases=phases
        ) from error


def known_parts(**parts: str | None) -> dict[str, str]:
    """The parts that were given."""
    return {name: value for name, value in parts.items() if value}


class _Clock:
    """Notes when libpq's connection attempt passes from one step to the next."""

    def __init__(self, wire: "PGconn", started: float) -> None:
        self._wire = wire
        self._marks = {"start": started}

    def look(self) -> None:
        """Looks at the attempt's state; called after every step of it."""
        from psycopg.pq import ConnStatus

        now = time.monotonic()
        status = self._wire.status
        if status in (ConnStatus.BAD, ConnStatus.STARTED, ConnStatus.NEEDED):
            return
        self._marks.setdefault("connected", now)
        if status == ConnStatus.SSL_STARTUP:
            self._marks.setdefault("tls", now)
        elif "tls" in self._marks or status != ConnStatus.MADE:
            self._marks.setdefault("shaken", now)
        if status == ConnStatus.OK:
            self._marks["ready"] = now

    @property
    def is_connected(self) -> bool:
        """Whether TCP's own handshake is behind us."""
        return "connected" in self._marks

    def phases(self, dns_s: float | None) -> Phases:
        """The steps done so far."""
        marks = self._marks
        connect_s = marks["connected"] - marks["start"] if "connected" in marks else None
        tls_s = marks["shaken"] - marks["tls"] if self._wire.ssl_in_use and {"tls", "shaken"} <= marks.keys() else None
        return Phases(dns_s=dns_s, connect_s=connect_s, tls_s=tls_s)

    def auth_s(self) -> float:
        """Seconds from the secured connection to the first prompt."""
        return self._marks["ready"] - self._marks.get("shaken" if self._wire.ssl_in_use else "connected", 0.0)


def _finish_connecting(wire: "PGconn", clock: _Clock, deadline: Deadline, connect_budget_s: float) -> None:
    from psycopg.pq import ConnStatus, PollingStatus

    connect_end = time.monotonic() + connect_budget_s
    state = PollingStatus.WRITING  # what libpq's manual tells to begin with
    while wire.status != ConnStatus.BAD and state != PollingStatus.FAILED:
        if state == PollingStatus.OK:
            wire.nonblocking = 1
            return
        until = deadline.remaining_s() if clock.is_connected else connect_end - time.monotonic()
        poller = select.poll()
        poller.register(wire.socket, select.POLLIN if state == PollingStatus.READING else select.POLLOUT)
        if until <= 0 or not poller.poll(max(1, until * 1000)):
            if not clock.is_connected:
                raise Failure(Reason.TCP_TIMEOUT, "connection timed out")
            deadline.remaining_s()
        state = PollingStatus(wire.connect_poll())
        clock.look()
    raise _refusal(wire)


def _refusal(wire: "PGconn") -> Failure:
    text = wire.get_error_message("utf-8").strip()
    # "connection to server at "127.0.0.1", port 5432 failed: FATAL:  …": only the last part says something new.
    last = text.rsplit(" failed: ", 1)[-1].split("\n", 1)[0]  # what follows are hints for people at a prompt
    words = " ".join(last.removeprefix("FATAL:").split())
    reason = next((reason for reason, parts in _WORDS if any(part in text for part in parts)), None)
    if reason is None:
        reason = Reason.AUTH_FAILED if wire.used_password else Reason.PROTOCOL_ERROR
    return Failure(reason, words or "the connection failed without a word")


def failure_of(error: "psycopg.Error", password: str | None, phases: Phases, metrics: dict[str, float]) -> Failure:
    """The Failure that an error of an open session stands for."""
    state = error.sqlstate or ""
    reason = next((reason for start, reason in _STATES.items() if state.startswith(start)), None)
    if reason is None:
        reason = Reason.QUERY_ERROR if state else Reason.TCP_RESET
    words = error.diag.message_primary or " ".join(str(error).split()) or type(error).__name__
    return Failure(reason, safe(words, password), phases=phases, metrics=metrics)
