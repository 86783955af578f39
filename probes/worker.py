"""The process that probes: schedule → engine and pool → writer, and what it tells about itself."""

import logging
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from functools import lru_cache, partial

from probes.clockwatch import ClockWatch
from probes.config import Config
from probes.descriptors import most_conversations, raise_limit
from probes.load import LoadWatch, say_overload
from probes.loop import Loop, Timer
from probes.memory import Sweeper, give_back
from probes.probe import Push
from probes.prober import Prober, now_ms
from probes.redact import Redactor, clean
from probes.result import Result
from probes.schedule import Due, Schedule
from probes.store.database import Store, StoreError, open_store
from probes.store.lock import WorkerLock
from probes.store.results import ResultWriter
from probes.target import Check
from probes.watchdog import Watchdog
from probes.worker_office import WorkerOffice
from probes.writer import Writer

log = logging.getLogger(__name__)

_LAST_RUNS_S = 3.0
"""How long runs under way may go on after the order to stop."""
_LATENESS_KEPT = 10_000
_FACTS_KEPT = 100_000
_LOOK_AT_LOAD_S = 1.0
_TOGETHER_MS = 5
"""Runs that are due within so many milliseconds start together: a turn of the loop costs as much as a start."""
_UPGRADE = """
import sys
from probes.store.database import StoreError
from probes.store.schema import SchemaError, upgrade
try:
    upgrade(sys.stdin.read())
except (SchemaError, StoreError) as error:
    sys.exit(str(error))
"""


class Worker:
    """All methods belong to the loop's thread, except `stop`."""

    def __init__(self, config: Config, put: Callable[[Result], object]) -> None:
        self.loop = Loop()
        self.lateness_s: deque[float] = deque(maxlen=_LATENESS_KEPT)
        self.finished = 0
        self.missed = 0
        self.on_clock_jump: Callable[[float], object] = _ignore
        self.facts: deque[tuple[str, Mapping[str, str], int]] = deque(maxlen=_FACTS_KEPT)
        """Facts that differ from a check's last run, with its id and epoch milliseconds; the office takes them."""
        self.on_overload: Callable[[str, float], object] = _ignore
        """Called when overload begins, with what to say, and when it ends, with "" and the seconds it took."""
        self.watchdog = Watchdog(self.loop, self._name_talking)
        self._load = LoadWatch()
        self._overload_since_s = 0.0
        self._file_limit = raise_limit()
        self._config = config
        self.most_in_flight = self._count_room()
        """How many conversations may be under way: as configured, and as the limit of open files bears."""
        self._put = put
        self._prober = Prober(self.loop, config.location, _cleaner(config), config.worker.threads)
        self._prober.on_facts = lambda *heard: self.facts.append(heard)
        self._use_secrets(config)
        self._schedule = Schedule(config.estate, now_ms())
        self._clock = ClockWatch()
        self._timer: Timer | None = None
        self._timer_ms = 0
        self._stopping = False

    @property
    def in_flight(self) -> int:
        """Runs under way."""
        return self._prober.in_flight

    @property
    def threads_stuck(self) -> int:
        """Threads of blocking kinds that do not come back."""
        return self._prober.threads_stuck

    @property
    def overloaded(self) -> bool:
        """Whether so many runs begin late that statistics are asked less often."""
        return self._load.overloaded

    @property
    def late_ratio(self) -> float:
        """Share of the runs of the last half minute that began more than a second late or not at all."""
        return self._load.late_ratio

    @property
    def shed(self) -> int:
        """Runs of statistics that were left out while overloaded."""
        return self._schedule.shed

    @property
    def troubles(self) -> list[str]:
        """What hinders the probing, for people."""
        wanted = self._config.worker.max_in_flight
        found = [self._say_overload() if self.overloaded else "", self.watchdog.trouble]
        if self.most_in_flight < wanted:
            text = (
                f"At most {self.most_in_flight} HTTP conversations at a time instead of {wanted}: the limit of open "
                f"files is {self._file_limit}. Raise it (ulimit -n, LimitNOFILE) or lower worker.max_in_flight."
            )
            found.append(text if "max_in_flight" in self._config.worker.model_fields_set or self.waiting else "")
        return [text for text in found if text]

    @property
    def waiting(self) -> int:
        """Runs that are due and wait for room or a thread."""
        return self._schedule.waiting + sum(self._prober.waiting_for_thread().values())

    def know_first_seen(self, first_seen_ms: Mapping[str, int]) -> None:
        """Since when checks are known, so that a restart gives none of them new time."""
        self._prober.first_seen_ms = first_seen_ms

    def run(self) -> None:
        """Probe until stopped."""
        self.watchdog.start()
        self._watch_load()
        self._arm()
        self.loop.run()
        self.watchdog.stop()
        self._prober.close()
        self.loop.close()

    def stop(self) -> None:
        """Start nothing any more, let what runs finish for a moment, then end `run`. Safe from any thread or signal."""
        self.loop.call_soon(self._begin_stop)

    def run_now(self, check_id: str) -> None:
        """Somebody wants to know at once."""
        if not self._schedule.run_now(check_id, now_ms()):
            log.warning("asked to run %s, which is not configured", check_id)
        self._arm()

    def hear_push(self, check_id: str, push: Push) -> None:
        """A heartbeat URL was called: remember it and look at once."""
        self._prober.hear_push(check_id, push)
        self._schedule.run_now(check_id, now_ms())
        self._arm()

    def replace_config(self, config: Config) -> None:
        """Go on with another configuration; checks that stay keep their plan and their memory."""
        before = self._config.estate.checks
        for check in config.estate.checks.values():
            old = before.get(check.id)
            if old is not None and old is not check and not same_question(old, check):
                self._prober.forget_reading(check.id)
        self._config = config
        self.most_in_flight = self._count_room()
        self._use_secrets(config)
        self._prober.keep_only(config.estate.checks)
        self._schedule.replace(config.estate, now_ms())
        self._arm()

    def _use_secrets(self, config: Config) -> None:
        self._prober.mask = Redactor(config.document.secrets).mask
        self._prober.clean = _cleaner(config)
        self._prober.evidence_s = config.retention.evidence_s

    def _start_due(self) -> None:
        self._timer = None
        if self._stopping:
            return
        self._mind_clock()
        room = self.most_in_flight - self._prober.conversations
        try:
            for due in self._schedule.take_due(now_ms(), self._config.worker.max_starts_per_turn, room):
                self._start(due)
        finally:  # whatever one run does, the next is planned
            self._arm()

    def _start(self, due: Due) -> None:
        if due.late:
            self.missed += 1
            self._keep(self._prober.miss(due.check, due.slot_ms))
        else:
            self._prober.start(due.check, due.slot_ms, self._finish)

    def _finish(self, result: Result) -> None:
        self._keep(result)
        self._schedule.finish(result.check_id, result.status, now_ms())
        if self._timer is None or self._schedule.is_due_before(self._timer_ms):
            self._arm()

    def _keep(self, result: Result) -> None:
        self.finished += 1
        late_ms = result.late_ms
        self.lateness_s.append(late_ms / 1000)
        self._load.note(late_ms, self.loop.time())
        self._put(result)

    def _arm(self) -> None:
        """Set the timer for the next run; while there is no room, the next to finish sets it."""
        if self._stopping:
            return
        next_ms = self._schedule.next_ms(has_room=self._prober.conversations < self.most_in_flight)
        if next_ms is None:
            return
        if self._timer is not None:
            if self._timer_ms <= next_ms:
                return
            self._timer.cancel()
        wait_ms = next_ms - now_ms()
        if wait_ms > 0:
            wait_ms += -next_ms % _TOGETHER_MS
        self._timer_ms = next_ms
        self._timer = self.loop.call_later(max(0.0, wait_ms / 1000), self._start_due)

    def _mind_clock(self) -> None:
        jump_s = self._clock.look()
        if jump_s:
            log.warning("the clock jumped by %.1f s, or the machine slept", jump_s)
            self._schedule.rebase(now_ms())
            self._load.forget()
            self.on_clock_jump(jump_s)

    def _watch_load(self) -> None:
        before, now_s = self._load.overloaded, self.loop.time()
        self._schedule.shedding = self._load.look(now_s)
        if self._load.overloaded and not before:
            self._overload_since_s = now_s
            log.warning("%s", self._say_overload())
            self.on_overload(self._say_overload(), 0.0)
        elif before and not self._load.overloaded:
            took_s = now_s - self._overload_since_s
            log.warning("no longer overloaded, after %.0f s", took_s)
            self.on_overload("", took_s)
        if not self._stopping:
            self.loop.call_later(_LOOK_AT_LOAD_S, self._watch_load)

    def _say_overload(self) -> str:
        is_full = self._prober.conversations >= self.most_in_flight
        return say_overload(
            self.late_ratio, self._prober.waiting_for_thread(), self._schedule.waiting if is_full else 0
        )

    def _count_room(self) -> int:
        options = self._config.worker
        return most_conversations(options.max_in_flight, self._file_limit, options.threads)

    def _name_talking(self) -> str:
        return self._prober.talking()

    def _begin_stop(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._wait_for_last(self.loop.time() + _LAST_RUNS_S)

    def _wait_for_last(self, until_s: float) -> None:
        if self.in_flight and self.loop.time() < until_s:
            self.loop.call_later(0.02, partial(self._wait_for_last, until_s))
            return
        self._prober.cancel_all()
        self.loop.stop()


def run_worker(config: Config, stop: threading.Event | None = None) -> None:
    """Probe everything that is configured until SIGTERM, SIGINT or `stop`.

    Raises WorkerLocked when another worker has the embedded store, StoreError when the store cannot be used or has
    another version's schema. Later store errors are told in the process row and in the log, and end nothing.
    """
    config = config.slim()
    with WorkerLock(config.database):
        store = open_store(config.database)
        try:
            _upgrade(config.database)
            _run(config, store, stop)
        finally:
            store.dispose()


def _upgrade(database_url: str) -> None:
    """In a process of its own: Alembic's 11 MiB are needed once, a worker's memory lasts. Raises StoreError."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", _UPGRADE], input=database_url, text=True, capture_output=True, check=False
    )
    if done.returncode:
        raise StoreError(done.stderr.strip() or f"the upgrade of the store ended with status {done.returncode}")


def _run(config: Config, store: Store, stop: threading.Event | None) -> None:
    sys.setswitchinterval(0.001)  # the loop must not wait 5 ms for a thread that computes
    results = ResultWriter(store)
    writer = Writer(results.save)
    worker = Worker(config, writer.put)
    office = WorkerOffice(config, store, worker, writer, _upgrade)
    office.open()
    _listen(worker, office, stop)
    writer.start()
    office.start()
    give_back()
    Sweeper(worker.loop).start()
    log.info("probing %d checks at location %s", len(config.estate.checks), config.location)
    worker.run()
    drained = writer.stop()
    results.close()
    office.close()
    log.info("stopped; %d results stored%s", writer.saved, "" if drained else f", {writer.waiting} lost")


def _listen(worker: Worker, office: WorkerOffice, stop: threading.Event | None) -> None:
    if stop is not None:
        _poll_stop(worker, stop)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: worker.stop())
        signal.signal(signal.SIGINT, lambda *_: worker.stop())
        signal.signal(signal.SIGHUP, lambda *_: office.reload())


def _poll_stop(worker: Worker, stop: threading.Event) -> None:
    if stop.is_set():
        worker.stop()
    else:
        worker.loop.call_later(0.05, partial(_poll_stop, worker, stop))


def same_question(one: Check, other: Check) -> bool:
    """Whether two versions of a check ask the same, so that counters of one are good for the other."""
    return one.kind == other.kind and one.probe.options == other.probe.options


def _cleaner(config: Config) -> Callable[[str], str]:
    redactor = Redactor(config.document.secrets)

    @lru_cache(maxsize=256)
    def cleaned(text: str) -> str:  # an outage says the same thousands of times
        return clean(redactor.mask(text))

    return cleaned


def _ignore(*_: object) -> None:
    pass
