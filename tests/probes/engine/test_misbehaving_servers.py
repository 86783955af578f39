"""Every way a server can fail us has its own reason, within the deadline."""

import os
import socket
import struct
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import pytest

from probes.probe import Reading
from probes.result import Reason, Status

Asking = Callable[..., Reading]


def url_of(port: int, path: str = "/") -> str:
    return f"http://127.0.0.1:{port}{path}"


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_healthy_server_is_up_with_phases_that_add_up(servers: Any, answering: Any, ask: Asking) -> None:
    reading = ask(url_of(servers.start(answering(b"hello"))))
    assert (reading.status, reading.code) == (Status.UP, 200)
    assert reading.metrics["size_bytes"] == 5
    phases = reading.phases
    assert phases.tls_s is None
    assert phases.connect_s is not None
    assert phases.ttfb_s is not None
    assert phases.transfer_s is not None
    assert reading.duration_s is not None
    assert phases.connect_s + phases.ttfb_s + phases.transfer_s <= reading.duration_s < 1


def test_closed_port_is_refused(ask: Asking) -> None:
    reading = ask(url_of(closed_port()))
    assert (reading.status, reading.reason) == (Status.DOWN, Reason.TCP_REFUSED)
    assert "refused" in reading.message


def test_server_that_accepts_and_hangs_is_told_at_the_deadline(servers: Any, ask: Asking) -> None:
    port = servers.start(lambda c: time.sleep(5))
    readings = [ask(url_of(port), timeout_s=0.5) for _ in range(3)]
    assert {reading.reason for reading in readings} == {Reason.DEADLINE}
    # The median: a machine that stands still for a moment is no fault of ours.
    assert median(reading.duration_s or 0 for reading in readings) == pytest.approx(0.5, abs=0.05)


def test_full_backlog_is_a_connect_timeout(ask: Asking) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        reading = ask(url_of(port), timeout_s=0.5)
        for filler in fillers:
            filler.close()
    assert reading.reason is Reason.TCP_TIMEOUT


def test_dripping_body_does_not_outlive_the_deadline(servers: Any, read_head: Any, ask: Asking) -> None:
    def drip(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(100):
            connection.sendall(b"x")
            time.sleep(0.05)

    started = time.monotonic()
    reading = ask(url_of(servers.start(drip)), timeout_s=0.6)
    assert reading.reason is Reason.DEADLINE
    assert reading.code == 200
    assert time.monotonic() - started < 0.8


def test_dripping_header_does_not_outlive_the_deadline(servers: Any, read_head: Any, ask: Asking) -> None:
    def drip(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        for _ in range(100):
            connection.sendall(b"x")
            time.sleep(0.05)

    assert ask(url_of(servers.start(drip)), timeout_s=0.6).reason is Reason.DEADLINE


def test_endless_body_is_too_big(servers: Any, read_head: Any, ask: Asking) -> None:
    def flood(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    started = time.monotonic()
    reading = ask(url_of(servers.start(flood)), max_body=100_000)
    assert reading.reason is Reason.BODY_TOO_BIG
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    "banner",
    [b"220 mail.example.org ESMTP\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", os.urandom(64) + b"\n", b"-ERR unknown\r\n"],
    ids=["smtp", "ssh", "binary", "redis"],
)
def test_another_protocol_is_http_protocol(servers: Any, ask: Asking, banner: bytes) -> None:
    reading = ask(url_of(servers.start(lambda c: c.sendall(banner))))
    assert (reading.status, reading.reason) == (Status.DOWN, Reason.HTTP_PROTOCOL)


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_reset_is_tcp_reset(servers: Any, read_head: Any, ask: Asking) -> None:
    def handle(connection: socket.socket) -> None:
        read_head(connection)
        reset(connection)

    assert ask(url_of(servers.start(handle))).reason is Reason.TCP_RESET


def test_reset_amid_the_body_is_tcp_reset(servers: Any, read_head: Any, ask: Asking) -> None:
    def handle(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc")
        time.sleep(0.05)
        reset(connection)

    assert ask(url_of(servers.start(handle))).reason is Reason.TCP_RESET


def test_closing_without_an_answer_is_http_protocol(servers: Any, read_head: Any, ask: Asking) -> None:
    reading = ask(url_of(servers.start(lambda c: read_head(c) and None)))
    assert reading.reason is Reason.HTTP_PROTOCOL
    assert "without an answer" in reading.message


def test_body_shorter_than_announced_is_a_decode_error(servers: Any, read_head: Any, ask: Asking) -> None:
    def handle(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc")

    reading = ask(url_of(servers.start(handle)))
    assert reading.reason is Reason.DECODE_ERROR
    assert "cut short" in reading.message


@pytest.mark.parametrize(
    "headers", ["X-Big: " + "x" * 100_000 + "\r\n", "X-Many: 1\r\n" * 500], ids=["one big", "many"]
)
def test_headers_are_limited(servers: Any, answering: Any, ask: Asking, headers: str) -> None:
    assert ask(url_of(servers.start(answering(headers=headers)))).reason is Reason.HTTP_HEADER_TOO_BIG


def test_wrong_status_names_both(servers: Any, answering: Any, ask: Asking) -> None:
    reading = ask(url_of(servers.start(answering(status="503 Service Unavailable"))))
    assert (reading.reason, reading.code) == (Reason.HTTP_STATUS, 503)
    assert reading.message == "status 503 Service Unavailable instead of 2xx"


def test_refused_credentials_are_auth_failed(servers: Any, answering: Any, ask: Asking) -> None:
    port = servers.start(answering(status="401 Unauthorized"))
    assert ask(url_of(port)).reason is Reason.HTTP_STATUS
    auth = {"scheme": "bearer", "token": "old"}
    assert ask(url_of(port), auth=auth).reason is Reason.AUTH_FAILED


def test_environment_proxy_is_never_used(
    servers: Any, answering: Any, ask: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    assert ask(url_of(servers.start(answering()))).status is Status.UP


def test_every_run_opens_a_connection_of_its_own(servers: Any, read_head: Any, ask: Asking) -> None:
    def keep_alive(connection: socket.socket) -> None:
        while read_head(connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok")

    port = servers.start(keep_alive)
    for _ in range(5):
        assert ask(url_of(port)).status is Status.UP
    assert servers.accepted == 5


def test_post_sends_the_body_and_nothing_invented(servers: Any, read_head: Any, ask: Asking) -> None:
    heard: list[bytes] = []

    def listen(connection: socket.socket) -> None:
        heard.append(read_head(connection))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    ask(url_of(servers.start(listen)), method="POST", body="{}", headers={"Content-Type": "application/json"})
    assert heard[0].startswith(b"POST / HTTP/1.1\r\n")
    assert b"Content-Type: application/json" in heard[0]
    assert b"Expect:" not in heard[0]
    assert heard[0].endswith(b"{}")


def speak(read_head: Any, *pieces: bytes) -> Callable[[socket.socket], None]:
    def handle(connection: socket.socket) -> None:
        read_head(connection)
        for piece in pieces:
            connection.sendall(piece)

    return handle


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("said", "reasons"),
    [
        (b"just text, as HTTP/0.9 would", {Reason.HTTP_PROTOCOL}),
        (b"HTTP/7.3 200 OK\r\n\r\n", {Reason.HTTP_PROTOCOL}),
        (b"HTTP/1.1 20 OK\r\n\r\n", {Reason.HTTP_PROTOCOL}),
        (OK + b"Content-Length: -5\r\n\r\nabc", {Reason.HTTP_PROTOCOL}),
        (OK + b"Content-Length: 3\r\nContent-Length: 5\r\n\r\nabcde", {Reason.HTTP_PROTOCOL}),
        (OK + b"no colon here\r\n\r\n", {Reason.HTTP_PROTOCOL}),
        (OK + b"X: a\x00b\r\n\r\n", {Reason.HTTP_PROTOCOL}),
        (OK + b"X-Cut: half a hea", {Reason.HTTP_PROTOCOL, Reason.DECODE_ERROR}),
        (CHUNKED + b"zz\r\nabc\r\n0\r\n\r\n", {Reason.HTTP_PROTOCOL, Reason.DECODE_ERROR}),
        (CHUNKED + b"5\r\nabc", {Reason.DECODE_ERROR}),
        (CHUNKED + b"5\r\nabcde\r\n", {Reason.DECODE_ERROR}),
    ],
    ids=["0.9", "7.3", "status", "negative", "two lengths", "colon", "nul", "cut", "chunk", "cut chunk", "no end"],
)
def test_malformed_answer_has_its_reason(
    servers: Any, read_head: Any, ask: Asking, said: bytes, reasons: set[Reason]
) -> None:
    reading = ask(url_of(servers.start(speak(read_head, said))))
    assert reading.status is Status.DOWN, reading
    assert reading.reason in reasons, reading


def test_more_body_than_announced_is_not_read(servers: Any, read_head: Any, ask: Asking) -> None:
    said = OK + b"Content-Length: 2\r\n\r\nok and something nobody asked for"
    reading = ask(url_of(servers.start(speak(read_head, said))), expect={"body": {"contains": "ok"}})
    assert (reading.status, reading.metrics["size_bytes"]) == (Status.UP, 2)


def test_half_closed_connection_is_told_at_once(servers: Any, read_head: Any, ask: Asking) -> None:
    def handle(connection: socket.socket) -> None:
        read_head(connection)
        connection.shutdown(socket.SHUT_WR)
        time.sleep(1)

    started = time.monotonic()
    assert ask(url_of(servers.start(handle))).reason is Reason.HTTP_PROTOCOL
    assert time.monotonic() - started < 0.8


@pytest.mark.parametrize(
    "endless", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"], ids=["100", "103"]
)
def test_endless_interim_answers_are_ended(servers: Any, read_head: Any, ask: Asking, endless: bytes) -> None:
    def handle(connection: socket.socket) -> None:
        read_head(connection)
        while True:
            connection.sendall(endless * 100)

    reading = ask(url_of(servers.start(handle)), timeout_s=1.0)
    assert reading.reason in (Reason.HTTP_HEADER_TOO_BIG, Reason.HTTP_PROTOCOL, Reason.DEADLINE), reading


def test_endless_headers_are_ended_before_the_deadline(servers: Any, read_head: Any, ask: Asking) -> None:
    def handle(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(OK)
        while True:
            connection.sendall(b"X-Again: and again and again\r\n" * 100)

    started = time.monotonic()
    assert ask(url_of(servers.start(handle))).reason is Reason.HTTP_HEADER_TOO_BIG
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(("fields", "reason"), [(99, None), (100, Reason.HTTP_HEADER_TOO_BIG)])
def test_hundred_fields_are_the_limit(
    servers: Any, answering: Any, ask: Asking, fields: int, reason: Reason | None
) -> None:
    assert ask(url_of(servers.start(answering(headers="X-Many: 1\r\n" * fields)))).reason is reason


@pytest.mark.parametrize(("size", "reason"), [(60_000, None), (66_000, Reason.HTTP_HEADER_TOO_BIG)])
def test_64_kib_of_headers_are_the_limit(
    servers: Any, answering: Any, ask: Asking, size: int, reason: Reason | None
) -> None:
    assert ask(url_of(servers.start(answering(headers=f"X-Big: {'x' * size}\r\n")))).reason is reason


def test_no_pattern_makes_a_check_late(servers: Any, answering: Any, ask: Asking) -> None:
    body = b"a" * 40 + b"!" + b"a" * 200_000 + b"!"
    started = time.monotonic()
    reading = ask(url_of(servers.start(answering(body))), expect={"body": {"regex": "^(a+)+$"}})
    assert reading.reason is Reason.BODY_MISMATCH
    assert time.monotonic() - started < 1


def test_trailers_after_the_body_are_no_trouble(servers: Any, read_head: Any, ask: Asking) -> None:
    said = CHUNKED + b"5\r\nhello\r\n0\r\nX-Checksum: 1\r\n\r\n"
    reading = ask(url_of(servers.start(speak(read_head, said))), expect={"body": {"contains": "hello"}})
    assert reading.status is Status.UP, reading
