"""Blocking kinds in threads: bounded, and one that hangs is answered for, counted and replaced."""

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


def check(script: Callable[[Ask], Reading], timeout_s: float = 1.0) -> Check:
    return Check("shop/db/x", "shop", "db", "x", Tier.DATABASE, Scripted(script), 10, timeout_s, 5, 3, 2)


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
