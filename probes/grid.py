"""Where do the slots of a check lie? On a grid of its interval, shifted by a stable hash of its id. No clock, no state.

A worker that wakes for each check alone pays as much for waking as for asking: system calls, cold caches, several turns
of the loop. So offsets are rounded to a common grain, as coarse as brings about a dozen conversations together, two
dozen where that is four times a second or less: fewer would gain little, more would delay one another and be seen in
what they measure. The grain follows from the estate alone, so it is the same in every process and after a restart.
Blocking kinds keep their own millisecond: a dozen threads that start at once would measure each other.
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import NamedTuple

from probes.probe import BlockingProbe
from probes.target import Check

_GRAINS_MS = (500, 250, 125, 50, 25, 10, 5)
_TOGETHER, _TOGETHER_SELDOM = 12.5, 25.0
_SELDOM_MS = 250
_FINEST_SPREAD = 20
"""A check can start at so many places in its interval at least, however coarse the grain."""


class Grid(NamedTuple):
    """The slots of a check; kept in its plan, for the hash of an id costs as much as all else of planning a run."""

    interval_ms: int
    offset_ms: int

    @classmethod
    def of(cls, check: Check, grain_ms: int) -> "Grid":
        """The grid of a check in an estate of this grain."""
        interval_ms = max(1, round(check.interval_s * 1000))
        offset = offset_ms(check.id, interval_ms)
        return cls(interval_ms, offset - offset % _own_grain_ms(check, interval_ms, grain_ms))

    def next_ms(self, now_ms: int) -> int:
        """The first slot that is later than now."""
        interval_ms, offset_ms = self
        return now_ms + interval_ms - (now_ms - offset_ms) % interval_ms


def offset_ms(check_id: str, interval_ms: int) -> int:
    """Where in its interval a check starts: a stable hash of its id, so equal in every process and after a restart."""
    return int.from_bytes(blake2b(check_id.encode(), digest_size=8).digest(), "big") % interval_ms


def grain_ms_of(checks: Iterable[Check]) -> int:
    """The coarsest grain at which no more conversations start together than may."""
    rate = sum(1 / check.interval_s for check in checks if not isinstance(check.probe, BlockingProbe))
    return next((grain for grain in _GRAINS_MS if rate * grain / 1000 <= _together(grain)), _GRAINS_MS[-1])


def _together(grain_ms: int) -> float:
    """How many may start at once: they share what waking costs, and may have one server wait for the other."""
    return _TOGETHER_SELDOM if grain_ms >= _SELDOM_MS else _TOGETHER


def _own_grain_ms(check: Check, interval_ms: int, grain_ms: int) -> int:
    """The grain of the estate, or a finer one where that would crowd or shift the slots of a short or odd interval."""
    if isinstance(check.probe, BlockingProbe):
        return 1
    fitting = (
        own for own in _GRAINS_MS if own <= grain_ms and interval_ms % own == 0 and interval_ms >= own * _FINEST_SPREAD
    )
    return next(fitting, 1)
