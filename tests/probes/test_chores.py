"""Chores keep their pace, survive their errors and never stop one another; the clock is watched."""

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from probes import clockwatch
from probes.chores import Chore, Chores
from probes.clockwatch import ClockWatch


def wait_for(done: Callable[[], bool], within_s: float = 3) -> None:
    until = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < until, "not done in time"
        time.sleep(0.01)


def test_each_chore_has_its_own_pace() -> None:
    often, seldom = list[float](), list[float]()
    chores = Chores(
        "test", Chore("often", 0.05, lambda: often.append(0)), Chore("seldom", 60.0, lambda: seldom.append(0))
    )
    chores.start()
    wait_for(lambda: len(often) >= 5)
    chores.stop()
    assert len(seldom) == 1


def test_failing_chore_is_told_once_and_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    done: list[int] = []
    broken = threading.Event()
    broken.set()

    def fail() -> None:
        if broken.is_set():
            raise OSError("store is away")

    chores = Chores("test", Chore("reading", 0.02, fail), Chore("other", 0.02, lambda: done.append(0)))
    chores.start()
    wait_for(lambda: len(done) >= 5)
    assert chores.troubles == ["reading fails: store is away"]
    assert len(caplog.records) == 1
    broken.clear()
    wait_for(lambda: chores.troubles == [])
    chores.stop()


def test_chore_can_be_hurried_and_something_done_once() -> None:
    done: list[str] = []
    chores = Chores("test", Chore("slow", 60.0, lambda: done.append("slow")))
    chores.start()
    wait_for(lambda: done == ["slow"])
    chores.hurry("slow")
    wait_for(lambda: done == ["slow", "slow"])
    chores.do_once(lambda: done.append("once"))
    wait_for(lambda: done[-1] == "once")
    chores.stop()


@pytest.mark.parametrize(
    ("wall_s", "mono_s", "jump_s"),
    [(10, 10, 0), (3610, 10, 3600), (-3590, 10, -3600), (1810, 10, 1800), (10.001, 10, 0), (11, 10, 0)],
    ids=["steady", "an hour on", "an hour back", "slept", "slewed", "a second"],
)
def test_jumps_of_the_clock_are_seen(
    monkeypatch: pytest.MonkeyPatch, wall_s: float, mono_s: float, jump_s: float
) -> None:
    clock = SimpleNamespace(wall=1_700_000_000.0, mono=50.0)
    fake = SimpleNamespace(time=lambda: clock.wall, monotonic=lambda: clock.mono)
    monkeypatch.setattr(clockwatch, "time", fake)
    watch = ClockWatch()
    clock.wall += wall_s
    clock.mono += mono_s
    assert watch.look() == pytest.approx(jump_s)
    assert watch.look() == 0
