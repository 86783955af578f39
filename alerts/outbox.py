"""The sender: takes what is due from the outbox, delivers it, and writes down how that went."""

import logging
import os
import random
import socket
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psutil
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from alerts.delivery import (
    Delivery,
    after_failure,
    after_success,
    blocked_until_ms,
    collapse,
    failed,
    is_broken,
    is_too_old,
    may_be_silenced,
    succeeded,
)
from alerts.incident import Severity, Silence
from alerts.message import Message, compose_test
from alerts.mute import Labels, silenced_by
from alerts.notifier import DeliveryError, Notifier
from alerts.route import target_labels
from alerts.store import outbox
from alerts.store.notifications import NotifierState, load_notifier_states
from alerts.store.silences import load_silences
from probes.store.database import writing
from probes.target import Estate

log = logging.getLogger(__name__)

_LEASE_MS = 60_000  # longer than any notifier's deadline
_MOST_PER_NOTIFIER = 4
_MOST = 32
_LOOK_AGAIN_MS = 15_000  # at what is silenced
_FALL_BACK_AFTER_MS = 120_000
_BLOCKED_MS = 60_000


class Outbox:
    """Delivers at least once, under ids that stay the same. Any number of senders may run on one store."""

    def __init__(
        self,
        engine: Engine,
        notifiers: Mapping[str, Notifier],
        estate: Estate,
        external_url: str,
        *,
        mask: Callable[[str], str] = str,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.configure(notifiers, estate, external_url, mask)
        self._engine = engine
        self._clock = clock
        self._owner = f"{socket.gethostname()[:30]}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._pool = ThreadPoolExecutor(_MOST, thread_name_prefix="sender")
        self._in_flight: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._states = load_notifier_states(engine)
        self._enable_all()
        self._release_orphans()

    def configure(
        self, notifiers: Mapping[str, Notifier], estate: Estate, external_url: str, mask: Callable[[str], str]
    ) -> None:
        """Take another configuration; what is in flight is not touched."""
        self._notifiers = notifiers
        self._estate = estate
        self._external_url = external_url
        self._mask = mask

    def step(self) -> int:
        """Start what may start now; returns how many deliveries that are."""
        now_ms = self._clock()
        if not outbox.is_work_waiting(self._engine, now_ms):
            return 0
        silences = load_silences(self._engine, now_ms)
        with writing(self._engine) as connection:
            outbox.release_expired(connection, now_ms)
            lines: defaultdict[tuple[str, str], list[Delivery]] = defaultdict(list)
            for delivery in outbox.read_waiting(connection):
                lines[delivery.line].append(delivery)
            pages_first = sorted(
                lines.values(), key=lambda line: (line[0].severity != Severity.PAGE, line[0].created_ms)
            )
            chosen = [self._take(connection, line, silences, now_ms) for line in pages_first]
        started = [delivery for delivery in chosen if delivery is not None]
        for delivery in started:
            self._pool.submit(self._attempt, delivery)
        return len(started)

    def wait_idle(self, timeout_s: float) -> bool:
        """True once nothing is in flight."""
        with self._idle:
            return self._idle.wait_for(lambda: not self._in_flight.total(), timeout_s)

    def close(self, timeout_s: float = 5.0) -> None:
        """Start no more, give what is in flight a little time; the rest is sent again by the next sender."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.wait_idle(timeout_s)

    def _take(
        self, connection: Connection, line: list[Delivery], silences: Sequence[Silence], now_ms: int
    ) -> Delivery | None:
        """What of a line is ours to send now; what that makes superfluous is superseded, the rest put off."""
        line.sort(key=lambda delivery: delivery.seq)
        held = any(delivery.last_error.startswith("silenced") for delivery in line)
        newest, older = collapse(line, held)
        if newest is None:
            outbox.supersede(connection, older, "over before anybody was told")
            return None
        if newest.due_ms > now_ms:
            return None
        silence = silenced_by(silences, self._labels(newest), now_ms)
        if silence is not None and may_be_silenced(newest, older):
            for delivery in line:
                outbox.defer(connection, delivery, now_ms + _LOOK_AGAIN_MS, f"silenced by {silence.id}")
            return None
        if is_too_old(newest, now_ms) and not held:
            outbox.give_up(connection, line, f"given up: {newest.last_error or 'never got its turn'}")
            return None
        if not self._claim(connection, newest, now_ms):
            return None
        outbox.supersede(connection, older, "a newer message says it all")
        return newest

    def _claim(self, connection: Connection, delivery: Delivery, now_ms: int) -> bool:
        state = self._state(delivery.notifier)
        blocked_ms = 0 if delivery.kind == "test" else blocked_until_ms(state, now_ms)
        late = now_ms - delivery.created_ms >= _FALL_BACK_AFTER_MS
        if late and (blocked_ms or is_broken(state)) and delivery.severity == Severity.PAGE:
            self._fall_back(connection, delivery, now_ms)
        if blocked_ms:
            outbox.defer(connection, delivery, min(blocked_ms, now_ms + _BLOCKED_MS), state.last_error)
            return False
        with self._lock:
            most = 1 if is_broken(state) else _MOST_PER_NOTIFIER
            if self._in_flight[delivery.notifier] >= most or self._in_flight.total() >= _MOST:
                return False
            if not outbox.claim(connection, delivery, self._owner, now_ms + _LEASE_MS):
                return False
            self._in_flight[delivery.notifier] += 1
            return True

    def _attempt(self, delivery: Delivery) -> None:
        try:
            self._deliver(delivery)
        except SQLAlchemyError:
            log.exception("delivery %s to %s: the store failed; it is sent again", delivery.id, delivery.notifier)
        finally:
            with self._idle:
                self._in_flight[delivery.notifier] -= 1
                self._idle.notify_all()

    def _deliver(self, delivery: Delivery) -> None:
        try:
            code = self._send(delivery)
        except DeliveryError as error:
            error.text = self._mask(error.text)
            self._failed(delivery, error)
        except Exception as error:
            log.exception("notifier %s broke over delivery %s", delivery.notifier, delivery.id)
            self._failed(delivery, DeliveryError(f"the notifier broke: {type(error).__name__}"))
        else:
            now_ms = self._clock()
            before = self._state(delivery.notifier)
            state = self._remember(after_success(before, now_ms))
            outbox.finish(self._engine, delivery, self._owner, succeeded(delivery, now_ms, code), state)
            if is_broken(before):
                outbox.wake(self._engine, delivery.notifier, now_ms)

    def _send(self, delivery: Delivery) -> int | None:
        notifier = self._notifiers.get(delivery.notifier)
        if notifier is None:
            raise DeliveryError("there is no such notifier in the configuration", permanent=True, gone=True)
        if delivery.incident_id is not None:
            return notifier.send(Message.from_json(delivery.payload))
        author = delivery.title.rpartition("(asked for by ")[2].rstrip(")")
        return notifier.send(
            compose_test(delivery.id, delivery.notifier, author, self._external_url, delivery.created_ms)
        )

    def _failed(self, delivery: Delivery, error: DeliveryError) -> None:
        now_ms = self._clock()
        outcome = failed(delivery, error, now_ms, random.Random())  # noqa: S311 - jitter
        state = self._state(delivery.notifier)
        if delivery.notifier in self._notifiers and not error.permanent:
            state = self._remember(after_failure(state, error, now_ms))
        if outcome.state == "pending" and is_broken(state) and state.open_until_ms and not error.permanent:
            # The breaker sets the pace: whichever page is the oldest is the next trial.
            outcome = replace(outcome, due_ms=max(now_ms, min(outcome.due_ms, state.open_until_ms)))
        level = logging.ERROR if outcome.state == "dead" else logging.WARNING
        log.log(level, "delivery %s to %s: %s (%s)", delivery.id, delivery.notifier, error.text, outcome.state)
        outbox.finish(self._engine, delivery, self._owner, outcome, state)
        if outcome.state == "dead" and delivery.severity == Severity.PAGE:
            with writing(self._engine) as connection:
                self._fall_back(connection, delivery, now_ms)

    def _fall_back(self, connection: Connection, delivery: Delivery, now_ms: int) -> None:
        """A page that one notifier cannot deliver goes to its fallback, else to another that works."""
        notifier = self._notifiers.get(delivery.notifier)
        named = notifier.fallback if notifier else None
        others = [name for name in self._notifiers if name != delivery.notifier and not is_broken(self._state(name))]
        to = named or next(iter(others), None)
        if to is not None and to in self._notifiers:
            outbox.hand_over(connection, delivery, to, now_ms)

    def _labels(self, delivery: Delivery) -> Labels:
        if delivery.incident_id is None:
            return {}
        message = Message.from_json(delivery.payload)
        labels = {
            "incident": frozenset({message.incident_id}),
            "site": frozenset({message.site}),
            "target": frozenset({message.root}),
            "tier": frozenset({message.tier}),
            "severity": frozenset({message.severity}),
            "reason": frozenset({message.reason}),
        }
        known = message.root in self._estate.targets
        return {**labels, **(target_labels(message.root, self._estate) if known else {})}

    def _state(self, name: str) -> NotifierState:
        with self._lock:
            return self._states.get(name) or NotifierState(name)

    def _remember(self, state: NotifierState) -> NotifierState:
        with self._lock:
            self._states[state.name] = state
        return state

    def _enable_all(self) -> None:
        """Whoever starts the process has seen to the receiver that was gone."""
        for name, state in self._states.items():
            if state.disabled:
                self._states[name] = NotifierState(name, last_ok_ms=state.last_ok_ms)

    def _release_orphans(self) -> None:
        """What a process of this machine was sending when it died need not wait for its lease to end."""
        host = socket.gethostname()[:30]
        with writing(self._engine) as connection:
            for owner in outbox.read_owners(connection):
                parts = owner.split(":")
                if parts[0] == host and parts[1].isdigit() and not psutil.pid_exists(int(parts[1])):
                    outbox.release_owner(connection, owner)
