"""Blocking kinds in threads: bounded, and one that hangs is answered for, counted and replaced."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from probes.loop import Loop
from probes.pool import Pool
from probes.probe import Ask, BlockingProbe, Deadline, Expect, Failure, Options, Reading
from probes.result import Reason, Status
from probes.target import Check, Tier


class Scripted(BlockingProbe):
    """A kind whose run is the function it is given."""

    kind = "scripted"

    def __init__(self, script: Callable[[Ask], Reading]) -> None:
        super().__init__(Options(), Expect())
        self.run = script  # type: ignore[method-assign]


class Other(Scripted):
    """Another kind."""

    kind = "other"


def check(
    script: Callable[[Ask], Reading], timeout_s: float = 1.0, kind: type[Scripted] = Scripted, interval_s: float = 10
) -> Check:
    return Check("shop/db/x", "shop", "db", "x", Tier.DATABASE, kind(script), interval_s, timeout_s, 5, 3, 2)


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


def submit(pool: Pool, one: Check, into: list[Reading]) -> None:
    pool.submit(one, lambda: Ask(Deadline(one.timeout_s), 0, 10), into.append)


def turn_until(loop: Loop, done: Callable[[], bool], within_s: float = 5) -> None:
    until = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < until, "not done in time"
        loop.turn(0.05)


def test_readings_come_back_in_the_loop_s_thread(loop: Loop) -> None:
    pool, readings, threads = Pool(loop, 4), list[Reading](), set[int]()

    def note(reading: Reading) -> None:
        readings.append(reading)
        threads.add(threading.get_ident())

    for _ in range(10):
        one = check(lambda ask: Reading(metrics={"thread": float(threading.get_ident())}))
        pool.submit(one, lambda: Ask(Deadline(1), 0, 10), note)
    turn_until(loop, lambda: len(readings) == 10)
    pool.close()
    assert threads == {threading.get_ident()}
    assert all(reading.duration_s is not None for reading in readings)
    assert pool.in_flight == 0


def test_threads_are_bounded(loop: Loop) -> None:
    pool, readings = Pool(loop, 3), list[Reading]()
    at_work, most = [0], [0]
    lock = threading.Lock()

    def work(ask: Ask) -> Reading:
        with lock:
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
        time.sleep(0.02)
        with lock:
            at_work[0] -= 1
        return Reading()

    for _ in range(30):
        submit(pool, check(work), readings)
    turn_until(loop, lambda: len(readings) == 30)
    pool.close()
    assert most[0] == 3


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (Failure(Reason.TCP_REFUSED, "no"), Status.DOWN, Reason.TCP_REFUSED),
        (Failure(Reason.SELF_NET, "no"), Status.UNKNOWN, Reason.SELF_NET),
        (ZeroDivisionError(), Status.UNKNOWN, Reason.INTERNAL),
        (SystemExit(1), Status.UNKNOWN, Reason.INTERNAL),
        (KeyboardInterrupt(), Status.UNKNOWN, Reason.INTERNAL),
    ],
    ids=repr,
)
def test_whatever_a_kind_raises_becomes_a_reading(
    loop: Loop, error: BaseException, status: Status, reason: Reason
) -> None:
    pool, readings = Pool(loop, 1), list[Reading]()

    def fail(ask: Ask) -> Reading:
        raise error

    submit(pool, check(fail), readings)
    submit(pool, check(lambda ask: Reading()), readings)
    turn_until(loop, lambda: len(readings) == 2)
    pool.close()
    assert (readings[0].status, readings[0].reason) == (status, reason)
    assert readings[1].status is Status.UP


def test_stuck_thread_is_answered_for_and_replaced(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    pool, readings = Pool(loop, 1), list[Reading]()
    release = threading.Event()

    def hang(ask: Ask) -> Reading:
        release.wait(10)
        return Reading(message="too late")

    started = time.monotonic()
    submit(pool, check(hang, timeout_s=0.2), readings)
    submit(pool, check(lambda ask: Reading(message="next")), readings)
    turn_until(loop, lambda: len(readings) == 2)
    assert time.monotonic() - started < 1.5
    assert [reading.reason for reading in readings] == [Reason.DEADLINE, None]
    assert (pool.stuck, pool.in_flight) == (1, 0)
    assert "release.wait(10)" in caplog.text
    release.set()
    turn_until(loop, lambda: pool.stuck == 0)
    assert len(readings) == 2
    submit(pool, check(lambda ask: Reading(message="after")), readings)
    turn_until(loop, lambda: len(readings) == 3)
    pool.close()
    turn_until(loop, lambda: not any(t.name.startswith("probe-") for t in threading.enumerate()))


def test_driver_that_always_hangs_does_not_fill_the_machine_with_threads(loop: Loop) -> None:
    others = {one for one in threading.enumerate() if one.name.startswith("probe-")}
    pool, readings = Pool(loop, 2), list[Reading]()
    release = threading.Event()

    def hang(ask: Ask) -> Reading:
        release.wait(20)
        return Reading()

    for _ in range(30):
        submit(pool, check(hang, timeout_s=0.05), readings)
    turn_until(loop, lambda: len(readings) >= 8, within_s=10)
    for _ in range(20):
        loop.turn(0.1)
    ours = {one for one in threading.enumerate() if one.name.startswith("probe-")} - others
    assert len(ours) <= 2 + 9
    release.set()
    turn_until(loop, lambda: len(readings) == 30)
    pool.close()


def test_too_late_is_said_instead_of_asked(loop: Loop) -> None:
    pool, readings = Pool(loop, 1), list[Reading]()
    pool.submit(check(lambda ask: Reading()), lambda: Reading(Status.UNKNOWN, Reason.LATE), readings.append)
    turn_until(loop, lambda: len(readings) == 1)
    pool.close()
    assert readings[0].reason is Reason.LATE


@pytest.fixture
def silent() -> Iterator[int]:
    """A peer that accepts and never says a word; it hangs up at the end, so that whoever waits comes back."""
    connections: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connections.append(listener.accept()[0])

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    for connection in connections:
        connection.close()


def mysql_without_timeouts(port: int) -> None:
    import pymysql

    pymysql.connect(host="127.0.0.1", port=port, user="x", password="x")  # waits for the greeting for ever


def redis_without_timeouts(port: int) -> None:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    with redis.Redis(port=port, retry=Retry(NoBackoff(), 0), socket_timeout=None) as client:
        client.ping()


def postgresql_without_timeouts(port: int) -> None:
    import psycopg

    psycopg.connect(f"host=127.0.0.1 port={port} user=x sslmode=disable gssencmode=disable connect_timeout=0")


@pytest.mark.parametrize(
    "connect",
    [mysql_without_timeouts, redis_without_timeouts, postgresql_without_timeouts],
    ids=lambda one: one.__name__,
)
def test_real_driver_that_never_comes_back_harms_nobody(
    loop: Loop, silent: int, connect: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    def hang(ask: Ask) -> Reading:
        connect(silent)
        return Reading()

    pool, stuck, others = Pool(loop, 2), list[Reading](), list[Reading]()
    for _ in range(4):
        submit(pool, check(hang, timeout_s=0.3), stuck)
    for _ in range(4):
        submit(pool, check(lambda ask: Reading(), kind=Other), others)
    started = time.monotonic()
    turn_until(loop, lambda: len(others) == 4)
    assert time.monotonic() - started < 2.5
    turn_until(loop, lambda: len(stuck) == 4)
    assert {reading.reason for reading in stuck} == {Reason.DEADLINE}
    assert pool.stuck == 4
    assert connect.__name__ in caplog.text
    submit(pool, check(lambda ask: Reading()), others)
    turn_until(loop, lambda: len(others) == 5, within_s=2)
    pool.close()


def test_a_kind_that_hangs_leaves_threads_to_the_others(loop: Loop) -> None:
    pool, slow, fast = Pool(loop, 4), list[Reading](), list[Reading]()
    release = threading.Event()

    def hang(ask: Ask) -> Reading:
        release.wait(5)
        return Reading()

    for _ in range(50):
        submit(pool, check(hang, timeout_s=4), slow)
    assert pool.waiting() == {"scripted": 47}
    started = time.monotonic()
    for _ in range(50):
        submit(pool, check(lambda ask: Reading(), kind=Other), fast)
    turn_until(loop, lambda: len(fast) == 50, within_s=2)
    assert time.monotonic() - started < 2
    assert slow == []
    release.set()
    turn_until(loop, lambda: len(slow) == 50)
    assert pool.waiting() == {}
    pool.close()


def test_free_thread_goes_to_the_kind_with_the_fewest(loop: Loop) -> None:
    pool, order = Pool(loop, 1), list[str]()
    gate = threading.Event()

    def note(name: str) -> Callable[[Ask], Reading]:
        def run(ask: Ask) -> Reading:
            gate.wait(5)
            order.append(name)
            return Reading()

        return run

    done = list[Reading]()
    for _ in range(4):
        submit(pool, check(note("many")), done)
    submit(pool, check(note("one"), kind=Other), done)
    gate.set()
    turn_until(loop, lambda: len(done) == 5)
    pool.close()
    assert order.index("one") < 4  # not behind all of the others
    assert order.count("many") == 4


def test_run_that_no_thread_takes_in_time_is_answered(loop: Loop) -> None:
    pool, readings, late = Pool(loop, 1), list[Reading](), list[Reading]()
    release = threading.Event()

    def hang(ask: Ask) -> Reading:
        release.wait(10)
        return Reading()

    submit(pool, check(hang, timeout_s=8), readings)
    waiting = check(lambda ask: Reading(), interval_s=1)
    pool.submit(waiting, lambda: Reading(Status.UNKNOWN, Reason.LATE), late.append)
    turn_until(loop, lambda: len(late) == 1)
    assert late[0].reason is Reason.LATE
    assert pool.in_flight == 1
    release.set()
    turn_until(loop, lambda: pool.in_flight == 0)
    pool.close()


def test_machine_without_threads_left_delays_and_does_not_break(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    pool, readings = Pool(loop, 2), list[Reading]()

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        submit(pool, check(lambda ask: Reading()), readings)
    assert pool.in_flight == 1
    turn_until(loop, lambda: len(readings) == 1)
    pool.close()


def test_thread_that_comes_back_after_the_end_rings_no_closed_bell() -> None:
    others = {one for one in threading.enumerate() if one.name.startswith("probe-")}
    loop = Loop()
    pool, release = Pool(loop, 1), threading.Event()

    def hang(ask: Ask) -> Reading:
        release.wait(10)
        return Reading()

    submit(pool, check(hang, timeout_s=0.1), [])
    turn_until(loop, lambda: pool.stuck == 1)
    pool.close()
    loop.close()
    release.set()
    until = time.monotonic() + 5
    while any(one.name.startswith("probe-") for one in set(threading.enumerate()) - others):
        assert time.monotonic() < until
        time.sleep(0.02)
