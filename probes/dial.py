"""How is a TCP connection opened, timed step by step, and given up at the deadline whatever the peer does?"""

import errno
import os
import selectors
import socket
import threading
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from probes.descriptors import is_shortage
from probes.guard import check_addresses
from probes.lookup import timed_resolve
from probes.probe import Deadline, Failure
from probes.redact import clean
from probes.result import NO_PHASES, Phases, Reason

STAGGER_S = 0.25
"""Head start of one address before the next is tried beside it (RFC 8305, "Connection Attempt Delay")."""

GREETING_S = 0.25
ROUNDING_S = 0.01

_REASONS = {
    errno.ECONNREFUSED: (Reason.TCP_REFUSED, "connection refused"),
    errno.ECONNRESET: (Reason.TCP_RESET, "connection reset by the peer"),
    errno.EPIPE: (Reason.TCP_RESET, "connection closed by the peer"),
    errno.ECONNABORTED: (Reason.TCP_RESET, "connection aborted"),
    errno.ETIMEDOUT: (Reason.TCP_TIMEOUT, "connection timed out"),
    errno.ENETUNREACH: (Reason.NET_UNREACHABLE, "network unreachable"),
    errno.EHOSTUNREACH: (Reason.NET_UNREACHABLE, "no route to host"),
    errno.EADDRNOTAVAIL: (Reason.NET_UNREACHABLE, "no usable local address"),
    errno.ENETDOWN: (Reason.NET_UNREACHABLE, "network down"),
    errno.ENOENT: (Reason.TCP_REFUSED, "no such socket"),
    errno.EACCES: (Reason.NET_UNREACHABLE, "permission denied"),
    errno.EPERM: (Reason.NET_UNREACHABLE, "not permitted by this machine's packet filter"),
}


@dataclass(frozen=True, slots=True)
class Line:
    """An open connection: its socket, the address that answered, and how long lookup and connect took."""

    sock: socket.socket
    address: str
    phases: Phases


def dial(host: str, port: int, deadline: Deadline, allowed: Collection[str] = ()) -> Line:
    """Opens a fresh TCP connection, trying a host's addresses side by side (RFC 8305).

    Raises Failure with a dns_*, tcp_* or net_unreachable reason, phases filled as far as it came; with ssrf_blocked
    for a metadata or link-local address that is not among those `allowed`.
    """
    addresses, dns_s = timed_resolve(host, deadline)
    check_addresses(host, addresses, allowed)
    phases = Phases(dns_s=dns_s)
    started = time.monotonic()
    sock = _race(addresses, port, deadline, place(host, port), phases)
    connect_s = time.monotonic() - started
    phases = Phases(dns_s=dns_s, connect_s=connect_s)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Line(sock, sock.getpeername()[0], phases)
    except OSError as error:  # a peer may accept and reset before we get to look
        sock.close()
        raise tcp_failure(OSError(errno.ECONNRESET, "reset"), place(host, port), phases) from error


def place(host: str, port: int) -> str:
    """`host:port` for people, IPv6 addresses in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def tcp_failure(error: OSError, where: str, phases: Phases = NO_PHASES) -> Failure:
    """The Failure that an error of the operating system on a connection stands for."""
    if is_shortage(error):
        return Failure(Reason.INTERNAL, f"{where}: {os.strerror(error.errno or 0)} on this machine", phases=phases)
    if isinstance(error, TimeoutError):
        return Failure(Reason.TCP_TIMEOUT, f"{where}: connection timed out", phases=phases)
    known = _REASONS.get(error.errno or 0, (Reason.NET_UNREACHABLE, error.strerror or type(error).__name__))
    return Failure(known[0], f"{where}: {known[1]}", phases=phases)


def after_reset(failure: Failure, host: str, port: int, deadline: Deadline) -> Failure:
    """The failure, or a better one: a reset at our first words may come from a peer that was speaking itself.

    Servers of other protocols (MySQL, SSH, SMTP) greet first and reset whoever talks into it; the reset takes their
    greeting away unread. So a second connection listens for one, saying nothing.
    """
    if failure.reason is not Reason.TCP_RESET:
        return failure
    try:
        line = dial(host, port, deadline)
        with line.sock:
            line.sock.settimeout(min(GREETING_S, deadline.remaining_s()))
            greeting = line.sock.recv(64)
    except (OSError, Failure):
        return failure
    if not greeting:
        return failure
    text = f"{place(host, port)}: the peer speaks another protocol and greets with “{shown(greeting)}”"
    return Failure(Reason.PROTOCOL_ERROR, text, phases=failure.phases, metrics=failure.metrics)


def shown(data: bytes, limit: int = 120) -> str:
    """Bytes from a peer, made fit for a message; the mark of a cut tells where a secret may have lost its end."""
    return clean(data[: limit * 16 + 1].decode(errors="replace"), limit)


def _race(addresses: Sequence[str], port: int, deadline: Deadline, where: str, phases: Phases) -> socket.socket:
    end = time.monotonic() + deadline.remaining_s()
    waiting = list(addresses)
    failure: Failure | None = None
    next_start = 0.0
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or selector.get_map():
                now = time.monotonic()
                if now >= end:
                    raise Failure(Reason.TCP_TIMEOUT, f"{where}: connection timed out", phases=phases)
                if waiting and (now >= next_start or not selector.get_map()):
                    failure = _start(waiting.pop(0), port, selector, where, phases) or failure
                    next_start = time.monotonic() + STAGGER_S
                    continue
                wait_until = min(end, next_start) if waiting else end
                for key, _ in selector.select(max(0.0, wait_until - now)):
                    sock = key.fileobj
                    assert isinstance(sock, socket.socket)  # noqa: S101 — only sockets are registered
                    selector.unregister(sock)
                    if not (code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
                        sock.settimeout(max(ROUNDING_S, end - time.monotonic()))
                        return sock
                    sock.close()
                    failure = tcp_failure(OSError(code, os.strerror(code)), where, phases)
        finally:
            for key in list(selector.get_map().values()):
                key.fileobj.close()  # type: ignore[union-attr]
    raise failure or Failure(Reason.DNS_NXDOMAIN, f"{where}: the name has no address", phases=phases)


def _start(address: str, port: int, selector: selectors.BaseSelector, where: str, phases: Phases) -> Failure | None:
    try:
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    except OSError as error:
        return tcp_failure(error, where, phases)
    sock.setblocking(False)
    code = sock.connect_ex((address, port))
    if code in (0, errno.EINPROGRESS):
        selector.register(sock, selectors.EVENT_WRITE)
        return None
    sock.close()
    return tcp_failure(OSError(code, os.strerror(code)), where, phases)


class CutOff:
    """Ends whatever is happening on a connection at the deadline, also for a peer that drips a byte now and then.

    Drivers' own timeouts hold for one read each, so a slow peer can stretch them without end. This shuts the
    connection down from a timer; the driver then sees its end, and the error it raises leaves here as
    Failure(deadline).
    """

    def __init__(self, deadline: Deadline, fileno: int, doing: str = "") -> None:
        self._watched = socket.socket(fileno=os.dup(fileno))
        self._lock = threading.Lock()
        self._over = False
        self._fired = False
        self._deadline = deadline
        self._message = f"no answer within {deadline.timeout_s:g} s" + (f" while {doing}" if doing else "")
        try:
            self._timer = threading.Timer(deadline.remaining_s(), self._cut)
        except Failure:
            self._watched.close()
            raise
        self._timer.daemon = True

    def _cut(self) -> None:
        with self._lock:
            if not self._over:
                self._fired = True
                with suppress(OSError):
                    self._watched.shutdown(socket.SHUT_RDWR)

    def _is_over(self) -> bool:
        """A driver's own timeout was set to what was left, and may be a moment ahead of the timer."""
        try:
            return self._deadline.remaining_s() < ROUNDING_S
        except Failure:
            return True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            self._over = True
            self._watched.close()
        if isinstance(error, Exception) and (self._fired or self._is_over()):
            phases = error.phases if isinstance(error, Failure) else NO_PHASES
            metrics = error.metrics if isinstance(error, Failure) else {}
            raise Failure(Reason.DEADLINE, self._message, phases=phases, metrics=metrics) from error
