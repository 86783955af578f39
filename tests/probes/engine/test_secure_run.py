"""TLS connections of our own: only after libcurl's look at the certificate, and nothing is told otherwise by them."""

import datetime
import socket
import ssl
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from probes.curl_run import CurlRun
from probes.engine import Engine
from probes.kinds.http import Expects, HttpProbe, Options
from probes.probe import Ask, Deadline, Reading
from probes.result import Reason, Status
from probes.route import Route
from probes.secure import Security
from probes.secure_run import SecureRun
from probes.target import Check, Tier

AskProbe = Callable[..., Reading]
OK = b"HTTP/1.1 200 OK\r\n"
PLAIN = OK + b"Content-Length: 4\r\n\r\nfine"


class Site:
    """An https server whose certificate and answers can be changed while it runs."""

    def __init__(self, servers: Any, authority: trustme.CA, ca_file: str, read_head: Any) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._servers, self._read_head, self._ca_file = servers, read_head, ca_file
        self._authority = authority
        self.show()
        self.answer: Callable[[ssl.SSLSocket], object] = lambda connection: connection.sendall(PLAIN)
        self.greet: Callable[[socket.socket], bool] = lambda connection: True
        self.port = servers.start(self._handle)

    def _handle(self, connection: socket.socket) -> None:
        if not self.greet(connection):
            return
        with self.context.wrap_socket(connection, server_side=True) as secure:
            self._read_head(secure)
            self.answer(secure)

    def show(self, days: float = 30, name: str = "127.0.0.1", authority: trustme.CA | None = None) -> None:
        now = datetime.datetime.now(datetime.UTC)
        end = now + datetime.timedelta(days=days)
        leaf = (authority or self._authority).issue_cert(
            name, not_before=now - datetime.timedelta(days=60), not_after=end
        )
        leaf.configure_cert(self.context)

    def probe(self, **options: Any) -> HttpProbe:
        return HttpProbe(Options(url=f"https://127.0.0.1:{self.port}/", ca_file=self._ca_file, **options), Expects())

    @property
    def connections(self) -> int:
        return int(self._servers.accepted)


@pytest.fixture
def site(servers: Any, authority: trustme.CA, ca_file: str, read_head: Any) -> Site:
    return Site(servers, authority, ca_file, read_head)


def route_of(probe: HttpProbe) -> Route:
    request = probe.only_request
    assert request is not None
    assert isinstance(request.route, Route)
    return request.route


@pytest.fixture
def known(site: Site, ask_probe: AskProbe) -> HttpProbe:
    """A probe of the site whose next run goes over a connection of our own."""
    return look_at(site.probe(), ask_probe)


def look_at(probe: HttpProbe, ask_probe: AskProbe) -> HttpProbe:
    give_up = time.monotonic() + 10
    while ask_probe(probe).status is Status.UP and route_of(probe).secure is None and time.monotonic() < give_up:
        time.sleep(0.02)
    assert route_of(probe).secure is not None
    return probe


def in_flight(engine: Engine, probe: HttpProbe) -> type[object]:
    """Who carries a run that has just begun."""
    check = Check("s/t/http", "s", "t", "http", Tier.WEB, probe, 10, 2, 5, 3, 2)
    engine.start(check, Ask(Deadline(2), 0, 10), lambda reading: None)
    kind = type(next(iter(engine._runs)))
    engine.cancel_all()
    return kind


def test_first_look_is_libcurls_and_the_next_runs_are_our_own(site: Site, ask_probe: AskProbe, engine: Engine) -> None:
    probe = site.probe()
    assert in_flight(engine, probe) is CurlRun
    look_at(probe, ask_probe)
    assert in_flight(engine, probe) is SecureRun
    route_of(probe).certificate_until_s = engine.loop.time()
    assert in_flight(engine, probe) is CurlRun


@pytest.mark.parametrize("options", [{"verify": False}, {"ocsp_staple": True}, {"http_version": "2"}])
def test_what_more_is_asked_of_tls_stays_with_libcurl(options: dict[str, Any], site: Site, ask_probe: AskProbe) -> None:
    probe = site.probe(**options)
    ask_probe(probe)
    assert route_of(probe).wire is None


def test_reading_is_the_same_and_phases_add_up(known: HttpProbe, site: Site, ask_probe: AskProbe) -> None:
    curls, before = ask_probe(site.probe()), site.connections
    own = ask_probe(known)
    assert site.connections == before + 1
    assert (own.status, own.code, own.facts) == (Status.UP, 200, curls.facts)
    assert own.metrics == pytest.approx(curls.metrics, abs=0.01)
    phases = own.phases
    assert phases.connect_s is not None
    assert phases.tls_s is not None
    assert phases.tls_s > 0
    assert phases.ttfb_s is not None
    assert phases.transfer_s is not None
    assert own.duration_s is not None
    assert phases.connect_s + phases.tls_s + phases.ttfb_s + phases.transfer_s == pytest.approx(own.duration_s)


def test_another_certificate_is_looked_at_in_the_same_run(known: HttpProbe, site: Site, ask_probe: AskProbe) -> None:
    site.show(days=90)
    before = site.connections
    reading = ask_probe(known)
    assert (reading.status, site.connections) == (Status.UP, before + 2)
    assert reading.metrics["certificate_days_left"] == pytest.approx(90, abs=0.1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"days": -2}, Reason.TLS_EXPIRED),
        ({"name": "other.example.org"}, Reason.TLS_HOSTNAME),
        ({"authority": trustme.CA()}, Reason.TLS_UNTRUSTED),
    ],
)
def test_certificate_that_has_gone_bad_is_told_in_the_next_run(
    change: dict[str, Any], reason: Reason, known: HttpProbe, site: Site, ask_probe: AskProbe
) -> None:
    site.show(**change)
    for _ in range(2):
        reading = ask_probe(known)
        assert (reading.status, reading.reason) == (Status.DOWN, reason)
        assert "certificate_days_left" in reading.metrics
    site.show()
    assert ask_probe(known).status is Status.UP


def test_certificate_that_expires_between_two_looks_is_told(site: Site, ask_probe: AskProbe) -> None:
    site.show(days=4 / 86400)
    probe = look_at(site.probe(), ask_probe)
    time.sleep(5.1)  # it is good until the end of its last second
    before = site.connections
    assert ask_probe(probe).reason is Reason.TLS_EXPIRED
    assert site.connections == before + 2


def close(connection: socket.socket) -> bool:
    connection.recv(1)
    connection.shutdown(socket.SHUT_WR)
    time.sleep(0.2)
    return False


def reset(connection: socket.socket) -> bool:
    connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def hang(connection: socket.socket) -> bool:
    time.sleep(1)
    return False


def speak_plainly(connection: socket.socket) -> bool:
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    return False


@pytest.mark.parametrize("greet", [close, reset, hang, speak_plainly])
def test_trouble_in_the_handshake_is_told_as_libcurl_tells_it(
    greet: Any, known: HttpProbe, site: Site, ask_probe: AskProbe
) -> None:
    site.greet = greet
    own, curls = ask_probe(known, 0.5), ask_probe(site.probe(), 0.5)
    assert (own.status, own.reason) == (Status.DOWN, curls.reason)
    site.greet = lambda connection: True
    assert ask_probe(known).status is Status.UP


def test_server_that_is_gone_is_refused(known: HttpProbe, ask_probe: AskProbe, servers: Any) -> None:
    servers.close()
    time.sleep(0.1)
    assert ask_probe(known).reason is Reason.TCP_REFUSED


def test_server_without_our_curve_is_up_and_libcurls_from_then_on(
    known: HttpProbe, site: Site, ask_probe: AskProbe
) -> None:
    site.context.set_ecdh_curve("X25519")
    assert ask_probe(known).status is Status.UP
    assert route_of(known).wire is None
    before = site.connections
    assert ask_probe(known).status is Status.UP
    assert site.connections == before + 1


def in_records(*pieces: bytes) -> Callable[[ssl.SSLSocket], object]:
    def send(connection: ssl.SSLSocket) -> None:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(0.02)

    return send


def say_goodbye(connection: ssl.SSLSocket) -> None:
    connection.sendall(OK + b"\r\nfine")
    connection.settimeout(0.3)
    connection.unwrap()


ANSWERS: dict[str, Callable[[ssl.SSLSocket], object]] = {
    "records": in_records(OK, b"Content-Length: 4\r\n", b"\r\nfi", b"ne"),
    "large": in_records(OK + b"Content-Length: 500000\r\n\r\n" + bytes(500_000)),
    "chunked": in_records(OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n", b"0\r\n\r\n"),
    "closed without goodbye": in_records(OK + b"\r\nfine"),
    "closed with goodbye": say_goodbye,
    "half a body": in_records(OK + b"Content-Length: 9\r\n\r\nfine"),
    "nothing": in_records(),
    "500": in_records(b"HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\nfine"),
    "nonsense": in_records(b"nonsense\r\n\r\n"),
    "too big": in_records(OK + b"Content-Length: 2000000\r\n\r\n" + bytes(2_000_000)),
    "silent": lambda connection: time.sleep(1),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_are_read_as_through_libcurl(name: str, known: HttpProbe, site: Site, ask_probe: AskProbe) -> None:
    site.answer = ANSWERS[name]
    own, curls = ask_probe(known, 0.6), ask_probe(site.probe(), 0.6)
    assert (own.status, own.reason, own.code) == (curls.status, curls.reason, curls.code), (own.message, curls.message)
    if own.reason is not Reason.BODY_TOO_BIG:
        assert own.metrics.get("size_bytes") == curls.metrics.get("size_bytes")


def test_authorities_that_changed_are_read_again(ca_file: str, tmp_path: Path, engine: Engine) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(Path(ca_file).read_bytes())
    security = Security(engine.loop)
    contexts = []
    for content in (file.read_bytes(), file.read_bytes(), trustme.CA().cert_pem.bytes()):
        file.write_bytes(content)
        give_up = time.monotonic() + 10
        while (secure := security.of(str(file))) is None and time.monotonic() < give_up:
            engine.loop.turn(0.02)
        assert secure is not None
        contexts.append(secure.context)
    assert contexts[2] is not contexts[1]
    assert security.of(str(tmp_path / "none.pem")) is None
