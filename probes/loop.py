"""One thread's event loop: sockets by epoll, timers by a heap, and a door for other threads."""

import heapq
import itertools
import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable

log = logging.getLogger(__name__)

READABLE, WRITABLE, EDGES = select.EPOLLIN, select.EPOLLOUT, select.EPOLLET
"""What to watch for; with EDGES a descriptor is told of once, when it becomes ready."""
_IDLE_WAIT_S = 1.0
_MOST_EVENTS = 512
_MOST_TIMERS = 64
"""In one turn: between them sockets are looked at, whose answers are timed."""

OnEvent = Callable[[int, int], object]
"""Told of a descriptor and the epoll event mask."""


class Timer:
    """A call planned for later; `cancel` makes it never happen."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], object]) -> None:
        self.call: Callable[[], object] | None = call

    def cancel(self) -> None:
        """Forget the call. Harmless when it has already happened."""
        self.call = None


class Loop:
    """Runs callbacks in the thread that calls `run`. Only `call_soon` and `stop` may be called from elsewhere."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, OnEvent] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._inbox: deque[Callable[[], object]] = deque()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._bell, READABLE)
        self._bell_lock = threading.RLock()  # re-entrant: a signal handler may ring while its thread is ringing
        self._stopped = False
        self.wants_turn = False
        """Set by who has something to do in `after_turn` and cannot wait for the next event."""
        self.after_turn: list[Callable[[], object]] = []
        self.busy_since_s = 0.0
        """When the turn under way began to work; 0 while it waits. For whoever watches from another thread."""

    time = staticmethod(time.monotonic)
    """Seconds on the monotonic clock that the timers count."""

    def call_at(self, at_s: float, call: Callable[[], object]) -> Timer:
        """Call once at a monotonic time, or in the next turn if that has passed."""
        timer = Timer(call)
        heapq.heappush(self._timers, (at_s, next(self._order), timer))
        return timer

    def call_later(self, delay_s: float, call: Callable[[], object]) -> Timer:
        """Call once after some seconds."""
        return self.call_at(self.time() + delay_s, call)

    def call_soon(self, call: Callable[[], object]) -> None:
        """Call once in the next turn. Safe from any thread and from a signal handler; nothing happens after `close`."""
        self._inbox.append(call)
        with self._bell_lock:
            if self._bell >= 0:
                os.eventfd_write(self._bell, 1)

    def watch(self, fd: int, events: int, on_event: OnEvent) -> None:
        """Call with descriptor and event mask whenever it is ready; watching it again changes what is watched."""
        if fd in self._watched:
            try:
                self._epoll.modify(fd, events)
            except FileNotFoundError:  # closed and opened again under the same number
                self._epoll.register(fd, events)
        else:
            try:
                self._epoll.register(fd, events)
            except FileExistsError:
                self._epoll.modify(fd, events)
        self._watched[fd] = on_event

    def unwatch(self, fd: int) -> None:
        """Stop watching a descriptor, open or already closed."""
        if self._watched.pop(fd, None) is not None:
            self._unregister(fd)

    def forget(self, fd: int) -> None:
        """Like `unwatch`, for a descriptor that is about to be closed: closing takes it out of epoll by itself.

        One that is not closed after all costs one turn and is taken out then.
        """
        self._watched.pop(fd, None)

    def stop(self) -> None:
        """End `run` after the turn under way."""
        self._stopped = True
        self.call_soon(_nothing)

    def run(self) -> None:
        """Turn until stopped. A callback that raises is logged with its traceback and does not end the loop."""
        self._stopped = False
        while not self._stopped:
            self.turn()

    def turn(self, at_most_s: float = _IDLE_WAIT_S) -> None:
        """Wait for the next thing, at most so long, and do all that is due."""
        ready = self._epoll.poll(self._wait_s(at_most_s), _MOST_EVENTS)
        self.busy_since_s = time.monotonic()
        for fd, events in ready:
            if fd == self._bell:
                os.eventfd_read(self._bell)
            elif (on_event := self._watched.get(fd)) is not None:
                try:
                    on_event(fd, events)
                except Exception:
                    log.exception("a callback of the loop failed")
            else:
                self._unregister(fd)
        for _ in range(len(self._inbox)):
            self._call(self._inbox.popleft())
        self._call_timers()
        for call in self.after_turn:
            self._call(call)
        self.busy_since_s = 0.0

    def close(self) -> None:
        """Release the descriptors."""
        self._epoll.close()
        # A thread that ends later must not ring a descriptor that is somebody else's by then.
        with self._bell_lock:
            os.close(self._bell)
            self._bell = -1

    def _unregister(self, fd: int) -> None:
        try:
            self._epoll.unregister(fd)
        except (FileNotFoundError, OSError, ValueError):
            return

    def _wait_s(self, at_most_s: float) -> float:
        while self._timers and self._timers[0][2].call is None:
            heapq.heappop(self._timers)
        if self._inbox or self.wants_turn:
            return 0.0
        if not self._timers:
            return at_most_s
        return min(at_most_s, max(0.0, self._timers[0][0] - time.monotonic()))

    def _call_timers(self) -> None:
        now = time.monotonic()
        for _ in range(_MOST_TIMERS):
            if not self._timers or self._timers[0][0] > now:
                return
            call = heapq.heappop(self._timers)[2].call
            if call is not None:
                self._call(call)

    def _call(self, call: Callable[..., object], *args: object) -> None:
        try:
            call(*args)
        except Exception:
            log.exception("a callback of the loop failed")


def _nothing() -> None:
    pass
