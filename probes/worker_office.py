"""What a worker does beside probing, off the loop: requests, heartbeat calls, its process row, rollups, reload."""

import logging
import os
import socket
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from probes.chores import Chore, Chores
from probes.config import Config
from probes.config_watch import ConfigWatch
from probes.facts import Change, FactBook, Facts
from probes.memory import resident_bytes
from probes.prober import now_ms
from probes.store.asks import load_pushes_after, newest_ids, take_run_requests
from probes.store.damage import look_for_damage
from probes.store.database import Store
from probes.store.events import record_event
from probes.store.facts import load_facts, save_facts
from probes.store.file_watch import FileWatch
from probes.store.first_seen import remember_first_seen
from probes.store.maintenance import checkpoint
from probes.store.meta import DAMAGE, set_meta
from probes.store.processes import Process, beat, load_processes
from probes.store.session import Session
from probes.store.upkeep import Upkeep, is_due
from probes.writer import Writer

if TYPE_CHECKING:
    from probes.worker import Worker

log = logging.getLogger(__name__)

CHECKPOINT_EVERY_S = 60.0
DAMAGE_EVERY_S = 86_400.0
_LOOKING = "looking for damage"
_GAP_MS = 30_000
"""Silence of a worker that is worth an event."""


class WorkerOffice:
    """Opened and closed by the worker's thread; in between it works in threads of its own."""

    def __init__(
        self, config: Config, store: Store, worker: "Worker", writer: Writer, upgrade: Callable[[str], object]
    ) -> None:
        self._config, self._store, self._worker, self._writer = config, store, worker, writer
        self._name = f"worker/{config.location}@{socket.gethostname()}"
        self._version = _version()
        self._started_ms = now_ms()
        self._asks = Session(store)
        self._last_push = 0
        self._last_count = (time.monotonic(), 0)
        self._watch = ConfigWatch(config, self._take_config)
        self._restart_note = ""
        self._upkeep = Upkeep(config.database)
        self._kept_up = False
        self._book = FactBook()
        self._untold: list[Change] = []
        self._unsaved: dict[str, Facts] = {}
        self._warning = ""
        self._damage = ""
        self._upgrade = upgrade
        self._file_watch = FileWatch(store)
        self._file_note = ""
        self._is_file_new = False
        self._desk = Chores(
            "desk",
            Chore("reading requests and heartbeat calls", 1.0, self._take_asks),
            Chore("recording what changed", 2.0, self._record_changes),
            Chore("watching the configuration", 1.0, self._watch.look),
            Chore("watching the store's file", 5.0, self._look_at_file),
            Chore("writing the process row", 5.0, self._beat),
        )
        self._maintenance = Chores(
            "maintenance",
            Chore("packing results", 300.0, self._keep_up),
            Chore(_LOOKING, DAMAGE_EVERY_S, self._look_for_damage),
            Chore("checkpointing the store", CHECKPOINT_EVERY_S, self._checkpoint),
        )

    def open(self) -> None:
        """Say that we are here, and since when nobody was; learn the heartbeat calls made so far. Raises StoreError."""
        self._record_gap()
        self._worker.know_first_seen(self._remember_first_seen())
        self._last_push, pushes = load_pushes_after(self._store, 0)
        for check_id, push in pushes:
            if check_id in self._config.estate.checks:
                self._worker.hear_push(check_id, push)
        self._open_book()
        self._worker.on_clock_jump = self._hear_clock_jump
        self._worker.on_overload = self._hear_overload
        self._beat()

    def start(self) -> None:
        """Begin to work."""
        self._desk.start()
        self._maintenance.start()

    def close(self) -> None:
        """End the threads and write the last process row."""
        self._desk.stop()
        self._upkeep.stop()
        self._maintenance.stop()
        self._asks.close()
        try:
            self._record_changes()
            self._beat()
        except Exception:
            log.exception("the last changes and the last process row could not be written")

    def reload(self) -> None:
        """Read the configuration again now. Safe from a signal handler."""
        self._watch.force()
        self._desk.hurry("watching the configuration")

    def _record_gap(self) -> None:
        for process in load_processes(self._store):
            if process.name == self._name and self._started_ms - process.seen_ms > _GAP_MS:
                text = f"nothing was probed from location {self._config.location}: its worker was not running"
                record_event(
                    self._store, process.seen_ms, "gap", text, subject=self._config.location, end_ms=self._started_ms
                )

    def _hear_clock_jump(self, jump_s: float) -> None:
        # In the loop's thread: only leave a note, the desk writes it.
        at_ms = now_ms()
        self._desk.do_once(
            lambda: record_event(
                self._store,
                min(at_ms, at_ms - int(jump_s * 1000)),
                "clock_jump",
                f"the clock jumped by {jump_s:.1f} s, or the machine slept",
                subject=self._config.location,
                end_ms=at_ms,
            )
        )

    def _open_book(self) -> None:
        known = load_facts(self._store, self._config.location)
        gone: dict[str, Facts] = {check_id: {} for check_id in known if check_id not in self._config.estate.checks}
        if gone:
            save_facts(self._store, self._config.location, gone)
        self._book = FactBook(known)

    def _record_changes(self) -> None:
        """Events first: if the store fails in between, a change is told twice rather than never."""
        location = self._config.location
        while self._worker.facts:
            check_id, facts, at_ms = self._worker.facts.popleft()
            self._untold += self._book.hear(check_id, facts, at_ms)
            self._unsaved[check_id] = self._book.facts_of(check_id)
        while self._untold:
            change = self._untold[0]
            text = f"{change.text} (seen from {location})"
            record_event(self._store, change.at_ms, change.kind, text, subject=change.check_id)
            log.info("%s: %s", change.check_id, change.text)
            self._untold.pop(0)
        if self._unsaved:
            save_facts(self._store, location, self._unsaved)
            self._unsaved = {}

    def _hear_overload(self, text: str, took_s: float) -> None:
        # In the loop's thread, as above.
        at_ms = now_ms()
        begin_ms = at_ms - int(took_s * 1000)
        said = text or f"overloaded for {took_s:.0f} s, over now"
        self._desk.do_once(
            lambda: record_event(
                self._store,
                begin_ms,
                "overload",
                said,
                subject=self._config.location,
                end_ms=at_ms if took_s else None,
            )
        )

    def _take_asks(self) -> None:
        request_id, push_id = newest_ids(self._asks)
        if request_id:
            self._take_requests()
        if push_id > self._last_push:
            self._take_pushes()

    def _take_requests(self) -> None:
        for check_id in take_run_requests(self._store):
            self._worker.loop.call_soon(partial(self._worker.run_now, check_id))

    def _take_pushes(self) -> None:
        self._last_push, pushes = load_pushes_after(self._store, self._last_push)
        for check_id, push in pushes:
            if check_id in self._config.estate.checks:
                self._worker.loop.call_soon(partial(self._worker.hear_push, check_id, push))

    def _take_config(self, config: Config) -> None:
        kept = ("database", "location")
        changed = [name for name in kept if getattr(config, name) != getattr(self._config, name)]
        self._restart_note = f"Restart the worker: {' and '.join(changed)} changed." if changed else ""
        self._config = config
        self._worker.loop.call_soon(partial(self._worker.know_first_seen, self._remember_first_seen()))
        self._worker.loop.call_soon(partial(self._worker.replace_config, config))
        log.info("configuration reloaded: %d checks", len(config.estate.checks))
        record_event(self._store, now_ms(), "config", f"configuration reloaded: {len(config.estate.checks)} checks")

    def _remember_first_seen(self) -> dict[str, int]:
        ids = [check.id for check in self._config.estate.checks.values() if check.kind == "heartbeat"]
        return remember_first_seen(self._store, ids, now_ms())

    def _look_at_file(self) -> None:
        happened = self._file_watch.look()
        if happened:
            self._file_note = f"{happened[0].upper()}{happened[1:]}; results go to the new one."
            log.error("%s; going on with the one that is there now", happened)
            self._is_file_new = True
        if self._is_file_new:  # until it goes well: the writer keeps its results meanwhile
            self._upgrade(self._config.database)
            self._is_file_new = False
            self._last_push, _ = load_pushes_after(self._store, 0)
            self._worker.loop.call_soon(partial(self._worker.know_first_seen, self._remember_first_seen()))
            record_event(self._store, now_ms(), "store", happened or self._file_note)

    def _keep_up(self) -> None:
        if is_due(self._store, now_ms()) or not self._kept_up:
            self._upkeep.run(self._config.retention, now_ms())
            self._kept_up = True

    def _checkpoint(self) -> None:
        self._warning = checkpoint(self._store).warning

    def _look_for_damage(self) -> None:
        self._damage = look_for_damage(self._config.database)
        if not self._damage:
            set_meta(self._store, DAMAGE, None)
            return
        log.error("%s", self._damage)
        set_meta(self._store, DAMAGE, self._damage)
        record_event(self._store, now_ms(), "store", self._damage)

    def _beat(self) -> None:
        if "damaged" in self._writer.trouble and not self._damage:
            self._maintenance.hurry(_LOOKING)
        beat(
            self._store,
            Process(
                name=self._name,
                role="worker",
                location=self._config.location,
                pid=os.getpid(),
                version=self._version,
                started_ms=self._started_ms,
                seen_ms=now_ms(),
                figures=self._figures(),
                notes=tuple(self._notes()),
            ),
        )

    def _figures(self) -> dict[str, float]:
        worker, writer = self._worker, self._writer
        (then, count), now = self._last_count, time.monotonic()
        self._last_count = (now, worker.finished)
        lateness = sorted(worker.lateness_s)
        return {
            "checks": len(self._config.estate.checks),
            "checks_per_s": round((worker.finished - count) / max(now - then, 0.001), 2),
            "lateness_p50_s": percentile(lateness, 0.50),
            "lateness_p99_s": percentile(lateness, 0.99),
            "missed": worker.missed,
            "overloaded": worker.overloaded,
            "late_ratio": round(worker.late_ratio, 4),
            "shed": worker.shed,
            "in_flight": worker.in_flight,
            "waiting": worker.waiting,
            "loop_held_up": worker.watchdog.times,
            "threads_stuck": worker.threads_stuck,
            "queue": writer.waiting,
            "results": writer.saved,
            "results_dropped": writer.dropped,
            "store_errors": writer.errors,
            "rss_bytes": resident_bytes(),
            "cpu_s": round(time.process_time(), 3),
        }

    def _notes(self) -> list[str]:
        notes = [
            *self._worker.troubles,
            self._watch.trouble,
            self._restart_note,
            self._writer.trouble,
            self._damage,
            self._warning,
            self._file_note,
        ]
        if self._worker.threads_stuck:
            notes.append(f"{self._worker.threads_stuck} threads are stuck in a driver past their deadline.")
        return [note for note in (*notes, *self._desk.troubles, *self._maintenance.troubles) if note]


def percentile(ordered: list[float], share: float) -> float:
    """The value below which a share of the ordered values lies (nearest rank); 0 for none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def _version() -> str:
    try:
        return version("backwatch")
    except PackageNotFoundError:
        return "0"
