"""Threads for the kinds that block: shared out fairly among them, and a stuck one is answered for and replaced."""

import logging
import queue
import sys
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable
from functools import partial

from probes.loop import Loop, Timer
from probes.probe import Ask, Reading
from probes.result import Reason, Status
from probes.runner import reading_of_error, run_blocking
from probes.target import Check

log = logging.getLogger(__name__)

_GRACE_S = 0.5
"""A driver's own timeout comes first; after deadline and grace its thread counts as stuck."""
_MOST_STUCK = 4
"""A kind with so many times the pool's size in stuck threads gets no more until some come back."""
_SWEEP_S = 1.0

OnReading = Callable[[Reading], object]
Prepare = Callable[[], Ask | Reading]


class _Job:
    __slots__ = ("check", "gave_up", "on_done", "prepare", "thread_id", "timer", "too_late_s")

    def __init__(self, check: Check, prepare: Prepare, on_done: OnReading) -> None:
        self.check, self.prepare, self.on_done = check, prepare, on_done
        self.too_late_s = time.monotonic() + check.interval_s
        self.thread_id = 0
        self.gave_up = False
        self.timer: Timer | None = None


class Pool:
    """Runs blocking checks; `submit` and the callbacks belong to the loop's thread.

    A thread that becomes free goes to the waiting kind with the fewest threads, and no kind has more than three
    quarters of them: a database that hangs delays its own kind, not the others.
    """

    def __init__(self, loop: Loop, size: int) -> None:
        self._loop = loop
        self._size = max(1, size)
        self._most_of_a_kind = self._size - self._size // 4
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._waiting: dict[str, deque[_Job]] = {}
        self._running: Counter[str] = Counter()
        self._stuck: Counter[str] = Counter()
        self._served: Counter[str] = Counter()  # number of the turn in which a kind was given a thread last
        self._turns = 0
        self._threads = 0
        self._sweeper: Timer | None = None
        self._trouble_starting = False

    @property
    def in_flight(self) -> int:
        """Runs that are not answered yet, waiting for a thread or with one."""
        return self._running.total() + sum(map(len, self._waiting.values()))

    @property
    def stuck(self) -> int:
        """Threads whose driver has not come back though its deadline has passed."""
        return self._stuck.total()

    def waiting(self) -> dict[str, int]:
        """How many runs of each kind wait for a thread; kinds without are left out."""
        return {kind: len(jobs) for kind, jobs in self._waiting.items() if jobs}

    def submit(self, check: Check, prepare: Prepare, on_done: OnReading) -> None:
        """Run a check as soon as a thread is free for its kind.

        `prepare` is called then, in that thread: it hands over the Ask, or the Reading if it is too late to ask. A run
        that waits longer than its interval is answered by `prepare` without a thread. `on_done` is called once, in the
        loop's thread.
        """
        self._waiting.setdefault(check.kind, deque()).append(_Job(check, prepare, on_done))
        self._dispatch()

    def close(self) -> None:
        """Let idle threads end. A stuck one is a daemon and ends with the process."""
        self._waiting.clear()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for _ in range(self._threads):
            self._jobs.put(None)

    def _dispatch(self) -> None:
        while self._running.total() < self._size and (kind := self._next_kind()) is not None:
            if not self._has_thread():
                break
            self._running[kind] += 1
            self._turns += 1
            self._served[kind] = self._turns
            self._jobs.put(self._waiting[kind].popleft())
        if self._sweeper is None and any(self._waiting.values()):
            self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)

    def _next_kind(self) -> str | None:
        """The waiting kind with the fewest threads; of several the one that was given one longest ago."""
        allowed = [
            (self._running[kind], self._served[kind], kind)
            for kind, jobs in self._waiting.items()
            if jobs and self._running[kind] < self._most_of_a_kind and self._stuck[kind] < _MOST_STUCK * self._size
        ]
        return min(allowed)[2] if allowed else None

    def _has_thread(self) -> bool:
        """Whether a thread is free, after starting one if need be; the system may refuse."""
        if self._threads > self._running.total() + self._stuck.total():
            return True
        try:
            threading.Thread(target=self._work, name=f"probe-{self._threads + 1}", daemon=True).start()
        except (RuntimeError, MemoryError):
            if not self._trouble_starting:
                log.exception("no thread can be started: the machine's limit is reached")
            self._trouble_starting = True
            return False
        self._threads += 1
        self._trouble_starting = False
        return True

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.thread_id = threading.get_ident()
            reading = self._run(job)
            self._loop.call_soon(partial(self._finish, job, reading))
            del job, reading  # nothing of a run outlives it, not even in an idle thread

    def _run(self, job: _Job) -> Reading:
        try:
            ask = job.prepare()
        except BaseException as error:  # noqa: BLE001  (a thread that ends is a thread less)
            return reading_of_error(job.check, error)
        if not isinstance(ask, Ask):
            return ask
        self._loop.call_soon(partial(self._watch, job, ask))
        return run_blocking(job.check, ask)

    def _watch(self, job: _Job, ask: Ask) -> None:
        left_s = max(0.0, ask.deadline.timeout_s)
        job.timer = self._loop.call_later(left_s + _GRACE_S, partial(self._give_up, job, ask))

    def _give_up(self, job: _Job, ask: Ask) -> None:
        job.gave_up = True
        kind = job.check.kind
        self._running[kind] -= 1
        self._stuck[kind] += 1
        frame = sys._current_frames().get(job.thread_id)
        stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
        log.warning("the thread of check %s is stuck past its deadline:\n%s", job.check.id, stack)
        text = f"no answer within {ask.deadline.timeout_s:g} s; the driver did not come back"
        duration_s = ask.deadline.timeout_s + _GRACE_S
        self._dispatch()
        job.on_done(Reading(Status.DOWN, Reason.DEADLINE, text, duration_s))

    def _finish(self, job: _Job, reading: Reading) -> None:
        if job.timer is not None:
            job.timer.cancel()
        counted = self._stuck if job.gave_up else self._running
        counted[job.check.kind] -= 1
        if self._threads > self._size + self._stuck.total():  # one too many now: whichever takes this ends
            self._threads -= 1
            self._jobs.put(None)
        self._dispatch()
        if not job.gave_up:
            job.on_done(reading)

    def _sweep(self) -> None:
        """Answer for runs that no thread will take in time: their kind is held up, and nobody may wait for ever."""
        self._sweeper = None
        now_s = time.monotonic()
        late = [job for jobs in self._waiting.values() for job in jobs if now_s > job.too_late_s]
        over = set(late)
        if late:
            for kind, jobs in self._waiting.items():
                self._waiting[kind] = deque(job for job in jobs if job not in over)
        for job in late:
            self._answer_for(job)
        self._dispatch()

    def _answer_for(self, job: _Job) -> None:
        reading = job.prepare()
        if isinstance(reading, Ask):  # the clocks disagree by a hair: it is too late all the same
            reading = Reading(Status.UNKNOWN, Reason.LATE, "not asked: no thread was free for its kind")
        job.on_done(reading)
