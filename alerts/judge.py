"""The engine's step: new results → states → incidents → notifications, decided purely, written in one transaction."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, Engine

from alerts.announce import Kind, Notice, Stage, announce
from alerts.book import Book
from alerts.check_state import CheckState
from alerts.condition import conditions
from alerts.config import Alerting
from alerts.correlate import Scene, correlate, is_target
from alerts.incident import Incident
from alerts.message import Message, addressed, affected_of, compose, title_of
from alerts.mute import in_maintenance
from alerts.no_data import Silent, correlate_no_data, silences_of
from alerts.root import Blame, Graph
from alerts.route import receivers, target_labels
from alerts.rules import apply_result, is_old, is_silent, resume
from alerts.store.check_states import (
    forget_check_states,
    load_check_states,
    read_turn,
    take_turn,
    write_check_states,
)
from alerts.store.incidents import read_live_incidents, write_incidents
from alerts.store.outbox import read_told, write_notifications
from probes.config import Config
from probes.redact import clean
from probes.result import Result
from probes.store.database import reading, writing
from probes.store.results import load_fresh_results

log = logging.getLogger(__name__)

_SCAN_EVERY_MS = 5_000
_FLUSH_EVERY_MS = 10_000


class Overtaken(Exception):
    """Somebody wrote between our reading and our writing: decide again."""


@dataclass(frozen=True, slots=True)
class _Decision:
    states: dict[str, CheckState]
    dirty: dict[str, CheckState]
    book: Book
    notices: list[Notice]


class Judge:
    """Decides what stored results mean. `step` is one turn at a given time; it never sleeps."""

    def __init__(self, engine: Engine, config: Config, alerting: Alerting, now_ms: int) -> None:
        self._engine = engine
        self._started_ms = now_ms
        self._turn = -1
        self._states: dict[str, CheckState] = {}
        self._unsaved: set[str] = set()
        self._flushed_ms = now_ms
        self._scanned_ms = 0
        self.configure(config, alerting)

    def configure(self, config: Config, alerting: Alerting) -> None:
        """Take another configuration; states and open incidents are kept, thresholds apply from now on."""
        self._config = config
        self._estate = config.estate
        self._alerting = alerting
        self._graph = Graph(config.estate)
        self._turn = -1
        self._scanned_ms = 0

    def resume(self, gap_ms: int, now_ms: int) -> None:
        """Take up work after a standstill: suspicions are dropped, silence counts from now."""
        self._started_ms = now_ms
        self._read_states()
        resumed = {
            check_id: resume(self._estate.checks[check_id], state, gap_ms)
            for check_id, state in self._states.items()
            if check_id in self._estate.checks
        }
        changed = [state for check_id, state in resumed.items() if state != self._states[check_id]]
        self._states.update(resumed)
        if changed:
            with writing(self._engine) as connection:
                write_check_states(connection, changed)

    def shift(self, jump_ms: int, now_ms: int) -> None:
        """The wall clock jumped: what was to happen in an hour still happens in an hour."""
        self._started_ms = now_ms
        with writing(self._engine) as connection:
            live = [incident for incident in read_live_incidents(connection, now_ms) if incident.is_open]
            write_incidents(connection, [_shifted(incident, jump_ms) for incident in live])

    def step(self, now_ms: int) -> list[Notice]:
        """Judge what is new and act on what is due. Returns the notices that were queued."""
        for _ in range(5):
            try:
                return self._step(now_ms)
            except Overtaken:
                self._turn = -1
        log.warning("the store changed under us five times in a row; trying again with the next turn")
        return []

    def _step(self, now_ms: int) -> list[Notice]:
        with reading(self._engine) as connection:
            turn = read_turn(connection)
            live = read_live_incidents(connection, self._reopen_after_ms(now_ms))
        if turn != self._turn:
            self._read_states()
            self._turn = turn
        fresh = load_fresh_results(self._engine, self._seen(), self._estate.checks)
        scan = now_ms - self._scanned_ms >= _SCAN_EVERY_MS
        if not fresh and not scan and not any(_wants_attention(incident, now_ms) for incident in live):
            return []
        decision = self._decide(fresh, live, now_ms)
        self._scanned_ms = now_ms
        self._save(decision, live, now_ms)
        self._states = decision.states
        for notice in decision.notices:
            log.info("incident %s %s: %s", notice.incident.id, notice.kind, notice.incident.title)
        return decision.notices

    def _decide(self, fresh: Sequence[Result], live: Sequence[Incident], now_ms: int) -> _Decision:
        states = dict(self._states)
        dirty: dict[str, CheckState] = {}
        for check_id in self._estate.checks.keys() - states.keys():
            states[check_id] = dirty[check_id] = CheckState(check_id, since_ms=now_ms)
        for result in fresh:
            self._judge(result, states, dirty, now_ms)
        silent = self._find_silent(states, dirty, now_ms)
        book = Book(live, now_ms)
        blame = Blame(self._graph, conditions(self._estate, states, now_ms))
        scene = Scene(self._estate, blame, self._alerting.timings, now_ms, self._is_muted(blame, now_ms))
        correlate(book, scene)
        correlate_no_data(book, silent, self._alerting.timings)
        followers = blame.followers()
        for incident in book.open:
            book.put(self._describe(incident, blame, followers))
        notices = announce(book, self._stage(blame, followers, scene.muted))
        return _Decision(states, dirty, book, notices)

    def _judge(self, result: Result, states: dict[str, CheckState], dirty: dict[str, CheckState], now_ms: int) -> None:
        check = self._estate.checks.get(result.check_id)
        if check is None:
            return
        before = states[check.id]
        if is_old(check, result.slot_ms, now_ms):
            # What happened while nobody judged is history: it neither fires nor resolves.
            after = replace(before, seen={**before.seen, result.location: result.slot_ms})
        else:
            after = apply_result(check, before, result)
        states[check.id] = after
        self._unsaved.add(check.id)
        if check.id in dirty or replace(after, seen=before.seen, vote_ms=before.vote_ms) != before:
            dirty[check.id] = after

    def _find_silent(self, states: dict[str, CheckState], dirty: dict[str, CheckState], now_ms: int) -> list[Silent]:
        silent: dict[str, int] = {}
        by_location: dict[str, dict[str, set[str]]] = {}
        for check in self._estate.checks.values():
            state = states[check.id]
            stale = is_silent(check, state, now_ms)
            if stale and now_ms - self._started_ms > check.stale_after_s * 1000:
                silent[check.id] = state.since_ms if state.vote_ms is None else state.vote_ms
            if stale and not state.stale:
                states[check.id] = dirty[check.id] = replace(state, stale=True)
            location = max(state.seen, key=lambda place: state.seen[place], default=self._config.location)
            by_location.setdefault(location, {}).setdefault(check.target, set()).add(check.id)
        frozen = {
            location: {target: frozenset(checks) for target, checks in targets.items()}
            for location, targets in by_location.items()
        }
        return silences_of(frozen, silent)

    def _is_muted(self, blame: Blame, now_ms: int) -> Callable[[str], bool]:
        windows = self._alerting.maintenance

        def muted(target: str) -> bool:
            """Under maintenance now, or when it was last asked: what fails at the end must fail once more."""
            if not windows or target not in self._estate.targets:
                return False
            labels = target_labels(target, self._estate)
            vote_ms = blame.conditions[target].vote_ms if target in blame.conditions else None
            return in_maintenance(windows, labels, now_ms) or (
                vote_ms is not None and in_maintenance(windows, labels, vote_ms)
            )

        return muted

    def _stage(self, blame: Blame, followers: Mapping[str, Collection[str]], muted: Callable[[str], bool]) -> Stage:
        def settled(incident: Incident) -> bool:
            if not is_target(incident) or incident.root not in blame.conditions:
                return False
            return blame.level(incident.root) is not None and blame.is_settled(incident.root)

        return Stage(
            timings=self._alerting.timings,
            settled=settled,
            muted=lambda incident: muted(incident.root),
            affected=lambda incident: _affected(incident, followers),
        )

    def _describe(self, incident: Incident, blame: Blame, followers: Mapping[str, Collection[str]]) -> Incident:
        """Title and cause as they are now; the cause stays what it was first unless the root changes its reason."""
        if not is_target(incident):
            named = [target for target in _affected(incident, followers) if target != incident.root]
            return replace(incident, title=title_of(incident, self._estate, named), reason="no_data")
        root = blame.conditions.get(incident.root)
        if root is None or not root.is_bad:
            return incident
        cause, reason = incident.cause, incident.reason
        if root.reason != reason or not cause:
            cause, reason = clean(root.message, 500), root.reason
        described = replace(incident, cause=cause, reason=reason)
        affected = _affected(incident, followers)
        return replace(described, title=title_of(described, self._estate, affected))

    def _save(self, decision: _Decision, live: Sequence[Incident], now_ms: int) -> None:
        book = decision.book
        gone = [check_id for check_id in decision.states if check_id not in self._estate.checks]
        flush = now_ms - self._flushed_ms >= _FLUSH_EVERY_MS
        if not (decision.dirty or book.changed or gone or (flush and self._unsaved)):
            return
        saved = self._unsaved | decision.dirty.keys() if flush else decision.dirty.keys()
        with writing(self._engine) as connection:
            if not take_turn(connection, self._turn):
                raise Overtaken
            if list(live) != read_live_incidents(connection, self._reopen_after_ms(now_ms), lock=True):
                raise Overtaken
            write_check_states(connection, [decision.states[one] for one in saved if one in decision.states])
            forget_check_states(connection, gone)
            write_incidents(connection, [book.incidents[one] for one in book.changed], book.events)
            write_notifications(connection, self._address(connection, decision, now_ms))
        self._turn += 1
        self._unsaved -= set(saved)
        if flush:
            self._flushed_ms = now_ms
        for check_id in gone:
            del decision.states[check_id]

    def _address(self, connection: Connection, decision: _Decision, now_ms: int) -> list[tuple[str, Message]]:
        """Each notice for everyone who hears of it; who was not told yet is told of it as new."""
        found = conditions(self._estate, decision.states, now_ms)
        messages = []
        for notice in decision.notices:
            incident = notice.incident
            told = read_told(connection, incident.id)
            hear = receivers(
                incident,
                self._estate,
                self._alerting.routes,
                self._alerting.notifiers,
                default=self._alerting.notify,
            )
            if notice.kind is Kind.RESOLVE:
                hear = tuple(name for name in told if name in self._alerting.notifiers)
            # A resolved message still names everybody who was in it.
            named = incident.told if notice.kind is Kind.RESOLVE else _named(incident)
            message = compose(
                notice.kind,
                incident,
                affected_of(named, found, self._estate, incident.root),
                self._estate,
                external_url=self._alerting.external_url,
                at_ms=now_ms,
            )
            for name in hear:
                late = notice.kind in (Kind.UPDATE, Kind.REPEAT) and name not in told
                fitting = replace(message, kind=Kind.FIRE) if late else message
                messages.append((name, addressed(fitting, name)))
        return messages

    def _seen(self) -> dict[tuple[str, str], int]:
        return {
            (check_id, location): slot_ms
            for check_id, state in self._states.items()
            for location, slot_ms in state.seen.items()
        }

    def _read_states(self) -> None:
        self._states = load_check_states(self._engine)
        self._unsaved.clear()

    def _reopen_after_ms(self, now_ms: int) -> int:
        return now_ms - int(self._alerting.timings.reopen_window * 1000)


def _affected(incident: Incident, followers: Mapping[str, Collection[str]]) -> list[str]:
    """Members, and the suspects that are about to become some."""
    return list(dict.fromkeys([incident.root, *incident.active, *sorted(followers.get(incident.root, ()))]))


def _named(incident: Incident) -> list[str]:
    return list(dict.fromkeys([incident.root, *incident.active, *incident.told]))


def _wants_attention(incident: Incident, now_ms: int) -> bool:
    """True if time alone can change something before the next scan."""
    if not incident.is_open:
        return incident.unannounced
    timers = (incident.update_due_ms, incident.repeat_due_ms, incident.acked_until_ms)
    return incident.wait_until_ms is not None or any(due_ms is not None and due_ms <= now_ms for due_ms in timers)


def _shifted(incident: Incident, jump_ms: int) -> Incident:
    def moved(due_ms: int | None) -> int | None:
        return None if due_ms is None else due_ms + jump_ms

    return replace(
        incident,
        wait_until_ms=moved(incident.wait_until_ms),
        update_due_ms=moved(incident.update_due_ms),
        repeat_due_ms=moved(incident.repeat_due_ms),
        acked_until_ms=moved(incident.acked_until_ms),
    )
