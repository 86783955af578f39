"""A loop that is held up: who holds it is said while it does."""

import logging
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from probes.engine import Engine
from probes.loop import Loop
from probes.probe import Ask, Conversation, ConversationProbe, Deadline, Expect, Options, Reading
from probes.target import Check, Tier
from probes.watchdog import Watchdog


class Computing(ConversationProbe):
    """A conversation that computes for a while instead of asking."""

    kind = "computing"

    def converse(self, ask: Ask) -> Conversation:
        until = time.monotonic() + 0.9
        while time.monotonic() < until:
            sum(range(1000))
        return Reading()
        yield


CHECK = Check("shop/web/busy", "shop", "web", "busy", Tier.WEB, Computing(Options(), Expect()), 10, 5, 5, 3, 2)


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


def turns(loop: Loop, done: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not done():
        assert time.monotonic() < until
        loop.turn(0.05)


def test_conversation_that_holds_the_loop_is_named_with_its_stack(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    engine, readings = Engine(loop), list[Reading]()
    watchdog = Watchdog(loop, lambda: engine.talking, too_long_s=0.2)
    watchdog.start()
    loop.call_soon(lambda: engine.start(CHECK, Ask(Deadline(5), 0, 10), readings.append))
    with caplog.at_level(logging.ERROR):
        turns(loop, lambda: bool(readings) and "was held up" in watchdog.trouble)
    watchdog.stop()
    engine.close()
    assert watchdog.times == 1
    assert "held up by check shop/web/busy" in caplog.text
    assert "in converse" in caplog.text
    assert watchdog.trouble.startswith("The loop was held up by check shop/web/busy for ")
    assert engine.talking == ""


def test_while_it_lasts_it_is_said_that_nothing_runs(loop: Loop) -> None:
    watchdog = Watchdog(loop, str, too_long_s=0.2)
    watchdog.start()
    seen: list[str] = []
    loop.call_soon(lambda: (time.sleep(1.0), seen.append(watchdog.trouble)))
    turns(loop, lambda: bool(seen))
    watchdog.stop()
    assert "held up by work of our own" in seen[0]
    assert "no check runs" in seen[0]


def test_waiting_is_not_being_held_up(loop: Loop) -> None:
    watchdog = Watchdog(loop, str, too_long_s=0.2)
    watchdog.start()
    for _ in range(4):
        loop.turn(0.3)
    watchdog.stop()
    assert (watchdog.times, watchdog.trouble) == (0, "")
    assert not any(one.name == "watchdog" for one in threading.enumerate())
