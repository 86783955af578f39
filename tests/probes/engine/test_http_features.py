"""Names of our own, proxies, credentials, Unix sockets, families: what a check can ask for, against real servers."""

import base64
import hashlib
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
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
from probes.probe import Ask, Deadline, Reading
from probes.resolver import Resolver
from probes.result import Reason, Status
from probes.runner import gather
from probes.target import Check, Tier

pytestmark = pytest.mark.usefixtures("carrier")

Asking = Callable[..., Reading]
METADATA = "169.254.169.254"


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
        with suppress(OSError):
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


# Names


def test_international_name_is_asked_and_sent_as_punycode(
    names: Names, asking: Asker, servers: Any, read_head: Any
) -> None:
    heard: list[bytes] = []

    def listen(connection: socket.socket) -> None:
        heard.append(read_head(connection))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    names.zone["xn--bcher-kva.example"] = ["127.0.0.1"]
    assert asking(f"http://Bücher.example:{servers.start(listen)}/").status is Status.UP
    assert b"\r\nHost: xn--bcher-kva.example:" in heard[0]
    assert {one.split()[0] for one in names.asked} == {"xn--bcher-kva.example"}


def test_final_dot_of_a_name_does_not_lead_past_the_pinned_address(
    names: Names, asking: Asker, servers: Any, answering: Any
) -> None:
    names.zone["shop.example"] = ["127.0.0.1"]
    reading = asking(f"http://shop.example.:{servers.start(answering())}/")
    assert reading.status is Status.UP, reading


@pytest.mark.parametrize(
    ("zone", "reason"),
    [
        (None, Reason.DNS_NXDOMAIN),
        ("servfail", Reason.DNS_SERVFAIL),
        ([], Reason.DNS_NXDOMAIN),
        ("silence", Reason.DNS_TIMEOUT),
    ],
    ids=["nxdomain", "servfail", "empty", "silence"],
)
def test_name_that_cannot_be_had_has_its_reason_in_time(names: Names, asking: Asker, zone: Any, reason: Reason) -> None:
    names.zone["shop.example"] = zone
    started = time.monotonic()
    reading = asking("http://shop.example:9/", timeout_s=0.6)
    assert (reading.status, reading.reason) == (Status.DOWN, reason)
    assert time.monotonic() - started < 0.9


# The guard


def test_rebinding_between_two_lookups_meets_the_pinned_address(
    names: Names, asking: Asker, servers: Any, answering: Any
) -> None:
    names.zone["rebind.example"] = lambda before: ["127.0.0.1"] if before == 0 else [METADATA]
    url = f"http://rebind.example:{servers.start(answering())}/"
    assert asking(url).status is Status.UP
    assert names.asked.count("rebind.example A") == 1  # nobody looked it up again to connect
    assert asking(url).reason is Reason.SSRF_BLOCKED
    assert servers.accepted == 1


def test_answer_that_mixes_good_and_metadata_is_refused(
    names: Names, asking: Asker, servers: Any, answering: Any
) -> None:
    for mixed in (["127.0.0.1", METADATA], [METADATA, "127.0.0.1"], ["127.0.0.1", "64:ff9b::a9fe:a9fe"]):
        names.zone["mixed.example"] = mixed
        assert asking(f"http://mixed.example:{servers.start(answering())}/").reason is Reason.SSRF_BLOCKED
    assert servers.accepted == 0


def test_redirect_to_a_name_that_leads_to_metadata_is_refused(
    names: Names, asking: Asker, servers: Any, answering: Any
) -> None:
    names.zone["inside.example"] = [METADATA]
    port = servers.start(answering(status="302 Found", headers="Location: http://inside.example/latest/\r\n"))
    reading = asking(f"http://127.0.0.1:{port}/")
    assert reading.reason is Reason.SSRF_BLOCKED
    assert "inside.example" in reading.message


def test_redirect_to_a_name_that_nobody_knows_is_told_with_its_hops(
    names: Names, asking: Asker, servers: Any, answering: Any
) -> None:
    port = servers.start(answering(status="302 Found", headers="Location: http://gone.example/?a=1\r\n"))
    reading = asking(f"http://127.0.0.1:{port}/")
    assert reading.reason is Reason.DNS_NXDOMAIN
    assert [(hop["url"], hop["code"], hop["address"]) for hop in gather(reading)["hops"]] == [
        (f"http://127.0.0.1:{port}/", 302, "127.0.0.1"),
        ("http://gone.example/?a=1", None, None),
    ]


def test_link_local_address_that_is_named_exactly_is_tried(ask: Asking) -> None:
    assert ask("http://[fe80::1]:9/").reason is Reason.SSRF_BLOCKED
    reading = ask("http://[fe80::1]:9/", timeout_s=0.5, allow_addresses=["fe80::1"])
    assert reading.reason in {Reason.NET_UNREACHABLE, Reason.TCP_REFUSED, Reason.TCP_TIMEOUT}


def test_netrc_is_never_read(
    servers: Any, read_head: Any, ask: Asking, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login ann password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    heard: list[bytes] = []

    def listen(connection: socket.socket) -> None:
        heard.append(read_head(connection))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    assert ask(f"http://127.0.0.1:{servers.start(listen)}/").status is Status.UP
    assert b"Authorization" not in heard[0]


# Families


def test_ipv6_black_hole_costs_a_moment_and_the_family_is_known(
    names: Names, asking: Asker, servers: Any, answering: Any, black_hole: Any
) -> None:
    port = servers.start(answering())
    names.zone["shop.example"] = ["::1", "127.0.0.1"]
    with black_hole(socket.AF_INET6, "::1", port):
        reading = asking(f"http://shop.example:{port}/", timeout_s=3.0)
        assert reading.status is Status.UP, reading
        assert reading.facts == {"address family": "IPv4", "redirects": "none"}
        assert 0.1 < (reading.phases.connect_s or 0) < 0.8
        hole = asking(f"http://shop.example:{port}/", timeout_s=0.5, family="ipv6")
        assert hole.reason is Reason.TCP_TIMEOUT
        assert asking(f"http://shop.example:{port}/", family="ipv4").status is Status.UP


@pytest.mark.usefixtures("six")
def test_family_that_is_asked_for_is_used(names: Names, asking: Asker) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        port = listener.getsockname()[1]

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    connection.recv(4096)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    connection.close()

        threading.Thread(target=serve, daemon=True).start()
        names.zone.update({"both.example": ["::1", "127.0.0.1"], "six.example": ["::1"]})
        for family in ("any", "ipv6"):
            reading = asking(f"http://both.example:{port}/", family=family)
            assert (reading.status, (reading.facts or {})["address family"]) == (Status.UP, "IPv6")
        assert asking(f"http://both.example:{port}/", family="ipv4").reason is Reason.TCP_REFUSED
        assert asking(f"http://six.example:{port}/", family="ipv4").reason is Reason.DNS_NXDOMAIN
        listener.shutdown(socket.SHUT_RDWR)


# Unix sockets


def test_unix_socket_is_asked(ask: Asking, tmp_path: Path, read_head: Any) -> None:
    path = str(tmp_path / "app.sock")
    assert ask("http://app/health", unix_socket=path).reason is Reason.TCP_REFUSED
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            head = read_head(connection)
            body = head.split(b"\r\n")[0] + b" " + head.split(b"Host: ")[1].split(b"\r\n")[0]
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            connection.close()

        threading.Thread(target=serve, daemon=True).start()
        reading = ask("http://app/health", unix_socket=path, expect={"body": "GET /health HTTP/1.1 app"})
        assert reading.status is Status.UP, reading
    assert ask("http://app/health", unix_socket=path).reason is Reason.TCP_REFUSED


# Credentials


def digest_server(password: str) -> Callable[[socket.socket], None]:
    """RFC 7616 with SHA-256 and qop=auth, checked by our own arithmetic."""

    def sha(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    def holds(head: str) -> bool:
        given = dict(
            re.findall(r'(\w+)="?([^",]+)"?', head.partition("Authorization: Digest ")[2].partition("\r\n")[0])
        )
        if "response" not in given:
            return False
        one, two = sha(f"ann:shop:{password}"), sha(f"GET:{given['uri']}")
        return given["response"] == sha(f"{one}:n0nce:{given['nc']}:{given['cnonce']}:auth:{two}")

    def handle(connection: socket.socket) -> None:
        data = b""
        while piece := connection.recv(65536):
            data += piece
            if not data.endswith(b"\r\n\r\n"):
                continue
            fine, data = holds(data.decode()), b""
            status = "200 OK" if fine else "401 Unauthorized"
            challenge = 'WWW-Authenticate: Digest realm="shop", nonce="n0nce", qop="auth", algorithm=SHA-256\r\n'
            connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n{challenge}\r\n".encode())

    return handle


@pytest.mark.parametrize(("password", "reason"), [("secret", None), ("wrong", Reason.AUTH_FAILED)])
def test_digest_credentials(servers: Any, ask: Asking, password: str, reason: Reason | None) -> None:
    port = servers.start(digest_server("secret"))
    reading = ask(f"http://127.0.0.1:{port}/a?b=c", auth={"scheme": "digest", "username": "ann", "password": password})
    assert reading.reason is reason, reading
    assert password not in reading.message


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


# Proxies


class Proxy:
    """A small HTTP proxy with a password: CONNECT, and plain requests by absolute URL."""

    def __init__(self, servers: Any, read_head: Callable[[socket.socket], bytes], refusal: bytes = b"") -> None:
        self._read_head, self._refusal = read_head, refusal
        self.heard: list[bytes] = []
        self.port = servers.start(self._handle)

    def _handle(self, connection: socket.socket) -> None:
        head = self._read_head(connection)
        self.heard.append(head)
        token = base64.b64encode(b"ann:secret")
        if self._refusal or b"Proxy-Authorization: Basic " + token not in head:
            status = self._refusal or b"407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=p"
            connection.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
            return
        method, target, _ = head.split(b" ", 2)
        place = target if method == b"CONNECT" else target.split(b"/")[2]
        host, _, port = place.decode().rpartition(":")
        with socket.create_connection(("127.0.0.1" if host == "shop.example" else host, int(port)), 2) as onward:
            if method == b"CONNECT":
                connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                onward.sendall(head)
            back = threading.Thread(target=pump, args=(onward, connection), daemon=True)
            back.start()
            pump(connection, onward)
            back.join(2)


def pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def secure_port(servers: Any, answering: Any, authority: trustme.CA) -> int:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("shop.example").configure_cert(context)
    return int(servers.start(answering(b"inside"), context))


@pytest.fixture
def proxy(servers: Any, read_head: Any) -> Proxy:
    return Proxy(servers, read_head)


def test_https_goes_through_a_tunnel_and_the_target_s_certificate_counts(
    names: Names, asking: Asker, secure_port: int, proxy: Proxy, ca_file: str
) -> None:
    target = secure_port
    names.zone["proxy.example"] = ["127.0.0.1"]
    way = f"http://ann:secret@proxy.example:{proxy.port}"
    reading = asking(
        f"https://shop.example:{target}/", proxy=way, ca_file=ca_file, expect={"body": {"contains": "inside"}}
    )
    assert reading.status is Status.UP, reading
    assert reading.metrics["certificate_days_left"] > 1
    assert proxy.heard[0].startswith(f"CONNECT shop.example:{target} HTTP/1.1\r\n".encode())
    assert {one.split()[0] for one in names.asked} == {"proxy.example"}  # the target's name is the proxy's to look up
    untrusted = asking(f"https://shop.example:{target}/", proxy=way)
    assert untrusted.reason is Reason.TLS_UNTRUSTED


def test_plain_request_through_a_proxy(servers: Any, answering: Any, read_head: Any, ask: Asking) -> None:
    target, proxy = servers.start(answering(b"inside")), Proxy(servers, read_head)
    reading = ask(f"http://127.0.0.1:{target}/x", proxy=f"http://ann:secret@127.0.0.1:{proxy.port}")
    assert reading.status is Status.UP, reading
    assert proxy.heard[0].startswith(f"GET http://127.0.0.1:{target}/x HTTP/1.1\r\n".encode())


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxy_that_wants_a_password_is_auth_failed(servers: Any, read_head: Any, ask: Asking, scheme: str) -> None:
    proxy = Proxy(servers, read_head)
    reading = ask(f"{scheme}://127.0.0.1:9/", proxy=f"http://ann:wrong@127.0.0.1:{proxy.port}")
    assert reading.reason is Reason.AUTH_FAILED, reading
    assert "proxy" in reading.message.lower()
    assert "wrong" not in reading.message


def test_proxy_that_refuses_the_tunnel_says_its_status(servers: Any, read_head: Any, ask: Asking) -> None:
    proxy = Proxy(servers, read_head, refusal=b"403 Forbidden")
    reading = ask("https://127.0.0.1:9/", proxy=f"http://127.0.0.1:{proxy.port}")
    assert (reading.status, reading.reason) == (Status.DOWN, Reason.HTTP_PROTOCOL), reading
    assert "403" in reading.message


def test_proxy_is_guarded_and_so_is_an_address_behind_it(servers: Any, read_head: Any, ask: Asking) -> None:
    assert ask("http://127.0.0.1:9/", proxy=f"http://{METADATA}:3128").reason is Reason.SSRF_BLOCKED
    proxy = Proxy(servers, read_head)
    behind = ask(f"http://{METADATA}/", proxy=f"http://ann:secret@127.0.0.1:{proxy.port}")
    assert behind.reason is Reason.SSRF_BLOCKED
    assert not proxy.heard


def test_dead_proxy_is_refused(ask: Asking) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert ask("https://127.0.0.1:9/", proxy=f"http://127.0.0.1:{port}").reason is Reason.TCP_REFUSED
