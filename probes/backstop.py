"""What must not outlive its deadline: many things, few timers, kept in buckets of some milliseconds."""

from functools import partial
from typing import Protocol

from probes.loop import Loop


class Expiring(Protocol):
    """Something with a deadline."""

    def expire(self) -> None:
        """The deadline has passed."""


class Backstops:
    """Calls `expire` of what stays with it `grace_s` after its deadline, and up to the width of a bucket later."""

    def __init__(self, loop: Loop, grace_s: float, per_second: int = 100) -> None:
        self._loop = loop
        self._grace_s, self._per_second = grace_s, per_second
        self._buckets: dict[int, set[Expiring]] = {}

    def add(self, end_s: float, thing: Expiring) -> set[Expiring]:
        """Watch over a thing until `end_s` of the loop's clock: as long as it is in the set that is returned."""
        key = int(end_s * self._per_second)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = set()
            self._loop.call_at((key + 1) / self._per_second + self._grace_s, partial(self._ring, key))
        bucket.add(thing)
        return bucket

    def _ring(self, key: int) -> None:
        for thing in list(self._buckets.pop(key, ())):
            thing.expire()
