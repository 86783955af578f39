"""A plain run over a connection of our own: what libcurl would do for it, in a third of the instructions."""

import errno
import socket
from typing import TYPE_CHECKING

import pycurl

from probes.answer import Answer, Foreign, plain_answer
from probes.arrival import NOTES_BYTES, arrival_s, stamp
from probes.header import HeaderLines
from probes.loop import EDGES, READABLE, WRITABLE
from probes.plain_run import OnReading, PlainRun
from probes.probe import Ask, Certificate, ConversationProbe, Response
from probes.redirect import REDIRECTS
from probes.result import Phases
from probes.route import Route
from probes.target import Check
from probes.wire import Wire
from probes.wire_transfer import WireTransfer

if TYPE_CHECKING:
    from probes.engine import Engine

_STREAM = socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
_NEWS = READABLE | WRITABLE | EDGES
PIECE_BYTES = 64 * 1024
_UNDER_WAY = (0, errno.EINPROGRESS)


class BrokenExchange(Exception):
    """libcurl's number and words for what ended the exchange."""


class NotOurs(Exception):
    """libcurl has to ask: this time, or `for_good`."""

    def __init__(self, for_good: bool = True) -> None:
        super().__init__()
        self.for_good = for_good


class WireRun(PlainRun):
    """One connection, one request, one answer."""

    __slots__ = ("_answer", "_connected_s", "_first_s", "_read_s", "_socket", "_unsent", "_wire")

    def __init__(  # noqa: PLR0917
        self, engine: "Engine", check: Check, probe: ConversationProbe, route: Route, ask: Ask, on_done: OnReading
    ) -> None:
        super().__init__(engine, check, probe, route, ask, on_done)
        self._socket: socket.socket | None = None
        self._connected_s = self._first_s = self._read_s = 0.0
        self._answer: Answer | None = None
        self._wire: Wire | None = route.wire

    def begin(self) -> bool:
        """Connect; False where that fails at once or is not ours to do: libcurl then says what is wrong."""
        wire = self._wire
        if wire is None or self.started >= self._end_s:
            return False
        try:
            connection = socket.socket(wire.family, _STREAM)
        except OSError:
            return False
        if connection.connect_ex(wire.address) not in _UNDER_WAY:
            connection.close()
            return False
        stamp(connection)
        engine, self._socket = self._engine, connection
        self._unsent = b"".join((wire.method, self.route.url.rest.encode(), wire.rest))
        self._bucket = engine.expiries.add(self._end_s, self)
        engine.loop.watch(connection.fileno(), _NEWS, self._on_ready)
        return True

    def expire(self) -> None:
        """The deadline has passed."""
        self._hand_over(pycurl.E_OPERATION_TIMEDOUT, "deadline")

    def _on_ready(self, _fd: int, events: int) -> None:
        connection = self._socket
        if connection is None:
            return
        try:
            data = self._talk(connection, events)
        except OSError as error:
            code = pycurl.E_RECV_ERROR if self._connected_s else pycurl.E_COULDNT_CONNECT
            self._hand_over(code, error.strerror or "", error.errno or 0)
            return
        except BrokenExchange as broken:
            self._hand_over(*broken.args)
            return
        except NotOurs as why:
            self._ask_through_libcurl(why.for_good)
            return
        if data is None:
            return
        now_s = self._read_s
        if data and not self._first_s:
            self._first_s = now_s
        if self._answer is None and data and not (self._wire is not None and self._wire.is_head):
            plain = plain_answer(data, self._most_bytes())
            if plain is not None and plain[0] not in REDIRECTS:
                self._succeed(now_s, plain[0], plain[1], plain[2], "1.1")
                return
        self._read(data, now_s)

    def _talk(self, connection: socket.socket, events: int) -> bytes | None:
        """Go on as far as it goes; what was received, empty at its end, None where there is nothing yet.

        Raises OSError, BrokenExchange and NotOurs.
        """
        try:
            if self._unsent:
                self._send(connection)
                if not events & READABLE:
                    return None
            if self._first_s:
                data = connection.recv(PIECE_BYTES)
                self._read_s = self._engine.loop.time()
                return data
            data, notes, _, _ = connection.recvmsg(PIECE_BYTES, NOTES_BYTES)
        except BlockingIOError:
            return None
        self._read_s = max(self._connected_s, arrival_s(notes, self._engine.loop.time()))
        return data

    def _send(self, connection: socket.socket) -> None:
        """Raises OSError, among others why there is no connection."""
        now_s = self._engine.loop.time()
        count = connection.send(self._unsent)
        if not self._connected_s:
            self._connected_s = now_s
        self._unsent = self._unsent[count:]

    def _read(self, data: bytes, now_s: float) -> None:
        """Not all of it came at once, or it is not the plainest of answers."""
        answer, connection = self._answer, self._socket
        if connection is None:
            return
        if answer is None:
            self._answer = answer = Answer(self._wire is not None and self._wire.is_head, self._most_bytes())
            if data:  # from here on one piece a turn, whatever lies ready: others have their turns too
                self._engine.loop.watch(connection.fileno(), READABLE, self._on_ready)
        try:
            if data:
                answer.feed(data)
            else:
                answer.feed_end()
        except Foreign:
            self._ask_through_libcurl(for_good=True)
            return
        if answer.trouble is not None:
            self._hand_over(*answer.trouble)
        elif answer.is_whole and answer.code not in REDIRECTS:
            self._succeed(now_s, answer.code, answer.lines[0], answer.body, answer.version)
        elif answer.is_whole or not data:
            self._hand_over(pycurl.E_OK, "")

    def _succeed(self, now_s: float, code: int, head: bytes, body: bytes, version: str) -> None:
        self._let_go()
        route = self.route
        phases, duration_s = self.phases(now_s)
        if route.pinned is not None:
            phases = Phases(0.0, phases.connect_s, phases.tls_s, phases.ttfb_s, phases.transfer_s)
        self._conclude(
            Response(
                route.url.text,
                code,
                HeaderLines((head,)),
                body,
                phases,
                duration_s,
                route.addresses[0],
                version,
                (),
                self._certificate(),
            )
        )

    def _certificate(self) -> Certificate | None:
        """What the server shows; None without TLS."""
        return None

    def phases(self, now_s: float) -> tuple[Phases, float]:
        """The steps so far but the lookup, which had an answer at hand, and their total, in seconds."""
        connected_s, first_s = self._connected_s, self._first_s
        return (
            Phases(
                None,
                connected_s - self.started if connected_s else None,
                None,
                first_s - connected_s if first_s else None,
                now_s - first_s if first_s else None,
            ),
            now_s - self.started,
        )

    def _hand_over(self, code: int, text: str, os_errno: int = 0) -> None:
        """It is no plain run after all: go on as a conversation whose first transfer has just ended so."""
        request = self.probe.only_request
        if self._socket is None or request is None:
            return
        self._let_go()
        self._bucket.discard(self)
        ended = WireTransfer(self, request, self._engine.loop.time(), os_errno)
        self._engine.talk_on(self, ended, code, text)

    def _ask_through_libcurl(self, for_good: bool) -> None:
        """The server has a way of its own that libcurl may know: let it ask, now, and `for_good` from now on."""
        if for_good:
            self.route.wire = None
        self._let_go()
        self._bucket.discard(self)
        self._engine.talk_anew(self)

    def _most_bytes(self) -> int:
        request = self.probe.only_request
        return request.max_body_bytes if request is not None else 0

    def _let_go(self) -> None:
        connection, self._socket = self._socket, None
        if connection is not None:
            self._engine.loop.forget(connection.fileno())
            connection.close()

    @property
    def answer(self) -> Answer | None:
        """What has been read; None where nothing has come."""
        return self._answer

    @property
    def is_connected(self) -> bool:
        """Whether the peer accepted."""
        return self._connected_s > 0

    @property
    def is_secured(self) -> bool:
        """Whether a TLS handshake was done."""
        return False
