"""When did an answer arrive? The kernel stamps it, so our own lag is no latency of the target."""

import socket
import struct
import time
from contextlib import suppress

_SO_TIMESTAMPNS = 35  # of Linux's asm-generic/socket.h; Python has no name for it
_TIMESPEC = struct.Struct("qq")
NOTES_BYTES = socket.CMSG_SPACE(16)
"""Room that `recvmsg` needs for a stamp."""


def stamp(connection: socket.socket) -> None:
    """Have what arrives stamped. Where a kernel knows no stamps, our own clock has to do."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)


def keep_stamping() -> socket.socket:
    """A socket that has the kernel stamp what arrives for as long as it is open.

    The kernel rewrites its own code when the first such socket comes and the last one goes; not for every run.
    """
    keeper = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stamp(keeper)
    return keeper


def arrival_s(notes: list[tuple[int, int, bytes]], now_s: float) -> float:
    """When the kernel got what has just been read with these notes, on the clock of `now_s`; that where none is known.

    The stamp is of the clock that may be set, so it is only taken back by what that clock says has passed since.
    """
    for _, kind, note in notes:
        if kind == _SO_TIMESTAMPNS and len(note) == _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack(note)
            lag_s: float = time.time() - seconds - nanoseconds / 1e9
            return now_s - max(0.0, lag_s)
    return now_s
