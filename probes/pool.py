"""Threads for the kinds that block: bounded in number, and a stuck one is answered for, counted and replaced."""

import logging
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial

from probes.loop import Loop, Timer
from probes.probe import Ask, Reading
from probes.result import Reason, Status
from probes.runner import run_blocking
from probes.target import Check

log = logging.getLogger(__name__)

_GRACE_S = 0.5
"""A driver's own timeout comes first; after deadline and grace its thread counts as stuck."""

OnReading = Callable[[Reading], object]
Prepare = Callable[[], Ask | Reading]


class _Job:
    __slots__ = ("check", "gave_up", "on_done", "prepare", "replaced", "thread_id", "timer")

    def __init__(self, check: Check, prepare: Prepare, on_done: OnReading) -> None:
        self.check, self.prepare, self.on_done = check, prepare, on_done
        self.thread_id = 0
        self.gave_up = False
        self.replaced = False
        self.timer: Timer | None = None


class Pool:
    """Runs blocking checks; `submit` and the callbacks belong to the loop's thread."""

    def __init__(self, loop: Loop, size: int) -> None:
        self._loop = loop
        self._size = max(1, size)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads = 0
        self.in_flight = 0
        self.stuck = 0

    def submit(self, check: Check, prepare: Prepare, on_done: OnReading) -> None:
        """Run a check as soon as a thread is free.

        `prepare` is called then, in that thread: it hands over the Ask, or the Reading if it is too late to ask.
        `on_done` is called once in the loop's thread.
        """
        self.in_flight += 1
        if self._threads < min(self._size + self.stuck, self.in_flight + self.stuck):
            self._add_thread()
        self._jobs.put(_Job(check, prepare, on_done))

    def close(self) -> None:
        """Let idle threads end. A stuck one is a daemon and ends with the process."""
        for _ in range(self._threads):
            self._jobs.put(None)

    def _add_thread(self) -> None:
        self._threads += 1
        threading.Thread(target=self._work, name=f"probe-{self._threads}", daemon=True).start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.thread_id = threading.get_ident()
            ask = job.prepare()
            if isinstance(ask, Ask):
                self._loop.call_soon(partial(self._watch, job, ask))
                reading = run_blocking(job.check, ask)
            else:
                reading = ask
            self._loop.call_soon(partial(self._finish, job, reading))

    def _watch(self, job: _Job, ask: Ask) -> None:
        left_s = max(0.0, ask.deadline.timeout_s)
        job.timer = self._loop.call_later(left_s + _GRACE_S, partial(self._give_up, job, ask))

    def _give_up(self, job: _Job, ask: Ask) -> None:
        job.gave_up = True
        self.stuck += 1
        frame = sys._current_frames().get(job.thread_id)
        stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
        log.warning("the thread of check %s is stuck past its deadline:\n%s", job.check.id, stack)
        if self.stuck <= 4 * self._size:  # a driver that hangs for good must not fill the machine with threads
            job.replaced = True
            self._add_thread()
        self.in_flight -= 1
        text = f"no answer within {ask.deadline.timeout_s:g} s; the driver did not come back"
        job.on_done(
            Reading(
                status=Status.DOWN, reason=Reason.DEADLINE, message=text, duration_s=ask.deadline.timeout_s + _GRACE_S
            )
        )

    def _finish(self, job: _Job, reading: Reading) -> None:
        if job.timer is not None:
            job.timer.cancel()
        if not job.gave_up:
            self.in_flight -= 1
            job.on_done(reading)
            return
        self.stuck -= 1
        if job.replaced:  # one thread too many now: whichever takes this ends
            self._threads -= 1
            self._jobs.put(None)
