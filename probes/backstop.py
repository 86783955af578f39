"""What must not outlive its deadline: many things, few timers, kept in buckets of a hundredth of a second."""

from functools import partial
from typing import Protocol

from probes.loop import Loop

_PER_SECOND = 100


class Expiring(Protocol):
    """Something with a deadline."""

    def expire(self) -> None:
        """The deadline has passed."""


class Backstops:
    """Calls `expire` of what stays with it `grace_s` to `grace_s` + 10 ms after its deadline."""

    def __init__(self, loop: Loop, grace_s: float) -> None:
        self._loop = loop
        self._grace_s = grace_s
        self._buckets: dict[int, set[Expiring]] = {}

    def add(self, end_s: float, thing: Expiring) -> set[Expiring]:
        """Watch over a thing until `end_s` of the loop's clock: as long as it is in the set that is returned."""
        key = int(end_s * _PER_SECOND)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = set()
            self._loop.call_at((key + 1) / _PER_SECOND + self._grace_s, partial(self._ring, key))
        bucket.add(thing)
        return bucket

    def _ring(self, key: int) -> None:
        for thing in list(self._buckets.pop(key, ())):
            thing.expire()
