"""Fan-out of kind `http`: the public name and every node behind it, over the real engine; the odd one is named."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import trustme
from pydantic import ValidationError

from probes.fan_out import Node, complain, tell
from probes.kinds.http import Options
from probes.probe import Certificate, Failure, Reading, Response
from probes.result import Reason, Status

AskUrl = Callable[..., Reading]


def at(port: int) -> str:
    return f"127.0.0.1:{port}"


def test_all_nodes_are_asked_with_the_names_own_host(servers: Any, read_head: Any, ask: AskUrl) -> None:
    heads: list[bytes] = []

    def handle(connection: Any) -> None:
        heads.append(read_head(connection))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine")

    ports = [servers.start(handle) for _ in range(3)]
    reading = ask(f"http://127.0.0.1:{ports[0]}/status", nodes=[at(ports[1]), at(ports[2])])
    assert (reading.status, reading.metrics["nodes"], reading.metrics["nodes_up"]) == (Status.UP, 2, 2)
    assert {f"node_duration_s:{at(port)}" for port in ports[1:]} <= set(reading.metrics)
    assert len(heads) == 3
    assert all(f"Host: 127.0.0.1:{ports[0]}\r\n".encode() in head for head in heads)


def test_the_bad_node_is_named_and_the_check_degraded(servers: Any, answering: Any, ask: AskUrl) -> None:
    good, bad = servers.start(answering()), servers.start(answering(b"disk full", "500 Internal Server Error"))
    reading = ask(f"http://127.0.0.1:{good}/", nodes=[at(good), at(bad)])
    assert (reading.status, reading.reason, reading.code) == (Status.DEGRADED, Reason.HTTP_STATUS, 200)
    assert reading.message == f"node {at(bad)}: status 500 Internal Server Error instead of 2xx (1 of 2 nodes)"
    assert reading.metrics["nodes_up"] == 1
    assert reading.evidence is not None
    seen = reading.evidence()
    assert next(iter(seen["nodes"])) == at(bad)
    assert seen["nodes"][at(bad)]["response"]["body"] == "disk full"


def test_node_failure_may_mean_down(servers: Any, answering: Any, ask: AskUrl) -> None:
    good = servers.start(answering())
    reading = ask(f"http://127.0.0.1:{good}/", nodes=[at(good), "127.0.0.1:9"], node_failure="down")
    assert (reading.status, reading.reason) == (Status.DOWN, Reason.TCP_REFUSED)
    assert "node 127.0.0.1:9: " in reading.message


def test_the_names_own_failure_is_down_and_comes_first(servers: Any, answering: Any, ask: AskUrl) -> None:
    good, bad = servers.start(answering()), servers.start(answering(status="503 Service Unavailable"))
    reading = ask(f"http://127.0.0.1:{bad}/", nodes=[at(good), at(bad)])
    assert (reading.status, reading.reason, reading.code) == (Status.DOWN, Reason.HTTP_STATUS, 503)
    assert reading.message.startswith(f"status 503 Service Unavailable instead of 2xx; node {at(bad)}: status 503")


def test_the_slow_node_is_named(servers: Any, answering: Any, ask: AskUrl) -> None:
    def slowly(connection: Any) -> None:
        time.sleep(0.4)
        answering()(connection)

    good, slow = servers.start(answering()), servers.start(slowly)
    reading = ask(f"http://127.0.0.1:{good}/", nodes=[at(good), at(slow)], node_slow_after=0.3)
    assert (reading.status, reading.reason) == (Status.DEGRADED, Reason.VALUE_LIMIT)
    assert f"node {at(slow)}: slow: 0.4" in reading.message
    assert reading.metrics[f"node_duration_s:{at(slow)}"] >= 0.4


def test_a_node_with_another_certificate_is_named(
    servers: Any, server_contexts: Any, answering: Any, ask: AskUrl, ca_file: str
) -> None:
    one, other = server_contexts("localhost"), server_contexts("localhost")
    ports = [servers.start(answering(), context) for context in (one, one, one, other)]
    nodes = [at(port) for port in ports[1:]]
    url = f"https://localhost:{ports[0]}/"
    reading = ask(url, nodes=nodes, compare=["certificate"], ca_file=ca_file, family="ipv4")
    assert (reading.status, reading.reason) == (Status.DEGRADED, Reason.BODY_MISMATCH)
    assert reading.message.startswith(f"node {nodes[2]}: certificate is '")
    assert ask(url, nodes=nodes, ca_file=ca_file, family="ipv4").status is Status.UP


@pytest.fixture
def server_contexts(authority: trustme.CA) -> Callable[[str], Any]:
    import ssl

    def make(name: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        return context

    return make


def test_a_redirect_of_a_node_stays_with_the_node(servers: Any, read_head: Any, ask: AskUrl) -> None:
    """Followed to the same origin it must come back to the node that was asked, not to the public name."""
    asked: list[str] = []

    def node(name: str) -> Callable[[Any], None]:
        def handle(connection: Any) -> None:
            head = read_head(connection).decode()
            asked.append(f"{name} {head.split()[1]}")
            if head.startswith("GET / "):
                connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /home\r\nContent-Length: 0\r\n\r\n")
            else:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        return handle

    public, one = servers.start(node("public")), servers.start(node("one"))
    assert ask(f"http://127.0.0.1:{public}/", nodes=[at(one)]).status is Status.UP
    assert sorted(asked) == ["one /", "one /home", "public /", "public /home"]


def said(address: str, etag: str | None = None, duration_s: float = 0.1, failure: Failure | None = None) -> Node:
    headers = () if etag is None else (("ETag", etag),)
    certificate = Certificate("", "", 0, 0, "ab" * 32)
    return Node(address, Response("u", 200, headers, duration_s=duration_s, certificate=certificate), failure)


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([said("a", "1"), said("b", "1"), said("c", "1")], []),
        ([said("a", "1"), said("b", "2"), said("c", "1")], ["node b: header etag is '2', others say '1'"]),
        ([said("a", "1"), said("b"), said("c", "1")], ["node b: header etag is missing, others say '1'"]),
        (
            [said("a", "1"), said("b", "2")],
            ["node a: header etag is '1', no majority", "node b: header etag is '2', no majority"],
        ),
        ([said("a", "1", failure=Failure(Reason.TCP_REFUSED, "refused")), said("b", "2")], ["node a: refused"]),
        ([said("a", "1", 2.0), said("b", "1")], ["node a: slow: 2 s, more than 1 s"]),
    ],
    ids=["alike", "one differs", "one lacks it", "two differ", "a failed one is not compared", "slow"],
)
def test_who_is_odd(nodes: list[Node], words: list[str]) -> None:
    assert [str(one) for one in complain(nodes, ("etag",), 1.0)] == words


def test_many_odd_nodes_are_counted() -> None:
    nodes = [said(str(number), failure=Failure(Reason.TCP_REFUSED, "refused")) for number in range(5)]
    text = tell(complain(nodes), 8)
    assert text == "node 0: refused; node 1: refused; node 2: refused; 2 more (5 of 8 nodes)"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"nodes": ["10.0.0.1:80"], "proxy": "http://p:3128"}, "cannot be asked through"),
        ({"nodes": ["10.0.0.1:80", "10.0.0.1:80"]}, "twice"),
        ({"nodes": ["no host"]}, "is no node"),
        ({"compare": ["etag"]}, "name them"),
    ],
    ids=["proxy", "twice", "no address", "without nodes"],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Options.model_validate({"url": "http://shop.example/", **options})
