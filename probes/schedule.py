"""Which check is due when, on the wall clock in milliseconds. No I/O and no clock of its own: `now_ms` is handed in.

Slots lie on a grid of the interval (`probes.grid`), so that starts are spread and a restart changes nothing. A suspect
or recovering check leaves the grid for its retry interval (alerting.md, rows 2 to 8).

Where more is due than can be started, the check that was started longest ago comes first: each gets the same share of
the starts or what it asks for, whichever is less, so that short intervals are stretched before long ones. Checks worth
their numbers (`Probe.measures`) stand back one interval, and under overload they run at every second slot only. Retries
stand back too: a thousand targets that fail at once must not delay those that do not.
"""

import heapq
from dataclasses import dataclass
from enum import Enum

from probes.grid import Grid, grain_ms_of
from probes.probe import BlockingProbe
from probes.result import Status
from probes.target import Check, Estate
from probes.value import value

FRESH_ENOUGH_MS = 5000
"""A dependency is not asked again sooner than this after its last start."""
_SWEEP_MS = 1000
"""How often those that wait are looked through for the ones that have become late."""


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
    grid: Grid
    running: bool = False
    started_ms: int = 0
    slot_ms: int = 0
    mood: Mood = Mood.OK
    streak: int = 0  # failures while suspect, successes while recovering
    blocks: bool = False
    wanted: bool = False  # somebody waits for it: before all others
    extra: bool = False  # off the grid: a suspicion to confirm, or a recovery
    over_ms: int = 0  # no slot up to this one is taken again: its grid was moved while it was the last

    def next_slot_ms(self, now_ms: int) -> int:
        """The first slot that is still to come."""
        return self.grid.next_ms(now_ms if now_ms > self.over_ms else self.over_ms)

    def move_to(self, grid: Grid, now_ms: int) -> None:
        """The same slots a little earlier or later: the one that is over stays over, the next is not left out."""
        shift_ms, coming_ms = grid.offset_ms - self.grid.offset_ms, self.next_slot_ms(now_ms)
        is_on_grid = (self.next_ms - coming_ms) % grid.interval_ms == 0
        if not self.running and self.next_ms > now_ms and is_on_grid:
            self.next_ms += shift_ms
        self.over_ms = coming_ms - grid.interval_ms + shift_ms
        self.grid = grid

    def turn(self) -> int:
        """Its place among those that are due; the lowest is started first."""
        if self.wanted:
            return -1
        stands_back = self.extra or self.check.probe.measures
        return self.started_ms + (self.grid.interval_ms if stands_back else 0)


_Waiting = list[tuple[int, int, str]]
"""A heap of those that are due and have to wait: place (`_Plan.turn`), slot, check id."""
_UP, _OK = Status.UP, Mood.OK  # asking an enumeration for a member costs ten times as much as a name


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
        self.shedding = False
        """While true, checks that only measure run at every second slot."""
        self.shed = 0
        """Runs that were left out for that."""
        grain_ms = grain_ms_of(estate.checks.values())
        self._plans = {check.id: _planned(check, now_ms, grain_ms) for check in estate.checks.values()}
        self._times: list[int] = []
        """A heap of the times for which something is planned."""
        self._planned: dict[int, list[_Plan]] = {}
        """What is planned, by time: starts come by the dozen, and a heap of them all would compare ids."""
        self._due: tuple[_Waiting, _Waiting] = ([], [])  # conversations, blocking kinds
        self._looked_ms = self._swept_ms = 0
        self._rebuild()

    def __len__(self) -> int:
        return len(self._plans)

    @property
    def waiting(self) -> int:
        """Conversations that are due and wait for room."""
        return len(self._due[False])

    def is_due_before(self, at_ms: int) -> bool:
        """Whether a run may be due before a time; a cheap look that errs on the side of yes."""
        return bool(self._due[True] or self._due[False]) or (bool(self._times) and self._times[0] < at_ms)

    def next_ms(self, *, has_room: bool = True) -> int | None:
        """When to come back for runs; None where nothing waits (all under way, or no checks).

        Without room for conversations, those that are due wait, and are looked through for late ones now and then.
        """
        at_ms = self._next_planned_ms()
        if self._due[True] or (has_room and self._due[False]):
            return self._looked_ms
        if self._due[False]:
            return min(self._swept_ms + _SWEEP_MS, at_ms or self._swept_ms + _SWEEP_MS)
        return at_ms

    def take_due(self, now_ms: int, at_most: int, room: int | None = None) -> list[Due]:
        """Runs that are due, now counted as under way; a late one is not, it is over. At most `room` conversations.

        A run that would start later than one interval after its slot is late: it is reported once, not run, and the
        check goes on at its next slot.
        """
        self._looked_ms = now_ms
        room = at_most if room is None else room
        arrived: list[_Plan] = []
        while self._times and self._times[0] <= now_ms:
            arrived += self._planned.pop(heapq.heappop(self._times))
        if not self._due[True] and not self._due[False] and len(arrived) <= min(at_most, room):
            return [self._take(plan, now_ms) for plan in arrived if not plan.running and plan.next_ms <= now_ms]
        for plan in arrived:
            if not plan.running and plan.next_ms <= now_ms:
                heapq.heappush(self._due[plan.blocks], (plan.turn(), plan.next_ms, plan.check.id))
        return self._take_in_turn(now_ms, at_most, room)

    def _take_in_turn(self, now_ms: int, at_most: int, room: int) -> list[Due]:
        """Of those that wait, as many as there is room for."""
        taken = self._take_late(now_ms) if now_ms - self._swept_ms >= _SWEEP_MS else []
        while len(taken) < at_most:
            blocking = self._take_one(True, now_ms)
            talking = self._take_one(False, now_ms) if room > 0 and len(taken) + 1 < at_most + (not blocking) else None
            room -= talking is not None
            taken += [due for due in (blocking, talking) if due is not None]
            if blocking is None and talking is None:
                break
        return taken

    def _next_planned_ms(self) -> int | None:
        while self._times:
            at_ms = self._times[0]
            plans = self._planned[at_ms]
            while plans:
                if not plans[-1].running and plans[-1].next_ms == at_ms:
                    return at_ms
                plans.pop()  # moved since, or under way
            del self._planned[heapq.heappop(self._times)]
        return None

    def _stands(self, check_id: str, at_ms: int) -> bool:
        """False for a stale entry: moved, removed or already under way."""
        plan = self._plans.get(check_id)
        return plan is not None and not plan.running and plan.next_ms == at_ms

    def _take_one(self, blocks: bool, now_ms: int) -> Due | None:
        waiting = self._due[blocks]
        while waiting:
            _, at_ms, check_id = heapq.heappop(waiting)
            if self._stands(check_id, at_ms):
                return self._take(self._plans[check_id], now_ms)
        return None

    def _take(self, plan: _Plan, now_ms: int) -> Due:
        at_ms = plan.next_ms
        plan.slot_ms = at_ms if at_ms > plan.slot_ms else plan.slot_ms + 1
        plan.wanted = False
        if now_ms - at_ms > plan.grid.interval_ms:
            self._plan_at(plan, plan.next_slot_ms(now_ms))
            return Due(plan.check, plan.slot_ms, late=True)
        plan.running, plan.started_ms = True, now_ms
        return Due(plan.check, plan.slot_ms)

    def _take_late(self, now_ms: int) -> list[Due]:
        """All that wait and have become late: they shall be told in time, however long the others take."""
        self._swept_ms = now_ms
        taken = []
        for waiting in self._due:
            kept = []
            for entry in waiting:
                _, at_ms, check_id = entry
                if not self._stands(check_id, at_ms):
                    continue
                plan = self._plans[check_id]
                if now_ms - at_ms > plan.grid.interval_ms:
                    taken.append(self._take(plan, now_ms))
                else:
                    kept.append(entry)
            waiting[:] = kept
            heapq.heapify(waiting)
        return taken

    def finish(self, check_id: str, status: Status, now_ms: int) -> None:
        """A run has ended: plan the next one, and hurry the dependencies of a check that has just begun to fail."""
        plan = self._plans.get(check_id)
        if plan is None:
            return
        before = plan.mood
        plan.running = False
        if status is _UP and before is _OK and not self.shedding:
            plan.extra = False
            self._plan_at(plan, plan.next_slot_ms(now_ms))
            return
        plan.mood, plan.streak = next_mood(plan.check, plan.mood, plan.streak, status)
        self._plan_at(plan, self._next_run_ms(plan, now_ms))
        if status is Status.DOWN and before is Mood.OK:
            self._expedite_dependencies(plan.check, now_ms)

    def run_now(self, check_id: str, now_ms: int) -> bool:
        """Ask for a run at once; False for an unknown check. One that is under way is answer enough."""
        plan = self._plans.get(check_id)
        if plan is None:
            return False
        plan.wanted = not plan.running
        if plan.next_ms > now_ms:
            self._hurry(plan, now_ms)
        elif plan.wanted:
            heapq.heappush(self._due[plan.blocks], (plan.turn(), plan.next_ms, check_id))
        return True

    def mood_of(self, check_id: str) -> Mood:
        """What the worker believes of a check."""
        return self._plans[check_id].mood

    def replace(self, estate: Estate, now_ms: int) -> None:
        """Another configuration: kept checks keep their plan and mood, a changed interval moves to its own grid."""
        old, grain_ms = self._plans, grain_ms_of(estate.checks.values())
        self.estate = estate
        self._plans = {check.id: _kept(old.get(check.id), check, now_ms, grain_ms) for check in estate.checks.values()}
        self._rebuild()

    def rebase(self, now_ms: int) -> None:
        """The clock jumped or we slept: forget what is overdue, spread over the grid again, believe no suspicion."""
        for plan in self._plans.values():
            plan.next_ms, plan.over_ms = plan.grid.next_ms(now_ms), 0
            plan.slot_ms = min(plan.slot_ms, now_ms)
            if plan.mood is Mood.SUSPECT:
                plan.mood, plan.streak = Mood.OK, 0
        self._rebuild()

    def _next_run_ms(self, plan: _Plan, now_ms: int) -> int:
        grid = plan.next_slot_ms(now_ms)
        plan.extra = False
        if plan.mood in (Mood.SUSPECT, Mood.RECOVERING):
            retry_ms = now_ms + round(plan.check.retry_interval_s * 1000)
            plan.extra = retry_ms < grid
            return min(grid, retry_ms)
        if self.shedding and plan.check.probe.measures:
            self.shed += 1
            return grid + plan.grid.interval_ms
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
        planned = self._planned.get(at_ms)
        if planned is None:
            self._planned[at_ms] = [plan]
            heapq.heappush(self._times, at_ms)
        else:
            planned.append(plan)

    def _rebuild(self) -> None:
        self._planned, self._times, self._due = {}, [], ([], [])
        for plan in self._plans.values():
            if not plan.running:
                self._plan_at(plan, plan.next_ms)


def _kept(plan: _Plan | None, check: Check, now_ms: int, grain_ms: int) -> _Plan:
    if plan is None:
        return _planned(check, now_ms, grain_ms)
    grid = Grid.of(check, grain_ms)
    if grid.interval_ms == plan.grid.interval_ms:
        plan.move_to(grid, now_ms)
    else:
        plan.grid, plan.over_ms = grid, 0
        if not plan.running:
            plan.next_ms = grid.next_ms(now_ms)
    plan.check, plan.blocks = check, isinstance(check.probe, BlockingProbe)
    return plan


def _planned(check: Check, now_ms: int, grain_ms: int) -> _Plan:
    grid = Grid.of(check, grain_ms)
    return _Plan(check, grid.next_ms(now_ms), grid, blocks=isinstance(check.probe, BlockingProbe))
