"""The alert engine as a process: one loop that judges, one thread that sends, both stoppable, both restartable."""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from types import FrameType

from sqlalchemy import Engine

from alerts.config import Alerting, load_all
from alerts.judge import Judge
from alerts.message import utc
from alerts.outbox import Outbox
from alerts.own_trouble import Courier, OwnTrouble
from alerts.store.notifications import pending
from probes.clockwatch import ClockWatch
from probes.config import Config
from probes.config_watch import stamp_of
from probes.document import ConfigError
from probes.redact import Redactor
from probes.store.database import StoreError, open_database
from probes.store.events import record_event
from probes.store.meta import DAMAGE, get_meta, set_meta
from probes.store.processes import Process, beat, forget_process
from probes.store.schema import upgrade

log = logging.getLogger(__name__)

_JUDGE_EVERY_S = 0.5
_SEND_EVERY_S = 0.25
_BEAT_EVERY_S = 5.0
_BEGIN_EVERY_S = 5.0
_GAP_MS = 60_000
_TICK = "alerts_tick_ms"


def run_alerts(config: Config, alerting: Alerting, stop: threading.Event | None = None) -> None:
    """Judge and send until `stop` is set. Without one, SIGTERM and SIGINT stop, SIGHUP reads the configuration anew."""
    upgrade(config.database)
    engine = open_database(config.database, durable=True)
    reload_wanted = threading.Event()
    if stop is None:
        stop = threading.Event()
        _listen_to_signals(stop, reload_wanted)
    courier = Courier(config.estate, alerting, Redactor(config.document.secrets).mask)
    trouble = OwnTrouble(courier.bring, alerting.external_url)
    try:
        process = _begin(
            partial(_AlertProcess, engine, config, alerting, reload_wanted, courier, trouble), trouble, stop
        )
        if process is not None:
            process.run(stop)
    finally:
        courier.close()
        engine.dispose()


def _begin(make: Callable[[], "_AlertProcess"], trouble: OwnTrouble, stop: threading.Event) -> "_AlertProcess | None":
    """The process at work on what the store holds; while that cannot be read, people are told. None when stopped."""
    while not stop.is_set():
        try:
            process = make()
            process.take_up()
        except StoreError as error:
            log.error("the alert engine cannot begin: %s", error)
            trouble.look("store", f"alerts are held up: {error}", _now_ms())
            stop.wait(_BEGIN_EVERY_S)
        else:
            return process
    return None


class _AlertProcess:
    """What the loops share."""

    def __init__(  # noqa: PLR0917
        self,
        engine: Engine,
        config: Config,
        alerting: Alerting,
        reload_wanted: threading.Event,
        courier: Courier,
        own_trouble: OwnTrouble,
    ) -> None:
        self._reload_wanted = reload_wanted
        self._courier = courier
        self._own_trouble = own_trouble
        self._engine = engine
        self._config = config
        self._name = f"alerts/{config.location}@{socket.gethostname()}"
        self._started_ms = _now_ms()
        self._trouble = ""
        self._notes = alerting.warnings
        self._looked_at = stamp_of(config.source)
        self._judge = Judge(engine, config, alerting, self._started_ms)
        self._outbox = Outbox(
            engine,
            alerting.notifiers,
            config.estate,
            alerting.external_url,
            mask=Redactor(config.document.secrets).mask,
        )

    def run(self, stop: threading.Event) -> None:
        """Until `stop`."""
        sender = threading.Thread(target=self._send, args=(stop,), name="outbox", daemon=True)
        sender.start()
        log.info("alert engine at work on %s", self._config.source)
        clock = ClockWatch()
        beaten_s = 0.0
        while not stop.wait(_JUDGE_EVERY_S):
            try:
                if jump_s := clock.look():
                    self._note_jump(int(jump_s * 1000))
                self._judge.step(_now_ms())
                if time.monotonic() - beaten_s >= _BEAT_EVERY_S:
                    beaten_s = time.monotonic()
                    self._reload_if_changed()
                    self._beat()
                    self._own_trouble.look("store", "", _now_ms())
                    self._own_trouble.look("damage", get_meta(self._engine, DAMAGE) or "", _now_ms(), at_once=True)
            except Exception as error:
                self._own_trouble.look("store", f"alerts are held up: {error}", _now_ms())
                log.exception("the alert engine stumbled; it goes on with the next turn")
        sender.join(timeout=10)
        self._outbox.close()
        forget_process(self._engine, self._name)
        log.info("alert engine stopped")

    def _send(self, stop: threading.Event) -> None:
        while not stop.wait(_SEND_EVERY_S):
            try:
                self._outbox.step()
            except Exception:
                log.exception("the sender stumbled; it goes on with the next turn")

    def take_up(self) -> None:
        """Go on from where the last engine stopped. Raises StoreError."""
        last_ms = int(get_meta(self._engine, _TICK) or 0)
        gap_ms = self._started_ms - last_ms if last_ms else 0
        self._judge.resume(gap_ms, self._started_ms)
        if gap_ms > _GAP_MS:
            text = f"the alert engine did not run from {utc(last_ms)} to {utc(self._started_ms)}"
            record_event(self._engine, last_ms, "gap", text, subject="alerts", end_ms=self._started_ms)
        self._beat()

    def _beat(self) -> None:
        now_ms = _now_ms()
        waiting = pending(self._engine)
        figures: dict[str, float] = {"outbox_pending": waiting.n, "outbox_dead": waiting.dead}
        if waiting.oldest_due_ms is not None:
            figures["outbox_late_s"] = max(0, now_ms - waiting.oldest_due_ms) / 1000
        notes = tuple(note for note in (self._trouble, *self._notes) if note)
        one = Process(
            self._name, "alerts", self._config.location, os.getpid(), version("backwatch"),
            self._started_ms, now_ms, figures, notes,
        )  # fmt: skip
        beat(self._engine, one)
        set_meta(self._engine, _TICK, str(now_ms))

    def _note_jump(self, jump_ms: int) -> None:
        now_ms = _now_ms()
        log.warning("the clock jumped by %.1f s; timers are moved along", jump_ms / 1000)
        self._judge.shift(jump_ms, now_ms)
        text = f"the clock of the alert engine jumped by {jump_ms / 1000:+.1f} s"
        record_event(self._engine, now_ms, "clock_jump", text, subject="alerts")

    def _reload_if_changed(self) -> None:
        modified = stamp_of(self._config.source)
        if modified == self._looked_at and not self._reload_wanted.is_set():
            return
        self._reload_wanted.clear()
        self._looked_at = modified
        try:
            config, alerting = load_all(self._config.source, self._config.data_dir)
        except (ConfigError, OSError) as error:
            self._trouble = f"The configuration on disk is broken, the one before stays in force: {error}"[:500]
            log.error("%s", self._trouble)
            return
        self._trouble = ""
        self._notes = alerting.warnings
        if config.digest == self._config.digest:
            return
        self._config = config
        self._judge.configure(config, alerting)
        self._courier.configure(config.estate, alerting, Redactor(config.document.secrets).mask)
        self._outbox.configure(
            alerting.notifiers, config.estate, alerting.external_url, Redactor(config.document.secrets).mask
        )
        log.info("the configuration was read anew")


def _listen_to_signals(stop: threading.Event, reload_wanted: threading.Event) -> None:
    def on_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    def on_reload(_number: int, _frame: FrameType | None) -> None:
        reload_wanted.set()

    signal.signal(signal.SIGTERM, on_stop)
    signal.signal(signal.SIGINT, on_stop)
    signal.signal(signal.SIGHUP, on_reload)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
