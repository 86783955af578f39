import socket
import threading
import time
from contextlib import suppress

import dns.flags
import dns.message
import dns.rcode
import dns.resolver
import dns.rrset
import pytest
from pydantic import ValidationError

from probes import lookup
from probes.lookup import resolve
from probes.probe import Deadline, Failure
from probes.result import Reason, Status

ZONE = {
    ("shop.example.", "A"): ["192.0.2.1", "192.0.2.2"],
    ("shop.example.", "AAAA"): ["2001:db8::1"],
    ("four.example.", "A"): ["192.0.2.4"],
    ("shop.example.", "MX"): ["10 mail.shop.example."],
    ("shop.example.", "TXT"): ['"v=spf1 -all"'],
}


@pytest.fixture
def name_server():
    """A small name server over UDP whose answers the test chooses by name; returns its port."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))

    def answer(query: dns.message.Message) -> dns.message.Message | None:
        question = query.question[0]
        name, kind = question.name.to_text(), dns.rdatatype.to_text(question.rdtype)
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.RA
        if name.startswith("silent"):
            return None
        for word, code in (("broken", "SERVFAIL"), ("refused", "REFUSED"), ("gone", "NXDOMAIN")):
            if name.startswith(word):
                reply.set_rcode(dns.rcode.from_text(code))
                return reply
        if name.startswith("loop"):
            reply.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", name))
        if records := ZONE.get((name, kind)):
            reply.answer.append(dns.rrset.from_text(name, 300, "IN", kind, *records))
        return reply

    def serve() -> None:
        with suppress(OSError):
            while True:
                data, client = sock.recvfrom(4096)
                if not data:
                    return  # shut down
                if (reply := answer(dns.message.from_wire(data))) is not None:
                    sock.sendto(reply.to_wire(), client)

    threading.Thread(target=serve, daemon=True).start()
    yield sock.getsockname()[1]
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()


@pytest.fixture
def ask_dns(asker, name_server):
    def ask(name: str, kind: str = "A", expect: dict | None = None, timeout_s: float = 2.0):
        return asker("dns", {"name": name, "type": kind, "server": "127.0.0.1", "port": name_server}, expect, timeout_s)

    return ask


def test_the_records_of_a_name(ask_dns):
    ask = ask_dns("shop.example")
    ask()
    reading = ask()
    assert reading.status is Status.UP
    assert reading.message == "192.0.2.1, 192.0.2.2"
    assert reading.metrics == {"records": 2, "ttl_s": 300, "records_changed": 0}
    assert reading.phases.dns_s > 0


@pytest.mark.parametrize(
    ("kind", "answer"), [("AAAA", "2001:db8::1"), ("MX", "10 mail.shop.example"), ("TXT", "v=spf1 -all")]
)
def test_expected_records(ask_dns, kind, answer):
    assert ask_dns("shop.example", kind, {"answers": [answer]})().status is Status.UP


@pytest.mark.parametrize(
    ("expect", "words"),
    [
        ({"answers": ["192.0.2.9"]}, "missing 192.0.2.9"),
        ({"answers": ["192.0.2.1"], "only": True}, "unexpected 192.0.2.2"),
    ],
)
def test_other_records_are_a_mismatch(ask_dns, expect, words):
    reading = ask_dns("shop.example", "A", expect)()
    assert (reading.status, reading.reason) == (Status.DOWN, Reason.BODY_MISMATCH)
    assert words in reading.message


def test_changed_records_are_noticed(ask_dns, monkeypatch):
    ask = ask_dns("shop.example")
    assert ask().facts == {"DNS answer": "192.0.2.1, 192.0.2.2"}
    monkeypatch.setitem(ZONE, ("shop.example.", "A"), ["192.0.2.99"])
    reading = ask()
    assert reading.metrics["records_changed"] == 1
    assert reading.facts == {"DNS answer": "192.0.2.99"}


def test_answer_that_is_refused_is_a_fact_too(ask_dns):
    reading = ask_dns("shop.example", "A", {"answers": ["192.0.2.9"]})()
    assert reading.status is Status.DOWN
    assert reading.facts == {"DNS answer": "192.0.2.1, 192.0.2.2"}


def test_long_answers_that_differ_at_their_end_are_different_facts(ask_dns, monkeypatch):
    long = [f"192.0.2.{n}" for n in range(60)]
    monkeypatch.setitem(ZONE, ("shop.example.", "A"), [*long, "192.0.2.98"])
    one = ask_dns("shop.example")().facts["DNS answer"]
    monkeypatch.setitem(ZONE, ("shop.example.", "A"), [*long, "192.0.2.99"])
    assert ask_dns("shop.example")().facts["DNS answer"] != one
    assert len(one) < 500


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gone.example", Reason.DNS_NXDOMAIN),
        ("empty.example", Reason.DNS_NXDOMAIN),
        ("broken.example", Reason.DNS_SERVFAIL),
        ("refused.example", Reason.DNS_SERVFAIL),
        ("loop.example", Reason.DNS_SERVFAIL),
        ("silent.example", Reason.DNS_TIMEOUT),
    ],
)
def test_every_way_of_failing_has_its_reason(ask_dns, name, reason):
    reading = ask_dns(name, timeout_s=0.6)()
    assert (reading.status, reading.reason) == (Status.DOWN, reason)
    assert name in reading.message


def test_refused_says_so(ask_dns):
    assert "REFUSED" in ask_dns("refused.example", timeout_s=0.6)().message


def test_a_closed_port_is_a_dns_reason(asker, closed_port):
    ask = asker("dns", {"name": "shop.example", "server": "127.0.0.1", "port": closed_port}, timeout_s=0.6)
    assert ask().reason in {Reason.DNS_TIMEOUT, Reason.DNS_SERVFAIL}


@pytest.fixture
def system_resolver(name_server, monkeypatch):
    found = dns.resolver.Resolver(configure=False)
    found.nameservers, found.port = ["127.0.0.1"], name_server
    monkeypatch.setattr(lookup, "_system_resolver", lambda: found)


@pytest.mark.usefixtures("system_resolver")
def test_addresses_of_both_families_alternate():
    first, *others = resolve("shop.example", Deadline(2))
    assert (first, sorted(others)) == ("2001:db8::1", ["192.0.2.1", "192.0.2.2"])
    assert resolve("four.example", Deadline(2)) == ("192.0.2.4",)


@pytest.mark.usefixtures("system_resolver")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gone.example", Reason.DNS_NXDOMAIN),
        ("empty.example", Reason.DNS_NXDOMAIN),
        ("broken.example", Reason.DNS_SERVFAIL),
        ("refused.example", Reason.DNS_SERVFAIL),
        ("loop.example", Reason.DNS_SERVFAIL),
        ("silent.example", Reason.DNS_TIMEOUT),
    ],
)
@pytest.mark.parametrize(
    "kind",
    [("tcp", "tcp://{}:1"), ("redis", "redis://{}"), ("mysql", "mysql://{}"), ("postgresql", "postgresql://{}/x")],
)
def test_every_kind_tells_why_a_name_has_no_address(asker, kind, name, reason):
    started = time.monotonic()
    reading = asker(kind[0], {"url": kind[1].format(name)}, timeout_s=0.6)()
    assert reading.reason is reason
    assert time.monotonic() - started < 1.0


def test_literals_hosts_and_special_names_ask_nobody(tmp_path, monkeypatch):
    hosts = tmp_path / "hosts"
    hosts.write_text("192.0.2.7 Shop.internal shop # ours\n::7 shop.internal\nnonsense line\n")
    monkeypatch.setattr(lookup, "HOSTS_FILE", hosts)
    lookup._hosts.cache_clear()
    assert resolve("192.0.2.1", Deadline(1)) == ("192.0.2.1",)
    assert resolve("::1", Deadline(1)) == ("::1",)
    assert resolve("shop.internal", Deadline(1)) == ("192.0.2.7", "::7")
    assert resolve("localhost", Deadline(1)) == ("127.0.0.1", "::1")
    with pytest.raises(Failure) as caught:
        resolve("x.invalid", Deadline(1))
    assert caught.value.reason is Reason.DNS_NXDOMAIN
    lookup._hosts.cache_clear()


@pytest.mark.parametrize("server", ["https://192.0.2.53/dns-query", "", "169.254.169.254:80", "ns example"])
def test_a_server_that_is_no_host_is_refused(asker, server):
    with pytest.raises(ValidationError, match="an address or a name"):
        asker("dns", {"name": "shop.example", "server": server})


def test_a_server_may_have_a_name(asker, name_server, monkeypatch):
    monkeypatch.setattr(lookup, "resolve", lambda host, deadline: ("127.0.0.1",) if host == "ns.example" else ())
    assert asker("dns", {"name": "shop.example", "server": "ns.example", "port": name_server})().status is Status.UP


def test_the_name_of_a_server_does_not_lead_past_the_guard(asker, monkeypatch):
    monkeypatch.setattr(lookup, "resolve", lambda host, deadline: ("127.0.0.1", "169.254.169.254"))
    reading = asker("dns", {"name": "shop.example", "server": "ns.example", "port": 80, "tcp": True})()
    assert reading.reason is Reason.SSRF_BLOCKED
