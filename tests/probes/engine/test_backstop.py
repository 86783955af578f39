"""Deadlines in buckets."""

import time

from probes.backstop import Backstops
from probes.loop import Loop


class Thing:
    """Notes when it was told."""

    def __init__(self, loop: Loop) -> None:
        self.loop, self.at_s = loop, 0.0

    def expire(self) -> None:
        self.at_s = self.loop.time()


def test_each_is_told_soon_after_its_deadline_and_never_before() -> None:
    loop = Loop()
    backstops = Backstops(loop, 0.01)
    began = loop.time()
    things = [(began + n * 0.007, Thing(loop)) for n in range(20)]
    watched = [backstops.add(end_s, thing) for end_s, thing in things]
    _, gone = things.pop()
    watched.pop().discard(gone)
    until = time.monotonic() + 2
    while not all(thing.at_s for _, thing in things) and time.monotonic() < until:
        loop.turn(0.05)
    assert all(thing.at_s >= end_s + 0.01 for end_s, thing in things)
    assert max(thing.at_s - end_s for end_s, thing in things) < 0.5
    assert gone.at_s == 0
    assert not backstops._buckets or set(map(len, backstops._buckets.values())) == {0}
    loop.close()
