"""Is the loop held up, and by what? A thread that looks at another one's stack when a turn takes too long."""

import logging
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable

from probes.loop import Loop

log = logging.getLogger(__name__)

_TOO_LONG_S = 1.0
_TELL_FOR_S = 3600.0
_DEEPEST = 30


class Watchdog:
    """Watches the loop of the thread that makes it. It cannot free a loop that is held up; it says who holds it."""

    def __init__(self, loop: Loop, name_check: Callable[[], str], too_long_s: float = _TOO_LONG_S) -> None:
        self._loop, self._name_check, self._too_long_s = loop, name_check, too_long_s
        self._look_every_s = too_long_s / 2
        self._thread_id = threading.get_ident()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="watchdog", daemon=True)
        self._cpu_s: deque[float] = deque(maxlen=3)
        self._last = ""
        self._told_s = 0.0
        self.times = 0
        """How often the loop was held up."""

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(2)

    @property
    def trouble(self) -> str:
        """What held the loop up within the last hour, or does now, for people; empty when nothing did."""
        return self._last if time.monotonic() - self._told_s < _TELL_FOR_S else ""

    def _work(self) -> None:
        clock = time.pthread_getcpuclockid(self._thread_id)
        while not self._over.wait(self._look_every_s):
            self._cpu_s.append(time.clock_gettime(clock))
            since_s = self._loop.busy_since_s
            if since_s and time.monotonic() - since_s > self._too_long_s:
                self._tell(since_s, clock)

    def _tell(self, since_s: float, clock: int) -> None:
        """Once a turn with the stack, then wait for its end and say how long it was."""
        check_id = self._name_check()
        by = f"check {check_id}" if check_id else "work of our own"
        frame = sys._current_frames().get(self._thread_id)
        stack = "".join(traceback.format_stack(frame)[-_DEEPEST:]) if frame is not None else ""
        del frame
        self.times += 1
        log.error("the loop is held up by %s; its stack:\n%s", by, stack)
        while self._loop.busy_since_s == since_s and not self._over.wait(self._look_every_s):
            self._note(f"The loop is held up by {by}, for {time.monotonic() - since_s:.0f} s now; no check runs.")
        # Little of it computing: it waited for something, or the machine had no processor for us.
        held_s, cpu_s = time.monotonic() - since_s, time.clock_gettime(clock) - self._cpu_s[0]
        self._cpu_s.clear()
        log.error("the loop was held up by %s for %.1f s, %.1f s of it computing", by, held_s, cpu_s)
        self._note(
            f"The loop was held up by {by} for {held_s:.1f} s, {cpu_s:.1f} s of it computing; the log has its stack."
        )

    def _note(self, text: str) -> None:
        self._last, self._told_s = text, time.monotonic()
