"""How a process that lasts gives back what its start needed, stays small, and is not held up by collecting garbage."""

import ctypes
import gc
import logging
import resource
from pathlib import Path

from probes.loop import Loop

log = logging.getLogger(__name__)

_M_ARENA_MAX = -8  # of glibc's malloc.h
_ARENAS = 2
_SWEEP_S = 0.5
_MIDDLE_EVERY, _FULL_EVERY = 2, 600  # sweeps: 1 s, 5 minutes


def resident_bytes() -> int:
    """Memory of this process that lies in RAM now. Raises OSError where there is no /proc."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def give_back() -> None:
    """Collect garbage and return free memory to the system; no more than two heaps for all threads from now on.

    Each thread that allocates would get a heap of its own, which keeps its peak for good. Where the C library is not
    glibc, only the garbage is collected.
    """
    gc.collect()
    try:
        c = ctypes.CDLL(None)
        c.mallopt(_M_ARENA_MAX, _ARENAS)
        c.malloc_trim(0)
    except (OSError, AttributeError):
        log.debug("this C library gives no memory back")


class Sweeper:
    """Collects cyclic garbage by the clock, in the loop's thread.

    Python does so by what was allocated less what was freed. Where thousands of conversations come and go these are
    even, and the "young" objects are all there are when at last it looks: 100,000 of 4,000 conversations, 40 ms in
    which no timeout is heard. Half a second of them takes 1 ms. Python's own turn stays, far off, for floods.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._sweeps = 0

    def start(self) -> None:
        """What stands now is for good: no collection need walk it."""
        gc.freeze()
        gc.set_threshold(100_000, 50, 50)
        self._loop.call_later(_SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        self._sweeps += 1
        gc.collect(2 if self._sweeps % _FULL_EVERY == 0 else 1 if self._sweeps % _MIDDLE_EVERY == 0 else 0)
        self._loop.call_later(_SWEEP_S, self._sweep)
