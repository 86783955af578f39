"""How does one talk to a Redis server over a connection of ours, and what do its errors mean?"""

import socket
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from probes.address import Address, safe
from probes.dial import tcp_failure
from probes.probe import Deadline, Failure
from probes.result import Phases, Reason

if TYPE_CHECKING:
    from redis.connection import Connection

# First word of an error; redis-py turns some of them into classes of its own and takes the word away.
_WORDS = {
    "LOADING": Reason.LOADING,
    "MASTERDOWN": Reason.LOADING,
    "NOAUTH": Reason.AUTH_FAILED,
    "WRONGPASS": Reason.AUTH_FAILED,
    "NOPERM": Reason.AUTH_FAILED,
    "DENIED": Reason.AUTH_FAILED,
    "MISCONF": Reason.READ_ONLY,
    "READONLY": Reason.READ_ONLY,
    "OOM": Reason.QUERY_ERROR,
}


class Link:
    """A session on an open socket; each answer is waited for no longer than the deadline."""

    def __init__(self, connection: "Connection", deadline: Deadline, metrics: dict[str, float]) -> None:
        self._connection = connection
        self._deadline = deadline
        self._metrics = metrics

    def _ask(self, *words: str) -> Any:
        self._connection.send_command(*words, check_health=False)  # type: ignore[no-untyped-call]
        return self._connection.read_response(timeout=self._deadline.remaining_s())

    def ping(self) -> None:
        """PING, timed as `ping_s`. Raises RedisError, or Failure(protocol_error) for any answer but PONG."""
        started = time.monotonic()
        answer = self._ask("PING")
        self._metrics["ping_s"] = time.monotonic() - started
        if answer not in ("PONG", b"PONG"):
            raise Failure(Reason.PROTOCOL_ERROR, f"PING was answered with {safe(repr(answer), None)}")

    def info(self) -> Mapping[str, Any]:
        """INFO as names and values, timed as `query_s`."""
        from redis._parsers.helpers import parse_info

        started = time.monotonic()
        answer = self._ask("INFO")
        self._metrics["query_s"] = time.monotonic() - started
        parsed: Mapping[str, Any] = parse_info(answer)  # type: ignore[no-untyped-call]
        return parsed

    def cluster_info(self) -> Mapping[str, str]:
        """CLUSTER INFO as names and values."""
        answer = self._ask("CLUSTER", "INFO")
        text = answer.decode(errors="replace") if isinstance(answer, bytes) else str(answer)
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def log_in(sock: socket.socket, where: Address, deadline: Deadline, metrics: dict[str, float]) -> Link:
    """Logs in over an open socket, timed as `auth_s` where there is a password. Raises RedisError."""
    from redis.backoff import NoBackoff
    from redis.connection import Connection
    from redis.retry import Retry

    class OwnSocket(Connection):
        """redis-py over the connection that was dialled and timed by us."""

        def _connect(self) -> socket.socket:
            return sock

    sock.settimeout(deadline.remaining_s())
    connection = OwnSocket(  # type: ignore[no-untyped-call]
        host=where.host,
        port=where.port,
        db=int(where.path or 0),
        username=where.username,
        password=where.password,
        protocol=2,
        driver_info=None,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=deadline.remaining_s(),
        health_check_interval=0,
    )
    started = time.monotonic()
    connection.connect()  # type: ignore[no-untyped-call]
    if where.password:
        metrics["auth_s"] = time.monotonic() - started
    return Link(connection, deadline, metrics)


def failure_of(
    error: Exception, place: str, password: str | None, phases: Phases, metrics: Mapping[str, float]
) -> Failure:
    """The Failure that an error of redis-py stands for."""
    from redis import exceptions

    text = str(error)
    reason = _WORDS.get(text.split(" ", 1)[0])
    if reason is None:
        match error:
            case exceptions.AuthenticationError() | exceptions.NoPermissionError():
                reason = Reason.AUTH_FAILED
            case exceptions.BusyLoadingError() | exceptions.MasterDownError():
                reason = Reason.LOADING
            case exceptions.ReadOnlyError():
                reason = Reason.READ_ONLY
            case exceptions.InvalidResponse() | ValueError():
                reason = Reason.PROTOCOL_ERROR
            case exceptions.TimeoutError():
                reason = Reason.DEADLINE
            case exceptions.ConnectionError() if "max number of clients" in text:
                reason = Reason.TOO_MANY_CONNECTIONS
            case exceptions.ConnectionError() if "closed by server" in text and not metrics:
                reason = Reason.PROTOCOL_ERROR
                text = "the peer hung up at the first command; is this a Redis server?"
            case exceptions.ConnectionError():
                reason = Reason.TCP_RESET
            case exceptions.ResponseError():
                reason = Reason.QUERY_ERROR
            case OSError():
                return tcp_failure(error, place, phases)
            case _:
                reason = Reason.QUERY_ERROR
    return Failure(reason, f"{place}: {safe(text, password)}", phases=phases, metrics=metrics)
