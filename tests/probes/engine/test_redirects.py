"""Redirects are followed hop by hop: each one checked, timed by itself, and known by its URL, code and address."""

import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

import pytest
import trustme

from probes.evidence import collect, unpack
from probes.evidence_text import as_text
from probes.probe import Reading
from probes.result import EvidenceKind, Reason, Status
from probes.runner import gather

pytestmark = pytest.mark.usefixtures("carrier")

Asking = Callable[..., Reading]
CANARY = "canary-4711"


def url_of(port: int) -> str:
    return f"http://127.0.0.1:{port}/"


def hops_of(reading: Reading) -> list[dict[str, Any]]:
    return list(gather(reading).get("hops", []))


def text_of(reading: Reading) -> str:
    """What people read of it, after it was kept."""
    kept = collect(EvidenceKind.FIRST, reading, gather(reading), str, (1, 2))
    return as_text(unpack(kept.data))


def sending(*answers: tuple[float, str]) -> Callable[[socket.socket], None]:
    """A server that answers with one after the other: seconds to wait, then status and further header lines."""
    left = list(answers)

    def handle(connection: socket.socket) -> None:
        heard = b""
        while b"\r\n\r\n" not in heard:
            heard += connection.recv(65536)
        wait_s, more = left.pop(0)
        time.sleep(wait_s)
        connection.sendall(f"HTTP/1.1 {more}\r\nContent-Length: 0\r\n\r\n".encode())

    return handle


def test_every_hop_is_timed_by_itself_and_all_together(servers: Any, ask: Asking) -> None:
    waits_s = (0.05, 0.2, 0.1, 0.02)
    answers = [(wait_s, f"302 Found\r\nLocation: /{number}?visit={number}") for number, wait_s in enumerate(waits_s, 1)]
    answers[-1] = (waits_s[-1], "200 OK")
    root = url_of(servers.start(sending(*answers)))
    reading = ask(root)
    assert (reading.status, reading.metrics["redirects"]) == (Status.UP, 3)
    assert (reading.facts or {})["redirects"] == f"{root}1 → {root}2 → {root}3"
    hops = hops_of(reading)
    assert [hop["url"] for hop in hops] == [root, f"{root}1?visit=1", f"{root}2?visit=2", f"{root}3?visit=3"]
    assert [hop["code"] for hop in hops] == [302, 302, 302, 200]
    assert {hop["address"] for hop in hops} == {"127.0.0.1"}
    for hop, wait_s in zip(hops, waits_s, strict=True):
        assert wait_s <= hop["phases"]["ttfb_s"] <= hop["duration_s"] < wait_s + 0.15, hop
    assert sum(hop["duration_s"] for hop in hops) == pytest.approx(reading.duration_s)
    for phase in ("connect_s", "ttfb_s", "transfer_s"):
        assert sum(hop["phases"][phase] for hop in hops) == pytest.approx(getattr(reading.phases, phase))


def test_a_run_that_is_not_sent_elsewhere_has_no_hops(servers: Any, answering: Any, ask: Asking) -> None:
    assert "hops" not in gather(ask(url_of(servers.start(answering()))))
    assert "hops" not in gather(ask(url_of(servers.start(answering(status="503 Service Unavailable")))))


def test_a_hop_to_https_has_a_handshake_of_its_own(
    servers: Any, answering: Any, authority: trustme.CA, ca_file: str, ask: Asking
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    secure = servers.start(answering(), context)
    plain = servers.start(answering(status="301 Moved", headers=f"Location: https://localhost:{secure}/\r\n"))
    first, second = hops_of(ask(url_of(plain), ca_file=ca_file))
    assert set(first["phases"]) == {"connect_s", "ttfb_s", "transfer_s"}
    assert set(second["phases"]) == {"dns_s", "connect_s", "tls_s", "ttfb_s", "transfer_s"}
    assert second["url"] == f"https://localhost:{secure}/"


def test_the_hop_that_fails_is_the_last_one_told(servers: Any, answering: Any, ask: Asking) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed_port = int(free.getsockname()[1])
    port = servers.start(answering(status="302 Found", headers=f"Location: {url_of(closed_port)}\r\n"))
    reading = ask(url_of(port))
    assert reading.reason is Reason.TCP_REFUSED
    first, last = hops_of(reading)
    assert (first["code"], last["code"], last["url"]) == (302, None, url_of(closed_port))
    told = text_of(reading)
    assert f"hop 1: 302 {url_of(port)} from 127.0.0.1, " in told
    assert f"hop 2: no answer {url_of(closed_port)}" in told


def test_secrets_that_come_back_in_a_redirect_are_masked(servers: Any, ask: Asking) -> None:
    where = f"/{CANARY}/there?session_id={CANARY}-2&page=2"
    port = servers.start(sending((0, f"302 Found\r\nLocation: {where}"), (0, "500 Internal Server Error")))
    reading = ask(url_of(port), headers={"X-Api-Key": CANARY})
    assert reading.reason is Reason.HTTP_STATUS
    told = text_of(reading)
    assert CANARY not in told
    assert f"hop 2: 500 {url_of(port)}***/there?session_id=***&page=2 from 127.0.0.1, " in told


@pytest.mark.parametrize("limit", [1, 3])
def test_limit_of_redirects_is_the_user_s(servers: Any, answering: Any, ask: Asking, limit: int) -> None:
    port = servers.start(answering(status="301 Moved", headers="Location: /\r\n"))
    reading = ask(url_of(port), max_redirects=limit)
    assert reading.reason is Reason.HTTP_REDIRECT_LOOP
    assert servers.accepted == limit + 1
    assert [hop["code"] for hop in hops_of(reading)] == [301] * (limit + 1)


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
