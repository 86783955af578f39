"""The thread that stores results: in batches, and patient when the store is not."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence

from probes.result import Result

log = logging.getLogger(__name__)

_COMMIT_EVERY_S = 0.25
_AFTER_START_S = 0.06
"""Commits fall so long after the instants at which the most checks start (`probes.grid`): what is fast has answered by
then, and storing does not compete with asking."""
_RETRY_S = 1.0
_MOST_WAITING = 100_000
_LARGEST_BATCH = 5000

Save = Callable[[Sequence[Result]], int]


class Writer:
    """Takes results from any thread. A store error loses nothing until so many results wait that memory is at stake."""

    def __init__(self, save: Save, most_waiting: int = _MOST_WAITING) -> None:
        self._save = save
        self._most_waiting = most_waiting
        self._queue: queue.SimpleQueue[Result | None] = queue.SimpleQueue()
        self._waiting: list[Result] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True)
        self.saved = 0
        self.dropped = 0
        self.errors = 0
        self.trouble = ""
        """Sentence for people while the store refuses; empty when all is well."""

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def put(self, result: Result) -> None:
        """Hand a result over; never waits."""
        self._queue.put(result)

    @property
    def waiting(self) -> int:
        """Results that are not stored yet."""
        return self._queue.qsize() + len(self._waiting)

    def stop(self, timeout_s: float = 10.0) -> bool:
        """Store what waits and end; False where that was not possible in time."""
        self._stopping.set()
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join(timeout_s)
        return self.waiting == 0

    def _work(self) -> None:
        while not (self._stopping.is_set() and self.waiting == 0):
            self._stopping.wait(commit_in_s(time.time()))
            self._drain()
            if not self._waiting:  # for a whole period: who has little to do is not woken for nothing
                self._wait_for_one()
            elif not self._store() and self._stopping.wait(_RETRY_S):
                time.sleep(_RETRY_S / 10)

    def _wait_for_one(self) -> None:
        if not self._stopping.is_set():
            self._take(self._queue.get())

    def _drain(self) -> None:
        try:
            while True:
                self._take(self._queue.get_nowait())
        except queue.Empty:
            pass
        surplus = len(self._waiting) - self._most_waiting
        if surplus > 0:
            del self._waiting[:surplus]
            self.dropped += surplus

    def _take(self, result: Result | None) -> None:
        if result is None:  # only wakes, to end
            return
        self._waiting.append(result)
        if result.evidence is not None:
            try:
                result.evidence.data  # noqa: B018  (made now: what waits for the store must be small)
            except Exception:
                log.exception("what a run of %s saw could not be kept", result.check_id)

    def _store(self) -> bool:
        """One batch; False when the store refused it, and then all of it waits on."""
        batch = self._waiting[:_LARGEST_BATCH]
        try:
            self._save(batch)
        except Exception as error:
            if not self.trouble:
                log.exception("the store refuses results; they wait in memory")
            self.trouble = f"The store refuses results ({error}); {self.waiting} wait in memory."
            if self.dropped:
                self.trouble += f" {self.dropped} of the oldest had to be dropped."
            self.errors += 1  # last: who sees it counted finds the reason there
            return False
        del self._waiting[: len(batch)]
        self.saved += len(batch)
        if self.trouble:
            log.warning("the store takes results again; %d wait", self.waiting)
            self.trouble = ""
        return True


def commit_in_s(now_s: float) -> float:
    """How long until the next commit; they are a quarter of a second apart."""
    return _COMMIT_EVERY_S - (now_s - _AFTER_START_S) % _COMMIT_EVERY_S
