"""How checks become results: hands each to the engine or the pool, remembers what the next run needs, and judges."""

import time
from collections import deque
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from probes.engine import Engine
from probes.evidence import Budget, Streak, collect
from probes.judge import judge
from probes.loop import Loop
from probes.pool import Pool
from probes.probe import Ask, BlockingProbe, Deadline, Push, Reading
from probes.resolver import Resolver
from probes.result import Evidence, Reason, Result, Status
from probes.runner import gather
from probes.target import Check, Limit

_PUSHES_KEPT = 50
_UP = Status.UP
Clean = Callable[[str], str]
OnResult = Callable[[Result], object]
OnFacts = Callable[[str, Mapping[str, str], int], object]


@dataclass(slots=True)
class Memory:
    """What one run of a check leaves for the next."""

    first_seen_ms: int
    last: Reading | None = None
    broken: frozenset[Limit] = frozenset()
    facts: Mapping[str, str] | None = None
    streak: Streak = field(default_factory=Streak)
    pushes: deque[Push] | None = None


class Prober:
    """Runs checks, each at most once at a time (the caller's care). All methods belong to the loop's thread."""

    def __init__(
        self, loop: Loop, location: str, clean: Clean, threads: int = 16, resolver: Resolver | None = None
    ) -> None:
        self._location = location
        self.clean = clean
        self.on_facts: OnFacts = _ignore
        """Told of facts that differ from a check's last run: its id, the facts (none: forget them), epoch ms."""
        self.mask: Clean = str
        self.evidence_s = 0.0  # how long evidence is kept; 0: none is gathered
        self._budget = Budget()
        self._engine = Engine(loop, resolver)
        self._pool = Pool(loop, threads)
        self._memories: dict[str, Memory] = {}
        self.first_seen_ms: Mapping[str, int] = {}
        """Since when checks are known that an earlier worker has seen already."""

    @property
    def in_flight(self) -> int:
        """Runs under way, waiting for a thread included."""
        return self._engine.in_flight + self._pool.in_flight

    @property
    def conversations(self) -> int:
        """Runs under way on the engine."""
        return self._engine.in_flight

    @property
    def threads_stuck(self) -> int:
        """Threads whose driver has not come back though its deadline has passed."""
        return self._pool.stuck

    def waiting_for_thread(self) -> dict[str, int]:
        """How many runs of each blocking kind wait for a thread."""
        return self._pool.waiting()

    def talking(self) -> str:
        """Id of the check whose conversation is computing this moment. Safe from any thread."""
        return self._engine.talking

    def start(self, check: Check, slot_ms: int, on_result: OnResult) -> None:
        """Run a check; the result comes by the callback, once, whatever happens."""
        memory = self._memories.get(check.id) or self._memory(check.id)
        if isinstance(check.probe, BlockingProbe):
            self._start_blocking(check, memory, slot_ms, on_result)
            return
        started_ms = now_ms()
        finish = partial(self._hand_on, on_result, check, memory, slot_ms, started_ms)
        self._engine.start(check, self._ask(check, memory, started_ms), finish)

    def _start_blocking(self, check: Check, memory: Memory, slot_ms: int, on_result: OnResult) -> None:
        started = [now_ms()]

        def finish(reading: Reading) -> None:
            on_result(self.conclude(check, memory, slot_ms, started[0], reading))

        def prepare() -> Ask | Reading:
            started[0] = now_ms()
            if started[0] - slot_ms > check.interval_s * 1000:
                return late_reading(started[0] - slot_ms)
            return self._ask(check, memory, started[0])

        self._pool.submit(check, prepare, finish)

    def _hand_on(  # noqa: PLR0917
        self, on_result: OnResult, check: Check, memory: Memory, slot_ms: int, started_ms: int, reading: Reading
    ) -> None:
        on_result(self.conclude(check, memory, slot_ms, started_ms, reading))

    def miss(self, check: Check, slot_ms: int) -> Result:
        """The result of a run that would have started too late to mean anything."""
        started_ms = now_ms()
        return self.conclude(check, self._memory(check.id), slot_ms, started_ms, late_reading(started_ms - slot_ms))

    def hear_push(self, check_id: str, push: Push) -> None:
        """Keep a call of a heartbeat URL for the next run of its check."""
        memory = self._memory(check_id)
        if memory.pushes is None:  # most checks never hear one: an empty deque is 600 bytes
            memory.pushes = deque(maxlen=_PUSHES_KEPT)
        memory.pushes.append(push)

    def keep_only(self, check_ids: Container[str]) -> None:
        """Forget the checks that are no longer configured."""
        self._memories = {key: memory for key, memory in self._memories.items() if key in check_ids}

    def forget_reading(self, check_id: str) -> None:
        """Start anew with a check whose question has changed: its counters mean something else now."""
        if check_id in self._memories:
            self._memories[check_id].last, self._memories[check_id].broken = None, frozenset()
            self._memories[check_id].facts = None
        self.on_facts(check_id, {}, now_ms())

    def cancel_all(self) -> None:
        """End what can be ended: conversations. Blocking runs end by their own timeouts."""
        self._engine.cancel_all()

    def close(self) -> None:
        """Release sockets and threads."""
        self._engine.close()
        self._pool.close()

    def _memory(self, check_id: str) -> Memory:
        memory = self._memories.get(check_id)
        if memory is None:
            memory = self._memories[check_id] = Memory(self.first_seen_ms.get(check_id) or now_ms())
        return memory

    def _ask(self, check: Check, memory: Memory, at_ms: int) -> Ask:
        pushes = tuple(memory.pushes) if memory.pushes else ()
        return Ask(Deadline(check.timeout_s), at_ms, check.interval_s, memory.last, pushes, memory.first_seen_ms)

    def conclude(self, check: Check, memory: Memory, slot_ms: int, started_ms: int, reading: Reading) -> Result:
        """What a reading comes to: judged against the check's limits, its traces kept for the next run."""
        judged = reading
        if check.limits or memory.broken:
            judged, memory.broken = judge(reading, check.limits, memory.broken)
        facts = reading.facts
        if facts is not None and facts is not memory.facts and facts != memory.facts:
            memory.facts = facts
            self.on_facts(check.id, {name: self.clean(text) for name, text in facts.items()}, started_ms)
        if reading.carry is not None:
            # A failed run has no counters of its own; those of the run before it stay, or the next ratio would be lost.
            memory.last = judged if judged.evidence is None else replace(judged, evidence=None)
        return Result(
            check.id,
            self._location,
            slot_ms,
            started_ms,
            judged.status,
            judged.reason,
            self.clean(judged.message) if judged.message else "",
            judged.duration_s,
            judged.code,
            judged.phases,
            judged.metrics,
            self._evidence(check, memory, judged, started_ms)
            if judged.status is not _UP or memory.streak.status is not _UP
            else None,
        )

    def _evidence(self, check: Check, memory: Memory, reading: Reading, at_ms: int) -> Evidence | None:
        """What the run saw, if it is the first bad one or the one that confirms the trouble."""
        if not self.evidence_s:
            return None
        kind = memory.streak.then(reading.status, check.fail_after, at_ms)
        if kind is None or not self._budget.take(at_ms):
            return None
        times = (at_ms, at_ms + int(self.evidence_s * 1000))
        return collect(kind, reading, gather(reading), self.mask, times)


def late_reading(late_ms: int) -> Reading:
    """What a run that starts more than one interval after its slot is worth: nothing, and it says so."""
    text = f"not asked: the worker was {late_ms / 1000:.1f} s behind"
    return Reading(status=Status.UNKNOWN, reason=Reason.LATE, message=text)


def now_ms() -> int:
    """UTC epoch milliseconds."""
    return time.time_ns() // 1_000_000


def _ignore(_check_id: str, _facts: Mapping[str, str], _at_ms: int) -> None:
    pass
