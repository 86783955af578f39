"""Handles are used again with their options: nothing of one check reaches another."""

import socket
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from probes.engine import Engine
from probes.kinds.http import Expects, HttpProbe, Options
from probes.loop import Loop
from probes.probe import Ask, Deadline, Reading, Request
from probes.result import Reason, Status
from probes.target import Check, Tier

pytestmark = pytest.mark.usefixtures("only_libcurl")

Asking = Callable[..., Reading]
DIFFERENT: dict[str, dict[str, Any]] = {
    "plain": {},
    "headers": {"headers": {"X-Secret": "of-headers", "Accept-Encoding": "identity"}},
    "head": {"method": "HEAD"},
    "delete": {"method": "DELETE"},
    "body": {"method": "POST", "body": "of-body", "headers": {"Content-Type": "text/x"}},
    "basic": {"auth": {"scheme": "basic", "username": "of-basic", "password": "of-basic"}},
    "bearer": {"auth": {"scheme": "bearer", "token": "of-bearer"}},
    "http1": {"http_version": "1.1"},
}


class Recorder:
    """A server that keeps what it was sent."""

    def __init__(self, servers: Any, read_head: Callable[[socket.socket], bytes]) -> None:
        self.requests: list[bytes] = []
        self._read_head = read_head
        self.port = servers.start(self._handle)

    def _handle(self, connection: socket.socket) -> None:
        self.requests.append(self._read_head(connection))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-Of: server\r\n\r\nfine")


@pytest.fixture
def recorder(servers: Any, read_head: Any) -> Recorder:
    return Recorder(servers, read_head)


def test_what_is_sent_does_not_depend_on_who_asked_before(recorder: Recorder, ask: Asking) -> None:
    alone: dict[str, bytes] = {}
    for first in DIFFERENT:
        for second in DIFFERENT:
            for name in (first, second, second):
                ask(f"http://127.0.0.1:{recorder.port}/", **DIFFERENT[name])
                assert recorder.requests[-1] == alone.setdefault(name, recorder.requests[-1]), (first, second)
    for name, request in alone.items():
        mine = b"of-" + name.encode()
        assert all(mine in found or b"of-" not in found for found in [request]), name


def test_same_handle_serves_the_same_shape_and_takes_another_url(
    recorder: Recorder, ask: Asking, engine: Engine
) -> None:
    for path in ("a", "b", "a"):
        assert ask(f"http://127.0.0.1:{recorder.port}/{path}", expect={"body": "fine"}).status is Status.UP
    assert [request.split()[1] for request in recorder.requests] == [b"/a", b"/b", b"/a"]
    handle = next(iter(engine._handles._spare.values()))[0]
    assert handle.shape is not None
    assert not handle.pieces
    assert not handle.lines


def test_body_limit_of_one_check_is_not_that_of_the_next(recorder: Recorder, ask: Asking) -> None:
    url = f"http://127.0.0.1:{recorder.port}/"
    assert ask(url, max_body=2).reason is Reason.BODY_TOO_BIG
    assert ask(url).status is Status.UP
    assert ask(url, max_body=2).reason is Reason.BODY_TOO_BIG
    assert ask(url, max_body=4).status is Status.UP


def test_each_check_has_its_own_timeout(servers: Any, recorder: Recorder, ask: Asking) -> None:
    hanging = servers.start(lambda connection: time.sleep(3))
    assert ask(f"http://127.0.0.1:{recorder.port}/", timeout_s=5.0).status is Status.UP
    for timeout_s in (0.2, 0.5, 0.2):
        reading = ask(f"http://127.0.0.1:{hanging}/", timeout_s=timeout_s)
        assert reading.status is Status.DOWN
        assert reading.duration_s == pytest.approx(timeout_s, abs=0.1)


def test_handle_of_a_failed_transfer_keeps_nothing(servers: Any, ask: Asking, engine: Engine) -> None:
    port = servers.start(lambda connection: connection.recv(1000) and connection.sendall(b"nonsense\r\n\r\n"))
    assert ask(f"http://127.0.0.1:{port}/").status is Status.DOWN
    assert list(engine._handles._spare) == [None]


def test_credentials_never_leave_a_handle_with_a_shape(recorder: Recorder, ask: Asking, engine: Engine) -> None:
    for name in ("basic", "bearer", "body"):
        ask(f"http://127.0.0.1:{recorder.port}/", **DIFFERENT[name])
        assert list(engine._handles._spare) == [None], name
    ask(f"http://of:url@127.0.0.1:{recorder.port}/")
    assert list(engine._handles._spare) == [None]


def test_a_copy_of_a_request_has_no_shape() -> None:
    request = Request("http://a.example/").shaped()
    assert request.shape is not None
    assert request.shape is Request("http://b.example/").shaped().shape
    assert request.shape is not Request("http://a.example/", verify=False).shaped().shape
    assert replace(request, method="HEAD").shape is None


def test_unused_connection_does_not_keep_the_loop_busy(loop: Loop) -> None:
    one, other = socket.socketpair()
    loop.watch(one.fileno(), 1, lambda fd, events: None)
    loop.forget(one.fileno())
    other.send(b"x")
    loop.turn(0.1)
    began = time.monotonic()
    loop.turn(0.1)
    assert time.monotonic() - began > 0.09
    one.close()
    other.close()


def test_transfer_begun_between_turns_is_not_kept_waiting(recorder: Recorder, engine: Engine, loop: Loop) -> None:
    probe = HttpProbe(Options(url=f"http://127.0.0.1:{recorder.port}/"), Expects())
    check = Check("s/t/http", "s", "t", "http", Tier.WEB, probe, 10, 2, 5, 3, 2)
    heard: list[Reading] = []
    began = time.monotonic()
    engine.start(check, Ask(Deadline(2), 0, 10), heard.append)
    while not heard:
        loop.turn(1.0)
    assert time.monotonic() - began < 0.5
