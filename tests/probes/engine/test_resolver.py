"""Names are asked of real sockets: what each answer means, and that a dead server holds nobody up."""

import contextlib
import os
import resource
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from probes.loop import Loop
from probes.name_service import NameService, SystemNameService, read_name_service
from probes.probe import Failure
from probes.resolver import Lookup, Resolver, query_wire
from probes.result import Reason

Answerer = Callable[[dns.message.Message], dns.message.Message | None]


class NameServer:
    """A name server on loopback, UDP and TCP on the same port, that answers as it is told."""

    def __init__(self, answer: Answerer) -> None:
        self.asked: list[str] = []
        self._answer = answer
        self._udp, self._tcp = bind_both()
        self.address = ("127.0.0.1", int(self._udp.getsockname()[1]))
        threading.Thread(target=self._serve_udp, daemon=True).start()
        threading.Thread(target=self._serve_tcp, daemon=True).start()

    def _serve_udp(self) -> None:
        while True:
            try:
                wire, peer = self._udp.recvfrom(4096)
            except OSError:
                return
            if not wire:  # shut down
                return
            query = dns.message.from_wire(wire)
            self.asked.append(str(query.question[0]))
            answer = self._answer(query)
            if answer is not None:
                self._udp.sendto(answer.to_wire(max_size=65535), peer)

    def _serve_tcp(self) -> None:
        while True:
            try:
                connection, _ = self._tcp.accept()
            except OSError:
                return
            with connection:
                wire = connection.recv(4096)
                query = dns.message.from_wire(wire[2:])
                answer = respond(query, "10.0.0.9")
                packed = answer.to_wire()
                connection.sendall(struct.pack("!H", len(packed)) + packed)

    def close(self) -> None:
        # A thread that waits on a descriptor goes on waiting when it is only closed.
        for one in (self._udp, self._tcp):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def bind_both() -> tuple[socket.socket, socket.socket]:
    """A datagram and a listening socket on one port."""
    while True:
        stream = socket.create_server(("127.0.0.1", 0))
        datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            datagram.bind(stream.getsockname())
        except OSError:
            stream.close()
            datagram.close()
            continue
        return datagram, stream


def respond(query: dns.message.Message, *addresses: str, ttl: int = 60, rcode: int = 0) -> dns.message.Message:
    answer = dns.message.make_response(query)
    answer.set_rcode(dns.rcode.Rcode(rcode))
    question = query.question[0]
    fitting = [a for a in addresses if (":" in a) == (question.rdtype == 28)]
    if fitting:
        answer.answer.append(dns.rrset.from_text(question.name, ttl, "IN", question.rdtype, *fitting))
    return answer


@pytest.fixture
def name_server() -> Iterator[Callable[[Answerer], NameServer]]:
    made: list[NameServer] = []

    def make(answer: Answerer) -> NameServer:
        made.append(NameServer(answer))
        return made[-1]

    yield make
    for server in made:
        server.close()


def resolve(
    loop: Loop,
    service: NameService,
    host: str = "shop.example.org",
    timeout_s: float = 3.0,
    resolver: Resolver | None = None,
) -> Lookup | Failure:
    resolver = resolver or Resolver(loop, lambda: service)
    found: list[Lookup | Failure] = []
    resolver.resolve(host, "any", timeout_s, found.append)
    until = time.monotonic() + timeout_s + 2
    while not found and time.monotonic() < until:
        loop.turn(0.05)
    assert len(found) == 1
    return found[0]


def reason_of(found: Lookup | Failure) -> Reason:
    assert isinstance(found, Failure), found
    return found.reason


def test_addresses_of_both_families_are_found(
    loop: Loop, name_server: Callable[[Answerer], NameServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("probes.resolver._OTHER_FAMILY_WAIT_S", 5.0)  # the test's server may be slow on a busy machine
    server = name_server(lambda query: respond(query, "10.0.0.1", "10.0.0.2", "fd00::1"))
    found = resolve(loop, NameService((server.address,)))
    assert isinstance(found, Lookup)
    # The order of addresses within a family is nobody's promise.
    assert found.addresses[0] == "fd00::1"
    assert set(found.addresses[1:]) == {"10.0.0.1", "10.0.0.2"}
    assert 0 < found.elapsed_s < 1


@pytest.mark.parametrize(
    ("rcode", "reason"),
    [(3, Reason.DNS_NXDOMAIN), (2, Reason.DNS_SERVFAIL), (5, Reason.DNS_SERVFAIL), (0, Reason.DNS_NXDOMAIN)],
    ids=["nxdomain", "servfail", "refused", "no records"],
)
def test_answers_that_are_none_have_their_reasons(
    loop: Loop, name_server: Callable[[Answerer], NameServer], rcode: int, reason: Reason
) -> None:
    server = name_server(lambda query: respond(query, rcode=rcode))
    started = time.monotonic()
    assert reason_of(resolve(loop, NameService((server.address,)))) is reason
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("name", ["shop.example.org.", "a.", f"{'x' * 63}.{'y' * 63}.example."])
@pytest.mark.parametrize("rdtype", [dns.rdatatype.A, dns.rdatatype.AAAA])
def test_question_is_what_dnspython_would_send(name: str, rdtype: dns.rdatatype.RdataType) -> None:
    query = dns.message.make_query(name, rdtype, use_edns=0, payload=1232, id=4711)
    assert query_wire(4711, dns.name.from_text(name), rdtype) == query.to_wire()


def test_silent_server_is_a_timeout_when_the_time_is_over(
    loop: Loop, name_server: Callable[[Answerer], NameServer]
) -> None:
    server = name_server(lambda query: None)
    started = time.monotonic()
    assert reason_of(resolve(loop, NameService((server.address,)), timeout_s=0.5)) is Reason.DNS_TIMEOUT
    assert 0.45 < time.monotonic() - started < 0.8


def test_being_out_of_descriptors_is_our_own_fault(loop: Loop, name_server: Callable[[Answerer], NameServer]) -> None:
    server = name_server(lambda query: respond(query, "10.0.0.1"))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
    try:
        found = resolve(loop, NameService((server.address,)), timeout_s=0.3)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert reason_of(found) is Reason.INTERNAL
    assert isinstance(found, Failure)
    assert "Too many open files" in found.message


def test_second_server_is_asked_when_the_first_is_silent(
    loop: Loop, name_server: Callable[[Answerer], NameServer]
) -> None:
    dead = name_server(lambda query: None)
    alive = name_server(lambda query: respond(query, "10.0.0.1"))
    found = resolve(loop, NameService((dead.address, alive.address)))
    assert isinstance(found, Lookup)
    assert 0.9 < found.elapsed_s < 2


def test_lame_first_server_costs_no_time(loop: Loop, name_server: Callable[[Answerer], NameServer]) -> None:
    lame = name_server(lambda query: respond(query, rcode=2))
    alive = name_server(lambda query: respond(query, "10.0.0.1"))
    found = resolve(loop, NameService((lame.address, alive.address)))
    assert isinstance(found, Lookup)
    assert found.elapsed_s < 0.5


def test_cname_is_followed_and_a_loop_is_servfail(loop: Loop, name_server: Callable[[Answerer], NameServer]) -> None:
    def chain(query: dns.message.Message) -> dns.message.Message:
        answer = dns.message.make_response(query)
        answer.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "CNAME", "b.example.org."))
        if query.question[0].rdtype == 1:
            answer.answer.append(dns.rrset.from_text("b.example.org.", 60, "IN", "A", "10.0.0.7"))
        return answer

    found = resolve(loop, NameService((name_server(chain).address,)))
    assert isinstance(found, Lookup)
    assert found.addresses == ("10.0.0.7",)

    def circle(query: dns.message.Message) -> dns.message.Message:
        answer = dns.message.make_response(query)
        answer.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "CNAME", "b.example.org."))
        answer.answer.append(dns.rrset.from_text("b.example.org.", 60, "IN", "CNAME", query.question[0].name.to_text()))
        return answer

    assert reason_of(resolve(loop, NameService((name_server(circle).address,)))) is Reason.DNS_SERVFAIL


def test_truncated_answer_is_asked_again_by_tcp(loop: Loop, name_server: Callable[[Answerer], NameServer]) -> None:
    def truncate(query: dns.message.Message) -> dns.message.Message:
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.TC
        return answer

    found = resolve(loop, NameService((name_server(truncate).address,)))
    assert isinstance(found, Lookup)
    assert found.addresses == ("10.0.0.9",)


def test_forged_answer_with_another_id_is_not_believed(
    loop: Loop, name_server: Callable[[Answerer], NameServer]
) -> None:
    def forge(query: dns.message.Message) -> dns.message.Message:
        answer = respond(query, "6.6.6.6")
        answer.id = (query.id + 1) % 65536
        return answer

    assert reason_of(resolve(loop, NameService((name_server(forge).address,)), timeout_s=0.4)) is Reason.DNS_TIMEOUT


def test_answer_is_kept_for_its_ttl_and_no_longer(loop: Loop, name_server: Callable[[Answerer], NameServer]) -> None:
    for ttl, questions in ((60, 2), (0, 4)):
        server = name_server(lambda query, ttl=ttl: respond(query, "10.0.0.1", "fd00::1", ttl=ttl))  # type: ignore[misc]
        service = NameService((server.address,))
        resolver = Resolver(loop, lambda service=service: service)  # type: ignore[misc]
        for _ in range(2):
            assert isinstance(resolve(loop, service, resolver=resolver), Lookup)
        assert len(server.asked) == questions


def test_failures_are_not_kept(loop: Loop, name_server: Callable[[Answerer], NameServer]) -> None:
    server = name_server(lambda query: respond(query, rcode=3))
    service = NameService((server.address,))
    resolver = Resolver(loop, lambda: service)
    for _ in range(2):
        resolve(loop, service, resolver=resolver)
    assert len(server.asked) == 4


def test_thousand_questions_for_one_name_are_asked_once(
    loop: Loop, name_server: Callable[[Answerer], NameServer]
) -> None:
    server = name_server(lambda query: respond(query, "10.0.0.1"))
    resolver = Resolver(loop, lambda: NameService((server.address,)))
    found: list[Lookup | Failure] = []
    for _ in range(1000):
        resolver.resolve("shop.example.org", "any", 2.0, found.append)
    until = time.monotonic() + 3
    while len(found) < 1000 and time.monotonic() < until:
        loop.turn(0.05)
    assert len(found) == 1000
    assert len(server.asked) == 2


def test_search_list_is_followed(loop: Loop, name_server: Callable[[Answerer], NameServer]) -> None:
    def only_inside(query: dns.message.Message) -> dns.message.Message:
        inside = query.question[0].name.to_text() == "db.shop.internal."
        return respond(query, "10.0.0.5") if inside else respond(query, rcode=3)

    service = NameService((name_server(only_inside).address,), ("corp.internal", "shop.internal"), 1)
    found = resolve(loop, service, "db")
    assert isinstance(found, Lookup)
    assert found.addresses == ("10.0.0.5",)


@pytest.mark.parametrize(
    ("host", "ndots", "candidates"),
    [
        ("db", 1, ("db.corp.internal", "db.")),
        ("db.shop", 1, ("db.shop.", "db.shop.corp.internal")),
        ("db.shop", 5, ("db.shop.corp.internal", "db.shop.")),
        ("db.shop.", 5, ("db.shop.",)),
    ],
)
def test_candidates_follow_ndots(host: str, ndots: int, candidates: tuple[str, ...]) -> None:
    assert NameService(search=("corp.internal",), ndots=ndots).candidates(host) == candidates


def test_files_are_read_and_read_again_when_they_change(tmp_path: Path) -> None:
    hosts, conf = tmp_path / "hosts", tmp_path / "resolv.conf"
    hosts.write_text("127.0.0.1 localhost\n10.1.1.1 DB.local db # ours\nnonsense here\n")
    conf.write_text("nameserver 10.0.0.53\nnameserver fd00::53\nsearch corp.internal\noptions ndots:3\n")
    service = SystemNameService(hosts, conf)
    now = service.current()
    assert now.servers == (("10.0.0.53", 53), ("fd00::53", 53))
    assert (now.search, now.ndots) == (("corp.internal",), 3)
    assert now.known("db.LOCAL.") == ("10.1.1.1",)
    time.sleep(0.01)
    hosts.write_text("10.1.1.2 db\n")
    assert service.current().known("db") == ("10.1.1.2",)


def test_missing_files_leave_defaults(tmp_path: Path) -> None:
    service = read_name_service(tmp_path / "none", tmp_path / "neither")
    assert service.servers == (("127.0.0.1", 53),)
    assert service.known("localhost") == ("::1", "127.0.0.1")


@pytest.mark.parametrize(
    ("text", "servers", "search", "ndots"),
    [
        ("nameserver 10.0.0.1 # first\n; nameserver 10.0.0.2\n#nameserver 10.0.0.3\n", ("10.0.0.1",), (), 1),
        ("nameserver fe80::1%eth0\nnameserver nonsense\nnameserver\n", ("fe80::1%eth0",), (), 1),
        ("search a.test b.test.\ndomain c.test\nnameserver ::1\n", ("::1",), ("c.test",), 1),
        ("nameserver ::1\nsearch . x..y good.test\n", ("::1",), ("good.test",), 1),
        ("nameserver ::1\noptions timeout:1 ndots:99 rotate\n", ("::1",), (), 15),
        ("nameserver ::1\noptions ndots:x ndots\n", ("::1",), (), 1),
        ("search a.test\n", ("127.0.0.1",), (), 1),
    ],
    ids=["comments", "no address", "the last counts", "no names", "ndots", "broken ndots", "no server"],
)
def test_resolv_conf(tmp_path: Path, text: str, servers: tuple[str, ...], search: tuple[str, ...], ndots: int) -> None:
    (tmp_path / "resolv.conf").write_text(text)
    service = read_name_service(tmp_path / "none", tmp_path / "resolv.conf")
    assert tuple(address for address, _ in service.servers) == servers
    assert (service.search, service.ndots) == (search, ndots)
