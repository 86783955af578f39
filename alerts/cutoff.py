"""One total deadline over a conversation whose library only knows a timeout per read."""

import os
import socket
import threading
from types import TracebackType


class Cutoff:
    """Shuts down the sockets it watches when the time is over, so that a peer that drips bytes cannot hold us.

    It works on a duplicate of the descriptor: TLS wrapping takes the original from whoever opened it.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.expired = False
        self._lock = threading.Lock()
        self._watched: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> "Cutoff":
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            for watched in self._watched:
                watched.close()
            self._watched.clear()

    def watch(self, connected: socket.socket) -> None:
        """Cut this one too."""
        with self._lock:
            self._watched.append(socket.socket(fileno=os.dup(connected.fileno())))
        if self.expired:
            self._cut()

    def _cut(self) -> None:
        with self._lock:
            self.expired = True
            for watched in self._watched:
                try:
                    watched.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # the peer was faster
