"""A connection of our own and libcurl's: the same request, and the same reading of whatever a server answers."""

import gzip
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest

from probes.engine import Engine
from probes.kinds.http import Expects, HttpProbe, Options
from probes.loop import Loop
from probes.probe import Ask, Deadline, Reading
from probes.result import Reason
from probes.target import Check, Tier

Asking = Callable[..., Reading]
OK = b"HTTP/1.1 200 OK\r\n"
ANSWERS: dict[str, bytes] = {
    "plain": OK + b"Content-Length: 4\r\n\r\nfine",
    "empty": OK + b"Content-Length: 0\r\n\r\n",
    "until close": OK + b"\r\nfine",
    "1.0": b"HTTP/1.0 200 OK\r\n\r\nfine",
    "chunked": OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nfi\r\n2;x=y\r\nne\r\n0\r\n\r\n",
    "trailers": OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\nX-Sum: 1\r\n\r\n",
    "gzip": OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"fine"),
    "x-gzip": OK + b"Content-Encoding: x-gzip\r\n\r\n" + gzip.compress(b"fine"),
    "cut gzip": OK + b"Content-Encoding: gzip\r\nContent-Length: 15\r\n\r\n" + gzip.compress(b"fine")[:15],
    "broken gzip": OK + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nfine",
    "more behind gzip": OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"fine") + b"more",
    "unasked deflate": OK + b"Content-Encoding: br\r\nContent-Length: 4\r\n\r\nfine",
    "unknown encoding": OK + b"Content-Encoding: rot13\r\nContent-Length: 4\r\n\r\nfine",
    "excess": OK + b"Content-Length: 4\r\n\r\nfine and more",
    "chunked and length": OK + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n",
    "early hints": b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK + b"Content-Length: 4\r\n\r\nfine",
    "no reason phrase": b"HTTP/1.1 200\r\nContent-Length: 4\r\n\r\nfine",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 4\n\nfine",
    "folded": OK + b"X-Folded: a\r\n b\r\nContent-Length: 4\r\n\r\nfine",
    "204 with length": b"HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\n",
    "304": b"HTTP/1.1 304 Not Modified\r\n\r\n",
    "404": b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone",
    "302 without location": b"HTTP/1.1 302 Found\r\nContent-Length: 4\r\n\r\nhere",
    "503 chunked": b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n",
    "nothing": b"",
    "half a head": OK + b"Content-Le",
    "half a body": OK + b"Content-Length: 9\r\n\r\nfine",
    "half a chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n9\r\nfine",
    "no last chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n",
    "bad chunk": OK + b"Transfer-Encoding: chunked\r\n\r\nnone\r\n",
    "bad length": OK + b"Content-Length: four\r\n\r\nfine",
    "no colon": OK + b"nonsense\r\n\r\nfine",
    "zero byte": OK + b"X: a\0b\r\nContent-Length: 4\r\n\r\nfine",
    "another protocol": b"220 mail.example.org ESMTP\r\n",
    "http 2": b"HTTP/2.0 200 OK\r\n\r\n",
    "too large a head": OK + b"X: " + b"y" * 70_000 + b"\r\n\r\n",
    "too many fields": OK + b"X: y\r\n" * 101 + b"Content-Length: 0\r\n\r\n",
    "too big": OK + b"Content-Length: 2000000\r\n\r\n" + bytes(2_000_000),
    "too big until close": OK + b"\r\n" + bytes(2_000_000),
}


@pytest.fixture
def ask_through(ask: Asking, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Reading, Reading]]:
    """The readings of both."""

    def ask_both(url: str, **options: Any) -> tuple[Reading, Reading]:
        own = ask(url, **options)
        with monkeypatch.context() as patched:
            patched.setattr("probes.route.wire_of", lambda *_: None)
            return own, ask(url, **options)

    return ask_both


def told(reading: Reading) -> tuple[object, ...]:
    """What must not differ."""
    size = reading.reason is not Reason.BODY_TOO_BIG and reading.metrics.get("size_bytes")
    return reading.status, reading.reason, reading.code, size, reading.facts


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_same_is_read(  # noqa: PLR0917
    name: str, method: str, servers: Any, read_head: Any, ask_through: Any, ask: Asking
) -> None:
    def handle(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(ANSWERS[name])

    own, curls = ask_through(f"http://127.0.0.1:{servers.start(handle)}/", method=method)
    assert told(own) == told(curls), (own.message, curls.message)
    if method == "GET" and own.code == 200 and own.reason is None:
        assert own.metrics["size_bytes"] == (0 if name in {"empty", "http 2"} else 4)


def test_a_reset_after_half_an_answer_is_told_alike(servers: Any, read_head: Any, ask_through: Any) -> None:
    def handle(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(OK + b"Content-Length: 9\r\n\r\nfi")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    own, curls = ask_through(f"http://127.0.0.1:{servers.start(handle)}/")
    assert (own.status, own.code) == (curls.status, curls.code)
    assert {own.reason, curls.reason} <= {curls.reason}


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("/", {}),
        ("/a/b?c=d&e=%20f", {"method": "HEAD"}),
        ("/x y/ü?q=<1>|{2}#part", {"method": "DELETE"}),
        ("?only=query", {"headers": {"X-One": "1", "X-Empty": "", "accept": "text/html"}}),
        ("/a/../b/./c", {}),
        ("/", {"headers": {"Host": "shop.example.org", "User-Agent": "me"}}),
        ("/", {"headers": {"Accept-Encoding": "identity", "Connection": "close"}}),
        ("/", {"http_version": "1.1", "headers": {"Cookie": "a=b; c=d"}}),
        ("/", {"auth": {"scheme": "bearer", "token": "t0ken"}}),
    ],
)
def test_the_same_is_sent(path: str, options: dict[str, Any], servers: Any, read_head: Any, ask_through: Any) -> None:
    requests: list[list[bytes]] = []

    def handle(connection: socket.socket) -> None:
        head, *fields = read_head(connection).split(b"\r\n")
        requests.append([head, *sorted(fields)])
        connection.sendall(ANSWERS["plain"])

    ask_through(f"http://127.0.0.1:{servers.start(handle)}{path}", **options)
    own, curls = requests
    assert own == curls


def test_our_own_lag_is_no_latency_of_the_target(servers: Any, read_head: Any, engine: Engine, loop: Loop) -> None:
    """We look 0.3 s after an answer came: it was there after 0.1 s."""

    def handle(connection: socket.socket) -> None:
        read_head(connection)
        time.sleep(0.1)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine")

    probe = HttpProbe(Options(url=f"http://127.0.0.1:{servers.start(handle)}/"), Expects())
    check = Check("s/t/http", "s", "t", "http", Tier.WEB, probe, 10, 2, 5, 3, 2)
    heard: list[Reading] = []
    engine.start(check, Ask(Deadline(2), 0, 10), heard.append)
    for _ in range(3):
        loop.turn(0.01)  # connected, and the request is sent
    time.sleep(0.4)
    loop.turn(0.1)
    assert heard[0].phases.ttfb_s == pytest.approx(0.1, abs=0.05)
    assert heard[0].duration_s == pytest.approx(0.1, abs=0.05)


def test_a_kernel_without_stamps_leaves_the_time_to_our_clock(
    servers: Any, answering: Any, ask: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("probes.arrival._SO_TIMESTAMPNS", 9999)  # no such option: setsockopt fails
    reading = ask(f"http://127.0.0.1:{servers.start(answering())}/")
    assert (reading.code, reading.reason) == (200, None)
    assert reading.phases.ttfb_s is not None
    assert reading.phases.ttfb_s >= 0
