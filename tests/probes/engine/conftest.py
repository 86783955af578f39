"""Servers that misbehave on real sockets, a name server, and ways to ask through the real engine."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
import trustme

from probes.engine import Engine
from probes.kinds.http import Expects, HttpProbe, Options
from probes.loop import Loop
from probes.name_service import NameService
from probes.probe import Ask, Deadline, Probe, Reading
from probes.resolver import Resolver
from probes.target import Check, Tier

Handler = Callable[[socket.socket], None]


def make_check(probe: Probe, timeout_s: float = 2.0, **fields: Any) -> Check:
    given: dict[str, Any] = {
        "id": "shop/web/http",
        "site": "shop",
        "target": "web",
        "name": "http",
        "tier": Tier.WEB,
        "probe": probe,
        "interval_s": 10.0,
        "timeout_s": timeout_s,
        "retry_interval_s": 5.0,
        "fail_after": 3,
        "recover_after": 2,
    }
    return Check(**(given | fields))


class Servers:
    """Listening sockets, each with a thread per connection; all gone at the end of the test."""

    def __init__(self) -> None:
        self._listeners: list[socket.socket] = []
        self._connections: list[socket.socket] = []
        self.accepted = 0

    def start(self, handle: Handler, context: ssl.SSLContext | None = None) -> int:
        listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self._listeners.append(listener)
        threading.Thread(target=self._accept, args=(listener, handle, context), daemon=True).start()
        return int(listener.getsockname()[1])

    def _accept(self, listener: socket.socket, handle: Handler, context: ssl.SSLContext | None) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection, handle, context), daemon=True).start()

    def _serve(self, connection: socket.socket, handle: Handler, context: ssl.SSLContext | None) -> None:
        try:
            if context is not None:
                connection = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                self._connections.append(connection)
                connection.do_handshake()
            handle(connection)
        except OSError:
            time.sleep(0.1)  # closing at once with something unread would reset, and could overtake our alert
        connection.close()

    def close(self) -> None:
        for one in (*self._listeners, *self._connections):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@pytest.fixture
def servers() -> Iterator[Servers]:
    made = Servers()
    yield made
    made.close()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


@pytest.fixture
def engine(loop: Loop) -> Iterator[Engine]:
    made = Engine(loop)
    yield made
    made.close()


@pytest.fixture
def ask_probe(engine: Engine) -> Callable[..., Reading]:
    def ask(probe: Probe, timeout_s: float = 2.0, last: Reading | None = None) -> Reading:
        readings: list[Reading] = []
        question = Ask(Deadline(timeout_s), time.time_ns() // 1_000_000, 10.0, last)
        engine.start(make_check(probe, timeout_s), question, readings.append)
        give_up = time.monotonic() + timeout_s + 3
        while not readings and time.monotonic() < give_up:
            engine.loop.turn(0.1)
        assert len(readings) == 1, "the engine never answered"
        assert engine.in_flight == 0
        return readings[0]

    return ask


@pytest.fixture
def ask(ask_probe: Callable[..., Reading]) -> Callable[..., Reading]:
    """Ask a URL with the http kind; `expect` is given as a user would write it."""

    def ask_url(url: str, timeout_s: float = 2.0, expect: dict[str, Any] | None = None, **options: Any) -> Reading:
        probe = HttpProbe(Options(url=url, **options), Expects.model_validate(expect or {}))
        return ask_probe(probe, timeout_s)

    return ask_url


def read_request(connection: socket.socket) -> bytes:
    request = b""
    while b"\r\n\r\n" not in request:
        piece = connection.recv(65536)
        if not piece:
            break
        request += piece
    return request


def answer(body: bytes = b"fine", status: str = "200 OK", headers: str = "") -> Handler:
    def handle(connection: socket.socket) -> None:
        read_request(connection)
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        connection.sendall(head.encode() + body)

    return handle


@pytest.fixture
def answering() -> Callable[..., Handler]:
    return answer


@pytest.fixture
def read_head() -> Callable[[socket.socket], bytes]:
    return read_request


class Names:
    """A name server: `zone` maps a name to its addresses, or to a function of how often it was asked before.

    "servfail" and "silence" stand for themselves; a name that is not there does not exist.
    """

    def __init__(self) -> None:
        self.zone: dict[str, Any] = {}
        self.asked: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.service = NameService((self._socket.getsockname(),))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                wire, peer = self._socket.recvfrom(4096)
                answer = self._answer(dns.message.from_wire(wire))
                if answer is not None:
                    self._socket.sendto(answer.to_wire(), peer)

    def _answer(self, query: dns.message.Message) -> dns.message.Message | None:
        question = query.question[0]
        name = question.name.to_text().rstrip(".")
        found = self.zone.get(name)
        if callable(found):
            found = found(self.asked.count(f"{name} {question.rdtype.name}"))
        self.asked.append(f"{name} {question.rdtype.name}")
        answer = dns.message.make_response(query)
        if found is None:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        elif found == "servfail":
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif found == "silence":
            return None
        else:
            wanted = [a for a in found if (":" in a) == (question.rdtype is dns.rdatatype.AAAA)]
            if wanted:
                answer.answer.append(dns.rrset.from_text(question.name, 0, "IN", question.rdtype, *wanted))
        return answer

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def names() -> Iterator[Names]:
    made = Names()
    yield made
    made.close()


class Asker:
    """Asks URLs through an engine whose names come from the test's name server; `also` runs beside."""

    def __init__(self, loop: Loop, names: Names) -> None:
        self.engine = Engine(loop, Resolver(loop, lambda: names.service))

    def begin(self, url: str, into: list[Reading], timeout_s: float = 2.0, **options: Any) -> None:
        expect = Expects.model_validate(options.pop("expect", {}))
        probe = HttpProbe(Options(url=url, **options), expect)
        check = Check("shop/web/http", "shop", "web", "http", Tier.WEB, probe, 10, timeout_s, 5, 3, 2)
        self.engine.start(check, Ask(Deadline(timeout_s), 0, 10), into.append)

    def wait(self, readings: list[Reading], count: int = 1, within_s: float = 6) -> list[Reading]:
        until = time.monotonic() + within_s
        while len(readings) < count:
            assert time.monotonic() < until, "the engine never answered"
            self.engine.loop.turn(0.05)
        return readings

    def __call__(self, url: str, timeout_s: float = 2.0, **options: Any) -> Reading:
        readings: list[Reading] = []
        self.begin(url, readings, timeout_s, **options)
        return self.wait(readings)[0]


@pytest.fixture
def asking(loop: Loop, names: Names) -> Iterator[Asker]:
    made = Asker(loop, names)
    yield made
    made.engine.close()
