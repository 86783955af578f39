"""How is a MySQL session opened with each step timed, and what do its errors mean?"""

import socket
import ssl
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from probes.address import Address, safe
from probes.dial import CutOff, Line, dial
from probes.handshake import tls_failure, trusting, trusting_all
from probes.probe import Deadline, Failure
from probes.result import NO_PHASES, Phases, Reason

if TYPE_CHECKING:
    from pymysql.connections import Connection

# Error numbers of the server (1xxx, 3xxx) and of the client library (2xxx).
_NUMBERS = {
    1040: Reason.TOO_MANY_CONNECTIONS,
    1203: Reason.TOO_MANY_CONNECTIONS,
    1226: Reason.TOO_MANY_CONNECTIONS,
    1044: Reason.AUTH_FAILED,
    1045: Reason.AUTH_FAILED,
    1129: Reason.AUTH_FAILED,
    1130: Reason.AUTH_FAILED,
    1251: Reason.AUTH_FAILED,
    1698: Reason.AUTH_FAILED,
    1820: Reason.AUTH_FAILED,
    1862: Reason.AUTH_FAILED,
    3159: Reason.AUTH_FAILED,
    4151: Reason.AUTH_FAILED,
    1053: Reason.LOADING,
    1290: Reason.READ_ONLY,
    1969: Reason.DEADLINE,
    3024: Reason.DEADLINE,
    2006: Reason.TCP_RESET,
    2013: Reason.TCP_RESET,
    2014: Reason.PROTOCOL_ERROR,
    2026: Reason.TLS_NOT_TLS,
    2027: Reason.PROTOCOL_ERROR,
}
_GREETING_BYTES = 5


@dataclass(frozen=True, slots=True)
class Link:
    """An open session, and how long each step to it took."""

    connection: "Connection[Any]"
    phases: Phases
    auth_s: float
    fileno: int

    def close(self) -> None:
        """Ends the session without waiting for anybody."""
        self.connection._force_close()  # type: ignore[attr-defined]  # close() would write, and may block


class _TimedContext(ssl.SSLContext):
    """A TLS context that notes how long its handshake took: PyMySQL does it in the midst of logging in."""

    tls_s: float | None = None
    refusal: OSError | None = None

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        started = time.monotonic()
        try:
            return super().wrap_socket(*args, **kwargs)
        except OSError as error:
            self.refusal = error
            raise
        finally:
            self.tls_s = time.monotonic() - started


def connect(where: Address, tls: str, ca_file: str | None, deadline: Deadline) -> Link:
    """Opens a session that cannot write. Raises Failure."""
    context = _context(tls, ca_file)
    line = dial(where.host, where.port, deadline)
    try:
        with CutOff(deadline, line.sock.fileno(), f"logging in to {where.place}"):
            _hear_greeting(line, where.place, deadline)
            return _log_in(where, tls, line, context, deadline)
    except Failure as failure:
        line.sock.close()
        phases = line.phases if failure.phases is NO_PHASES else failure.phases
        raise Failure(failure.reason, failure.message, code=failure.code, phases=phases) from failure


def _context(tls: str, ca_file: str | None) -> _TimedContext:
    model = trusting(ca_file) if tls == "verify" else trusting_all()
    context = _TimedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = model.check_hostname
    context.verify_mode = model.verify_mode
    if tls == "verify":
        context.load_verify_locations(ca_file) if ca_file else context.load_default_certs()
    return context


def _hear_greeting(line: Line, place: str, deadline: Deadline) -> None:
    """Looks at the first bytes without taking them: the server speaks first, and PyMySQL believes anything."""
    heard = b""
    while len(heard) < _GREETING_BYTES:
        line.sock.settimeout(deadline.remaining_s())
        try:
            now = line.sock.recv(_GREETING_BYTES, socket.MSG_PEEK)
        except TimeoutError:
            deadline.remaining_s()
            continue
        except OSError as error:
            raise Failure(Reason.TCP_RESET, f"{place}: connection reset before the greeting") from error
        if not now:
            raise Failure(Reason.TCP_RESET, f"{place}: hung up without a greeting")
        if len(now) == len(heard):
            time.sleep(min(0.02, deadline.remaining_s()))
        heard = now
    # Three bytes of length, packet number 0, then protocol version 10 or an error packet.
    if heard[3] != 0 or heard[4] not in (10, 0xFF):
        raise Failure(Reason.PROTOCOL_ERROR, f"{place}: the peer does not speak MySQL's protocol")


def _log_in(where: Address, tls: str, line: Line, context: _TimedContext, deadline: Deadline) -> Link:
    import pymysql

    left = deadline.remaining_s()
    connection: Connection[Any] = pymysql.connect(
        host=where.host,
        port=where.port,
        user=where.username or "",
        password=where.password or "",
        database=where.path or None,
        charset="utf8mb4",
        connect_timeout=max(1, int(left)),
        read_timeout=left,
        write_timeout=left,
        autocommit=True,
        program_name="backwatch",
        ssl=None if tls == "off" else context,
        ssl_disabled=tls == "off",
        defer_connect=True,
    )
    if tls == "prefer":
        connection._ssl_required = False  # type: ignore[attr-defined]  # a context of ours alone would demand TLS
    fileno = line.sock.fileno()  # stays the same when TLS is put over it
    started = time.monotonic()
    try:
        connection.connect(line.sock)
        auth_s = time.monotonic() - started - (context.tls_s or 0.0)
        _forbid_writing(connection, deadline)
    except (pymysql.err.Error, OSError, struct.error, IndexError, ValueError) as error:
        connection._force_close()  # type: ignore[attr-defined]
        phases = _with_tls(line.phases, context)
        if context.refusal is not None:
            raise tls_failure(context.refusal, where.place, phases) from error
        raise failure_of(error, where.place, where.password, phases, {}) from error
    return Link(connection, _with_tls(line.phases, context), auth_s, fileno)


def _with_tls(phases: Phases, context: _TimedContext) -> Phases:
    return Phases(dns_s=phases.dns_s, connect_s=phases.connect_s, tls_s=context.tls_s)


def _forbid_writing(connection: "Connection[Any]", deadline: Deadline) -> None:
    """Read-only for this session, and statements that the server itself ends at the deadline."""
    left = deadline.remaining_s()
    is_mariadb = "mariadb" in connection.get_server_info().lower()  # type: ignore[no-untyped-call]
    limit = f"max_statement_time = {left:.3f}" if is_mariadb else f"max_execution_time = {max(1, int(left * 1000))}"
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION TRANSACTION READ ONLY")
        cursor.execute(f"SET SESSION {limit}")


def failure_of(
    error: Exception, place: str, password: str | None, phases: Phases, metrics: dict[str, float]
) -> Failure:
    """The Failure that an error of PyMySQL stands for."""
    number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    words = safe(str(error.args[-1]) if error.args else type(error).__name__, password)
    reason = _NUMBERS.get(number)
    if reason is None:
        reason = Reason.QUERY_ERROR if 1000 <= number < 2000 or number >= 3000 else Reason.PROTOCOL_ERROR
    return Failure(reason, f"{place}: {words}", code=number or None, phases=phases, metrics=metrics)
