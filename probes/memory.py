"""How a process that lasts gives back what its start needed, and stays small with several threads."""

import ctypes
import gc
import logging

log = logging.getLogger(__name__)

_M_ARENA_MAX = -8  # of glibc's malloc.h
_ARENAS = 2


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
