"""Where an answer sends us elsewhere: each hop timed and guarded, no more than allowed, no credentials to strangers."""

import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from probes.probe import Reading
from probes.result import Reason, Status

Asking = Callable[..., Reading]


def url_of(port: int, path: str = "/") -> str:
    return f"http://127.0.0.1:{port}{path}"


def test_every_hop_is_timed_and_the_last_url_is_known(
    servers: Any, read_head: Any, answering: Any, ask: Asking
) -> None:
    def numbered(connection: socket.socket) -> None:
        head = read_head(connection)
        hop = int(head.split()[1].split(b"?")[0].strip(b"/") or b"0")
        time.sleep(0.1)
        more = f"302 Found\r\nLocation: /{hop + 1}?visit={time.monotonic_ns()}" if hop < 3 else "200 OK"
        connection.sendall(f"HTTP/1.1 {more}\r\nContent-Length: 0\r\n\r\n".encode())

    root = f"http://127.0.0.1:{servers.start(numbered)}"
    reading = ask(f"{root}/")
    assert (reading.status, reading.metrics["redirects"]) == (Status.UP, 3)
    assert 0.4 <= (reading.phases.ttfb_s or 0) <= (reading.duration_s or 0) < 1.2
    assert (reading.facts or {})["redirects"] == f"{root}/1 → {root}/2 → {root}/3"


@pytest.mark.parametrize("limit", [1, 3])
def test_limit_of_redirects_is_the_user_s(servers: Any, answering: Any, ask: Asking, limit: int) -> None:
    port = servers.start(answering(status="301 Moved", headers="Location: /\r\n"))
    assert ask(f"http://127.0.0.1:{port}/", max_redirects=limit).reason is Reason.HTTP_REDIRECT_LOOP
    assert servers.accepted == limit + 1


def test_redirect_loop_ends_after_the_limit(servers: Any, answering: Any, ask: Asking) -> None:
    port = servers.start(answering(status="302 Found", headers="Location: /again\r\n"))
    reading = ask(url_of(port))
    assert reading.reason is Reason.HTTP_REDIRECT_LOOP
    assert servers.accepted == 6


def test_redirect_is_the_answer_where_it_is_expected(servers: Any, answering: Any, ask: Asking) -> None:
    port = servers.start(answering(status="301 Moved Permanently", headers="Location: /new\r\n"))
    reading = ask(url_of(port), expect={"status": 301})
    assert (reading.status, reading.code) == (Status.UP, 301)


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://[fe80::1]/",
        "http://2852039166/",
        "http://[::ffff:a9fe:a9fe]/",
    ],
)
def test_redirect_to_metadata_is_blocked(servers: Any, answering: Any, ask: Asking, target: str) -> None:
    port = servers.start(answering(status="302 Found", headers=f"Location: {target}\r\n"))
    assert ask(url_of(port)).reason is Reason.SSRF_BLOCKED


def test_redirect_to_a_file_is_blocked(servers: Any, answering: Any, ask: Asking) -> None:
    port = servers.start(answering(status="302 Found", headers="Location: file:///etc/passwd\r\n"))
    assert ask(url_of(port)).reason is Reason.SSRF_BLOCKED


def test_bearer_token_is_sent_and_goes_to_no_other_host(servers: Any, read_head: Any, ask: Asking) -> None:
    heard: list[bytes] = []

    def note(answer: bytes) -> Callable[[socket.socket], None]:
        def handle(connection: socket.socket) -> None:
            heard.append(read_head(connection))
            connection.sendall(answer)

        return handle

    there = servers.start(note(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
    away = f"HTTP/1.1 307 Away\r\nContent-Length: 0\r\nLocation: http://127.0.0.1:{there}/\r\n\r\n".encode()
    ask(f"http://127.0.0.1:{servers.start(note(away))}/", auth={"scheme": "bearer", "token": "t0ken"})
    assert b"Authorization: Bearer t0ken\r\n" in heard[0]
    assert b"t0ken" not in heard[1]


def test_credentials_do_not_follow_a_redirect_to_another_host(servers: Any, read_head: Any, ask: Asking) -> None:
    heard: list[bytes] = []

    def listen(connection: socket.socket) -> None:
        heard.append(read_head(connection))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    other = servers.start(listen)

    def send_away(connection: socket.socket) -> None:
        heard.append(read_head(connection))
        head = f"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://localhost:{other}/\r\n\r\n"
        connection.sendall(head.encode())

    auth = {"scheme": "basic", "username": "ann", "password": "secret"}
    reading = ask(url_of(servers.start(send_away)), auth=auth, headers={"Cookie": "a=b", "X-Fine": "1"})
    assert reading.metrics["redirects"] == 1
    assert b"Authorization: Basic" in heard[0]
    assert b"Authorization" not in heard[1]
    assert b"Cookie" not in heard[1]
    assert b"X-Fine" in heard[1]
