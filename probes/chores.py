"""A thread for what must happen every so often beside the loop: each chore at its own pace, none stopping another."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

log = logging.getLogger(__name__)

_EARLY = 0.1
"""A chore may come so much of its pace too early, to share a turn with another: waking costs more than most of them."""


@dataclass(slots=True)
class Chore:
    """Something to do every so many seconds; `trouble` is its last error for people, empty when it went well."""

    name: str
    every_s: float
    do: Callable[[], object]
    trouble: str = ""
    due_s: float = field(default_factory=time.monotonic)


class Chores:
    """Runs its chores in one thread, first all of them at once, until stopped."""

    def __init__(self, name: str, *chores: Chore) -> None:
        self._chores = chores
        self._wake = threading.Event()
        self._stopping = False
        self._once: deque[Callable[[], object]] = deque()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def hurry(self, name: str) -> None:
        """Do a chore as soon as possible. Safe from a signal handler."""
        for chore in self._chores:
            if chore.name == name:
                chore.due_s = 0.0
        self._wake.set()

    def do_once(self, call: Callable[[], object]) -> None:
        """Do something once, soon. Safe from any thread."""
        self._once.append(call)
        self._wake.set()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End after the chore under way."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    @property
    def troubles(self) -> list[str]:
        """What went wrong last time, for people."""
        return [chore.trouble for chore in self._chores if chore.trouble]

    def _work(self) -> None:
        while not self._stopping:
            while self._once:
                self._do(Chore("a single chore", 0.0, self._once.popleft()))
            now_s = time.monotonic()
            for chore in self._chores:
                if not self._stopping and chore.due_s <= now_s + _EARLY * chore.every_s:
                    chore.due_s = now_s + chore.every_s
                    self._do(chore)
            wait_s = min((chore.due_s for chore in self._chores), default=0.0) - time.monotonic()
            self._wake.wait(min(max(wait_s, 0.0), 60.0))
            self._wake.clear()

    def _do(self, chore: Chore) -> None:
        try:
            chore.do()
            chore.trouble = ""
        except Exception as error:
            if not chore.trouble:  # once, not every second
                log.exception("chore %s failed", chore.name)
            chore.trouble = f"{chore.name} fails: {error}"
