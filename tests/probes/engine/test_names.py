"""How a check's name becomes an address: asked for in time, guarded and pinned, of the family that is wanted."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from probes.probe import Reading
from probes.result import Reason, Status

if TYPE_CHECKING:
    from conftest import Asker, Names

Asking = Callable[..., Reading]
METADATA = "169.254.169.254"


def test_international_name_is_asked_and_sent_as_punycode(
    names: "Names", asking: "Asker", servers: Any, read_head: Any
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
    names: "Names", asking: "Asker", servers: Any, answering: Any
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
def test_name_that_cannot_be_had_has_its_reason_in_time(
    names: "Names", asking: "Asker", zone: Any, reason: Reason
) -> None:
    names.zone["shop.example"] = zone
    started = time.monotonic()
    reading = asking("http://shop.example:9/", timeout_s=0.6)
    assert (reading.status, reading.reason) == (Status.DOWN, reason)
    assert time.monotonic() - started < 0.9


def test_silent_name_server_holds_up_nobody_else_and_starts_no_thread(
    names: "Names", asking: "Asker", servers: Any, answering: Any
) -> None:
    names.zone.update({f"dead{n}.example": "silence" for n in range(200)}, alive=["127.0.0.1"])
    port = servers.start(answering())
    threads = threading.active_count()
    hung: list[Reading] = []
    for number in range(200):
        asking.begin(f"http://dead{number}.example:9/", hung, timeout_s=3.0)
    well: list[Reading] = []
    for _ in range(10):
        asking.begin(f"http://127.0.0.1:{port}/", well, timeout_s=1.0)
    asking.wait(well, 10, within_s=2)
    assert {reading.status for reading in well} == {Status.UP}
    assert not hung
    # Threads of the test's own server come and go; 200 waiting lookups would show.
    assert threading.active_count() - threads < 50
    asking.wait(hung, 200)
    assert {reading.reason for reading in hung} == {Reason.DNS_TIMEOUT}


# The guard


def test_rebinding_between_two_lookups_meets_the_pinned_address(
    names: "Names", asking: "Asker", servers: Any, answering: Any
) -> None:
    names.zone["rebind.example"] = lambda before: ["127.0.0.1"] if before == 0 else [METADATA]
    url = f"http://rebind.example:{servers.start(answering())}/"
    assert asking(url).status is Status.UP
    assert names.asked.count("rebind.example A") == 1  # nobody looked it up again to connect
    assert asking(url).reason is Reason.SSRF_BLOCKED
    assert servers.accepted == 1


def test_answer_that_mixes_good_and_metadata_is_refused(
    names: "Names", asking: "Asker", servers: Any, answering: Any
) -> None:
    for mixed in (["127.0.0.1", METADATA], [METADATA, "127.0.0.1"], ["127.0.0.1", "64:ff9b::a9fe:a9fe"]):
        names.zone["mixed.example"] = mixed
        assert asking(f"http://mixed.example:{servers.start(answering())}/").reason is Reason.SSRF_BLOCKED
    assert servers.accepted == 0


def test_redirect_to_a_name_that_leads_to_metadata_is_refused(
    names: "Names", asking: "Asker", servers: Any, answering: Any
) -> None:
    names.zone["inside.example"] = [METADATA]
    port = servers.start(answering(status="302 Found", headers="Location: http://inside.example/latest/\r\n"))
    reading = asking(f"http://127.0.0.1:{port}/")
    assert reading.reason is Reason.SSRF_BLOCKED
    assert "inside.example" in reading.message


def test_link_local_address_that_is_named_exactly_is_tried(ask: Asking) -> None:
    assert ask("http://[fe80::1]:9/").reason is Reason.SSRF_BLOCKED
    reading = ask("http://[fe80::1]:9/", timeout_s=0.5, allow_addresses=["fe80::1"])
    assert reading.reason in {Reason.NET_UNREACHABLE, Reason.TCP_REFUSED, Reason.TCP_TIMEOUT}


# Families


@contextlib.contextmanager
def black_hole(family: socket.AddressFamily, address: str, port: int) -> Iterator[None]:
    """Drops every SYN to a port: a listener with a full backlog, as a firewall that answers nothing."""
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(0)
        fillers = [socket.socket(family) for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex((address, port))
        try:
            yield
        finally:
            for filler in fillers:
                filler.close()


def six() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on loopback")


def test_ipv6_black_hole_costs_a_moment_and_the_family_is_known(
    names: "Names", asking: "Asker", servers: Any, answering: Any
) -> None:
    six()
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


def test_family_that_is_asked_for_is_used(names: "Names", asking: "Asker") -> None:
    six()
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
