"""Conversations on the engine: several requests at once, faults of a kind, many hanging targets, names."""

import gc
import os
import resource
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from probes.engine import Engine
from probes.kinds.http import Expects, HttpProbe, Options
from probes.loop import Loop
from probes.name_service import NameService
from probes.probe import (
    Ask,
    Conversation,
    ConversationProbe,
    Deadline,
    Expect,
    Failure,
    Probe,
    Reading,
    Request,
    Response,
)
from probes.probe import Options as NoOptions
from probes.resolver import Resolver
from probes.result import Reason, Status
from probes.target import Check, Tier

Asking = Callable[..., Reading]


class Scripted(ConversationProbe):
    """A kind whose conversation is the function it is given."""

    kind = "scripted"

    def __init__(self, script: Callable[[Ask], Conversation]) -> None:
        super().__init__(NoOptions(), Expect())
        self.converse = script  # type: ignore[method-assign]


def check_of(probe: Probe, timeout_s: float = 2.0) -> Check:
    return Check("shop/web/x", "shop", "web", "x", Tier.WEB, probe, 10, timeout_s, 5, 3, 2)


def start(engine: Engine, probe: Probe, into: list[Reading], timeout_s: float = 2.0) -> None:
    engine.start(check_of(probe, timeout_s), Ask(Deadline(timeout_s), 0, 10), into.append)


def turn_until(loop: Loop, done: Callable[[], bool], within_s: float = 10) -> None:
    until = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < until, "not done in time"
        loop.turn(0.05)


def test_requests_of_one_yield_run_at_the_same_time(servers: Any, read_head: Any, ask_probe: Asking) -> None:
    def slow(connection: Any) -> None:
        path = read_head(connection).split()[1]
        time.sleep(0.3)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + path)

    port = servers.start(slow)

    def script(ask: Ask) -> Conversation:
        answers: tuple[Response, ...] = yield [Request(f"http://127.0.0.1:{port}/{n}") for n in range(5)]
        return Reading(message=" ".join(answer.body.decode() for answer in answers))

    reading = ask_probe(Scripted(script))
    assert reading.message == "/0 /1 /2 /3 /4"
    assert 0.3 < (reading.duration_s or 0) < 0.8


def test_conversation_goes_on_after_a_failed_request(servers: Any, answering: Any, ask_probe: Asking) -> None:
    port = servers.start(answering(b"second"))

    def script(ask: Ask) -> Conversation:
        first: Response = yield Request("http://169.254.169.254/")
        second: Response = yield Request(f"http://127.0.0.1:{port}/")
        return Reading(message=f"{first.failure.reason if first.failure else None} {second.body.decode()}")

    assert ask_probe(Scripted(script)).message == "ssrf_blocked second"


def test_no_requests_at_all_are_answered_with_nothing(ask_probe: Asking) -> None:
    def script(ask: Ask) -> Conversation:
        answers = yield []
        return Reading(message=repr(answers))

    assert ask_probe(Scripted(script)).message == "()"


def test_asking_on_and_on_ends_at_the_deadline(ask_probe: Asking) -> None:
    def script(ask: Ask) -> Conversation:
        while True:
            yield Request("http://169.254.169.254/")

    reading = ask_probe(Scripted(script), timeout_s=0.3)
    assert reading.reason is Reason.DEADLINE


class Odd(BaseException):
    pass


@pytest.mark.parametrize("error", [ZeroDivisionError("oh"), SystemExit(3), Odd("odd")], ids=repr)
def test_fault_of_a_kind_is_internal_and_unknown(
    ask_probe: Asking, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def script(ask: Ask) -> Conversation:
        yield []
        raise error

    reading = ask_probe(Scripted(script))
    assert (reading.status, reading.reason) == (Status.UNKNOWN, Reason.INTERNAL)
    assert "Traceback" in caplog.text


def test_returning_nothing_is_internal(ask_probe: Asking) -> None:
    def script(ask: Ask) -> Conversation:
        yield []
        return None  # type: ignore[return-value]

    assert ask_probe(Scripted(script)).reason is Reason.INTERNAL


def test_generator_that_refuses_to_end_is_ended(servers: Any, engine: Engine) -> None:
    port = servers.start(lambda c: time.sleep(5))

    def script(ask: Ask) -> Conversation:
        while True:
            try:
                yield Request(f"http://127.0.0.1:{port}/")
            except GeneratorExit:
                yield Request(f"http://127.0.0.1:{port}/")

    readings: list[Reading] = []
    start(engine, Scripted(script), readings)
    engine.loop.turn(0.05)
    engine.cancel_all()
    assert [reading.status for reading in readings] == [Status.UNKNOWN]
    assert engine.in_flight == 0


def test_failure_of_a_kind_is_the_target_s(ask_probe: Asking) -> None:
    def script(ask: Ask) -> Conversation:
        yield []
        raise Failure(Reason.STEP_FAILED, "login failed")

    reading = ask_probe(Scripted(script))
    assert (reading.status, reading.reason, reading.message) == (Status.DOWN, Reason.STEP_FAILED, "login failed")


def test_500_hanging_targets_do_not_delay_a_healthy_one(servers: Any, answering: Any, engine: Engine) -> None:
    hanging, healthy = servers.start(lambda c: time.sleep(8)), servers.start(answering())
    hung: list[Reading] = []
    for _ in range(500):
        start(engine, HttpProbe(Options(url=f"http://127.0.0.1:{hanging}/"), Expects()), hung, timeout_s=3.0)
    well: list[Reading] = []
    for _ in range(20):
        start(engine, HttpProbe(Options(url=f"http://127.0.0.1:{healthy}/"), Expects()), well)
        engine.loop.turn(0.02)
    turn_until(engine.loop, lambda: len(well) == 20)
    assert all(reading.status is Status.UP for reading in well)
    turn_until(engine.loop, lambda: len(hung) == 500)
    assert {reading.reason for reading in hung} <= {Reason.DEADLINE, Reason.TCP_TIMEOUT}
    late = sorted((reading.duration_s or 0) - 3.0 for reading in hung)
    assert late[-1] < 0.25
    assert engine.in_flight == 0


@pytest.mark.slow
def test_nothing_leaks_over_ten_thousand_runs(nginx: Any, loop: Loop) -> None:
    """Up, refused, untrusted, too big, a name that does not exist, a redirect to nowhere and a deadline, in turns."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as silent:
        engine = Engine(loop, Resolver(loop, lambda: NameService(hosts={"gone.example": ("::1",)})))
        ways = [
            (Options(url=nginx.url("plain")), None),
            (Options(url="http://127.0.0.1:1/"), Reason.TCP_REFUSED),
            (Options(url=nginx.url("secure")), Reason.TLS_UNTRUSTED),
            (Options(url=nginx.url("plain"), max_body=1), Reason.BODY_TOO_BIG),
            (Options(url="http://gone.example/", family="ipv4"), Reason.DNS_NXDOMAIN),
            (Options(url=nginx.url("plain", "/nowhere")), Reason.TCP_REFUSED),
            (Options(url=f"http://127.0.0.1:{silent.getsockname()[1]}/"), Reason.DEADLINE),
        ]
        probes = [HttpProbe(options, Expects()) for options, _ in ways]

        def run(count: int) -> set[tuple[int, Reason | None]]:
            heard: list[tuple[int, Reason | None]] = []
            for number in range(count):
                way = number % len(ways) if number % 70 else 6  # a hanging one now and then: each takes its time
                way = way if way != 6 or not number % 70 else 0

                def note(reading: Reading, way: int = way) -> None:
                    heard.append((way, reading.reason))

                timeout_s = 0.3 if way == 6 else 2.0
                engine.start(check_of(probes[way], timeout_s), Ask(Deadline(timeout_s), 0, 10), note)
                while engine.in_flight > 50:
                    loop.turn(0.01)
            turn_until(loop, lambda: len(heard) == count)
            over_s = loop.time() + 2.2
            turn_until(loop, lambda: loop.time() > over_s)  # until the last timer has nothing to hold any more
            gc.collect()
            return set(heard)

        assert run(700) == {(way, reason) for way, (_, reason) in enumerate(ways)}
        files, threads, objects = open_files(), threading.active_count(), len(gc.get_objects())
        run(10_000)
        assert open_files() <= files + 2
        assert threading.active_count() <= threads
        assert len(gc.get_objects()) - objects < 300
        engine.close()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_name_with_one_dead_and_one_good_address_is_up(servers: Any, answering: Any, loop: Loop) -> None:
    # Nothing listens on ::1 at this port: libcurl goes on to the other family by itself.
    port = servers.start(answering())
    names = NameService(hosts={"shop.example": ("::1", "127.0.0.1")})
    engine = Engine(loop, Resolver(loop, lambda: names))
    readings: list[Reading] = []
    start(engine, HttpProbe(Options(url=f"http://shop.example:{port}/"), Expects()), readings)
    turn_until(loop, lambda: bool(readings))
    engine.close()
    assert readings[0].status is Status.UP
    assert readings[0].phases.dns_s is not None


def test_one_blocked_address_among_good_ones_is_refused(servers: Any, answering: Any, loop: Loop) -> None:
    port = servers.start(answering())
    names = NameService(hosts={"rebind.example": ("127.0.0.1", "169.254.169.254")})
    engine = Engine(loop, Resolver(loop, lambda: names))
    readings: list[Reading] = []
    start(engine, HttpProbe(Options(url=f"http://rebind.example:{port}/"), Expects()), readings)
    turn_until(loop, lambda: bool(readings))
    engine.close()
    assert readings[0].reason is Reason.SSRF_BLOCKED
    assert servers.accepted == 0


def test_address_given_keeps_host_header(servers: Any, read_head: Any, ask: Asking) -> None:
    heard: list[bytes] = []

    def listen(connection: Any) -> None:
        heard.append(read_head(connection))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    port = servers.start(listen)
    assert ask("http://shop.example.org/", connect_to=f"127.0.0.1:{port}").status is Status.UP
    assert b"Host: shop.example.org\r\n" in heard[0]


def test_address_given_is_checked_too(ask: Asking) -> None:
    assert ask("http://shop.example.org/", connect_to="169.254.169.254:80").reason is Reason.SSRF_BLOCKED


def test_digest_credentials_are_accepted(servers: Any, read_head: Any, ask: Asking) -> None:
    challenge = b'WWW-Authenticate: Digest realm="shop", nonce="abc", qop="auth", algorithm=MD5\r\n'

    def listen(connection: Any) -> None:
        while head := read_head(connection):
            if b"Authorization: Digest" in head and b'username="ann"' in head:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nin")
            else:
                connection.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 3\r\n" + challenge + b"\r\nout")

    auth = {"scheme": "digest", "username": "ann", "password": "secret"}
    reading = ask(f"http://127.0.0.1:{servers.start(listen)}/", auth=auth, expect={"body": {"contains": "in"}})
    assert reading.status is Status.UP, reading
    assert reading.metrics["size_bytes"] == 2


def test_being_out_of_descriptors_is_our_own_fault(servers: Any, answering: Any, ask: Asking) -> None:
    port = servers.start(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
    assert ask(f"http://127.0.0.1:{port}/").status is Status.UP
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        reading = ask(f"http://127.0.0.1:{port}/")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (reading.status, reading.reason) == (Status.UNKNOWN, Reason.INTERNAL)
