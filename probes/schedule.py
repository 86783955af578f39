"""Which check is due when, on the wall clock in milliseconds. No I/O and no clock of its own: `now_ms` is handed in.

Slots lie on a grid of the interval, shifted by a stable hash of the check id, so that starts are spread and a restart
changes nothing. A suspect or recovering check leaves the grid for its retry interval (alerting.md, rows 2 to 8).
"""

import heapq
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from typing import NamedTuple

from probes.result import Status
from probes.target import Check, Estate
from probes.value import value

FRESH_ENOUGH_MS = 5000
"""A dependency is not asked again sooner than this after its last start."""


class Mood(Enum):
    """What the worker believes of a check, to choose its pace; the alert engine judges for itself from the store."""

    OK = "ok"
    SUSPECT = "suspect"
    DOWN = "down"
    RECOVERING = "recovering"


@value(frozen=True, slots=True)
class Due:
    """One run to start now; `late` means: too late to be run, store it as such."""

    check: Check
    slot_ms: int
    late: bool = False


@dataclass(slots=True)
class _Plan:
    check: Check
    next_ms: int
    grid: "_Grid"
    running: bool = False
    started_ms: int = 0
    slot_ms: int = 0
    mood: Mood = Mood.OK
    streak: int = 0  # failures while suspect, successes while recovering


def offset_ms(check_id: str, interval_ms: int) -> int:
    """Where in its interval a check starts: a stable hash of its id, so equal in every process and after a restart."""
    return int.from_bytes(blake2b(check_id.encode(), digest_size=8).digest(), "big") % interval_ms


def next_slot_ms(check: Check, now_ms: int) -> int:
    """The first slot of the check's grid that is later than now."""
    return _Grid.of(check).next_ms(now_ms)


class _Grid(NamedTuple):
    """The slots of a check; kept in its plan, for the hash of an id costs as much as all else of planning a run."""

    interval_ms: int
    offset_ms: int

    @classmethod
    def of(cls, check: Check) -> "_Grid":
        interval = _interval_ms(check)
        return cls(interval, offset_ms(check.id, interval))

    def next_ms(self, now_ms: int) -> int:
        return ((now_ms - self.offset_ms) // self.interval_ms + 1) * self.interval_ms + self.offset_ms


def _interval_ms(check: Check) -> int:
    return max(1, round(check.interval_s * 1000))


def next_mood(check: Check, mood: Mood, streak: int, status: Status) -> tuple[Mood, int]:
    """Rows 1 to 8 of the state machine; unknown freezes the counters."""
    if status is Status.UNKNOWN:
        return mood, streak
    if status is Status.DOWN:
        if mood in (Mood.DOWN, Mood.RECOVERING):
            return Mood.DOWN, 0
        return (Mood.DOWN, 0) if streak + 1 >= check.fail_after else (Mood.SUSPECT, streak + 1)
    if mood in (Mood.OK, Mood.SUSPECT):
        return Mood.OK, 0
    streak = streak + 1 if mood is Mood.RECOVERING else 1
    return (Mood.OK, 0) if streak >= check.recover_after else (Mood.RECOVERING, streak)


class Schedule:
    """The plan of all checks of an estate. At most one run of a check is under way at a time."""

    def __init__(self, estate: Estate, now_ms: int) -> None:
        self.estate = estate
        self._plans = {check.id: _planned(check, now_ms) for check in estate.checks.values()}
        self._heap: list[tuple[int, str]] = []
        self._rebuild()

    def __len__(self) -> int:
        return len(self._plans)

    def next_ms(self) -> int | None:
        """When the next run is due; None where nothing waits (all under way, or no checks)."""
        while self._heap:
            at_ms, check_id = self._heap[0]
            plan = self._plans.get(check_id)
            if plan is not None and not plan.running and plan.next_ms == at_ms:
                return at_ms
            heapq.heappop(self._heap)  # a stale entry: moved, removed or already under way
        return None

    def is_due_before(self, at_ms: int) -> bool:
        """Whether a run may be due before a time; a cheap look that errs on the side of yes."""
        return bool(self._heap) and self._heap[0][0] < at_ms

    def take_due(self, now_ms: int, at_most: int) -> list[Due]:
        """The runs that are due, longest waiting first, now counted as under way; a late one is not, it is over.

        A run that would start later than one interval after its slot is late: it is reported once, not run, and the
        check goes on at its next slot.
        """
        taken: list[Due] = []
        while len(taken) < at_most:
            at_ms = self.next_ms()
            if at_ms is None or at_ms > now_ms:
                break
            _, check_id = heapq.heappop(self._heap)
            plan = self._plans[check_id]
            plan.slot_ms = max(at_ms, plan.slot_ms + 1)
            if now_ms - at_ms > plan.grid.interval_ms:
                taken.append(Due(plan.check, plan.slot_ms, late=True))
                self._plan_at(plan, plan.grid.next_ms(now_ms))
            else:
                plan.running, plan.started_ms = True, now_ms
                taken.append(Due(plan.check, plan.slot_ms))
        return taken

    def finish(self, check_id: str, status: Status, now_ms: int) -> None:
        """A run has ended: plan the next one, and hurry the dependencies of a check that has just begun to fail."""
        plan = self._plans.get(check_id)
        if plan is None:
            return
        before = plan.mood
        plan.running = False
        if status is not Status.UP or before is not Mood.OK:
            plan.mood, plan.streak = next_mood(plan.check, plan.mood, plan.streak, status)
        self._plan_at(plan, self._next_run_ms(plan, now_ms))
        if status is Status.DOWN and before is Mood.OK:
            self._expedite_dependencies(plan.check, now_ms)

    def run_now(self, check_id: str, now_ms: int) -> bool:
        """Ask for a run at once; False for an unknown check. One that is under way is answer enough."""
        plan = self._plans.get(check_id)
        if plan is None:
            return False
        self._hurry(plan, now_ms)
        return True

    def mood_of(self, check_id: str) -> Mood:
        """What the worker believes of a check."""
        return self._plans[check_id].mood

    def replace(self, estate: Estate, now_ms: int) -> None:
        """Another configuration: kept checks keep their plan and mood, a changed interval moves to its own grid."""
        old = self._plans
        self.estate = estate
        self._plans = {check.id: _kept(old.get(check.id), check, now_ms) for check in estate.checks.values()}
        self._rebuild()

    def rebase(self, now_ms: int) -> None:
        """The clock jumped or we slept: forget what is overdue, spread over the grid again, believe no suspicion."""
        for plan in self._plans.values():
            plan.next_ms = plan.grid.next_ms(now_ms)
            plan.slot_ms = min(plan.slot_ms, now_ms)
            if plan.mood is Mood.SUSPECT:
                plan.mood, plan.streak = Mood.OK, 0
        self._rebuild()

    def _next_run_ms(self, plan: _Plan, now_ms: int) -> int:
        grid = plan.grid.next_ms(now_ms)
        if plan.mood in (Mood.SUSPECT, Mood.RECOVERING):
            return min(grid, now_ms + round(plan.check.retry_interval_s * 1000))
        return grid

    def _expedite_dependencies(self, check: Check, now_ms: int) -> None:
        target_id = check.id.rpartition("/")[0]
        if target_id not in self.estate.targets:
            return
        for needed_id in self.estate.needed_by(target_id):
            for needed in self.estate.checks_of(needed_id):
                plan = self._plans[needed.id]
                self._hurry(plan, max(now_ms, plan.started_ms + FRESH_ENOUGH_MS if plan.started_ms else 0))

    def _hurry(self, plan: _Plan, at_ms: int) -> None:
        if not plan.running and at_ms < plan.next_ms:
            self._plan_at(plan, at_ms)

    def _plan_at(self, plan: _Plan, at_ms: int) -> None:
        plan.next_ms = at_ms
        heapq.heappush(self._heap, (at_ms, plan.check.id))

    def _rebuild(self) -> None:
        self._heap = [(plan.next_ms, check_id) for check_id, plan in self._plans.items() if not plan.running]
        heapq.heapify(self._heap)


def _kept(plan: _Plan | None, check: Check, now_ms: int) -> _Plan:
    if plan is None:
        return _planned(check, now_ms)
    if check.interval_s != plan.check.interval_s:
        plan.grid = _Grid.of(check)
        if not plan.running:
            plan.next_ms = plan.grid.next_ms(now_ms)
    plan.check = check
    return plan


def _planned(check: Check, now_ms: int) -> _Plan:
    grid = _Grid.of(check)
    return _Plan(check, grid.next_ms(now_ms), grid)
