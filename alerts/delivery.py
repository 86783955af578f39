"""What becomes of deliveries: which are still worth sending, when to try again, when to give up. Pure."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from alerts.incident import Severity
from alerts.notifier import DeliveryError
from alerts.store.notifications import NotifierState

_CAPS_S = (0, 5, 15, 30, 60, 120, 300)
_GIVE_UP_MS = {Severity.PAGE: 24 * 3_600_000, Severity.WARNING: 6 * 3_600_000}
_TEST_GIVE_UP_MS = 600_000
_REFUSALS = 3  # answers that say "never" are borne so often: proxies lie
_REFUSAL_WAIT_MS = 300_000
_LONGEST_PAUSE_MS = 3_600_000
_BREAKS_AT = 5
_TRIAL_EVERY_MS = 60_000


@dataclass(frozen=True, slots=True)
class Delivery:
    """A row of the outbox as the sender sees it."""

    id: str
    incident_id: str | None
    seq: int
    notifier: str
    kind: str
    severity: str
    title: str
    payload: str
    created_ms: int
    due_ms: int
    attempts: int
    refusals: int
    last_error: str

    @property
    def line(self) -> tuple[str, str]:
        """Deliveries of one line go one after the other."""
        return self.incident_id or self.id, self.notifier


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attempt leads to: state sent, pending or dead."""

    state: str
    due_ms: int
    attempts: int
    refusals: int
    code: int | None
    error: str


def collapse(line: Sequence[Delivery], held: bool) -> tuple[Delivery | None, list[Delivery]]:
    """Of one line, lowest seq first: the delivery that is worth sending, and those that it makes superfluous.

    The newest tells everything. Trouble that was over before anybody was told of it is one message if it was a page,
    none if it was a warning or `held` back on purpose.
    """
    newest, older = line[-1], list(line[:-1])
    if newest.kind == "resolve" and _is_untold(older) and (held or newest.severity != Severity.PAGE):
        return None, list(line)
    return newest, older


def may_be_silenced(newest: Delivery, older: Sequence[Delivery]) -> bool:
    """Not a test; nor the end of something that people were told of: only creation is suppressed, never resolution."""
    return newest.kind != "test" and (newest.kind != "resolve" or _is_untold(older))


def _is_untold(older: Sequence[Delivery]) -> bool:
    return any(one.kind in ("fire", "refire") and one.attempts == 0 for one in older)


def succeeded(delivery: Delivery, now_ms: int, code: int | None) -> Outcome:
    """The receiver has it."""
    return Outcome("sent", now_ms, delivery.attempts + 1, delivery.refusals, code, "")


def is_too_old(delivery: Delivery, now_ms: int) -> bool:
    """True where nobody wants to hear it any more: a day for a page, six hours for a warning."""
    limit_ms = _TEST_GIVE_UP_MS if delivery.kind == "test" else _GIVE_UP_MS[Severity(delivery.severity)]
    return now_ms - delivery.created_ms >= limit_ms


def failed(delivery: Delivery, error: DeliveryError, now_ms: int, chance: random.Random) -> Outcome:
    """The receiver has it not, as far as we know: full jitter on 5 s … 5 min, for a day (a page) or six hours."""
    attempts = delivery.attempts + 1
    refusals = delivery.refusals + (1 if error.permanent or error.gone else 0)
    refused = refusals >= _REFUSALS or (refusals and delivery.kind == "test")
    if error.gone or refused or is_too_old(delivery, now_ms):
        return Outcome("dead", now_ms, attempts, refusals, error.code, error.text)
    cap_s = _CAPS_S[min(attempts, len(_CAPS_S) - 1)]
    wait_ms = int(chance.uniform(0, cap_s) * 1000)
    if error.permanent:
        wait_ms = _REFUSAL_WAIT_MS
    return Outcome("pending", now_ms + max(wait_ms, _pause_ms(error)), attempts, refusals, error.code, error.text)


def after_success(state: NotifierState, now_ms: int) -> NotifierState:
    """It works: the breaker closes."""
    return NotifierState(state.name, last_ok_ms=now_ms)


def after_failure(state: NotifierState, error: DeliveryError, now_ms: int) -> NotifierState:
    """Five failures in a row open the breaker; a Retry-After pauses the whole notifier; 410 ends it."""
    failures = state.failures + 1
    pause_ms = _pause_ms(error)
    return replace(
        state,
        failures=failures,
        open_until_ms=now_ms + _TRIAL_EVERY_MS if failures >= _BREAKS_AT else state.open_until_ms,
        paused_until_ms=now_ms + pause_ms if pause_ms else state.paused_until_ms,
        disabled=state.disabled or error.gone,
        last_error=error.text,
    )


def is_broken(state: NotifierState) -> bool:
    """True while the breaker is open: pages go to the fallback."""
    return state.disabled or state.failures >= _BREAKS_AT


def blocked_until_ms(state: NotifierState, now_ms: int) -> int:
    """Until when nothing may be sent: while paused, between trials of an open breaker, after 410. 0: send."""
    if state.disabled:
        return now_ms + _LONGEST_PAUSE_MS
    until_ms = max(state.paused_until_ms or 0, state.open_until_ms or 0)
    return until_ms if until_ms > now_ms else 0


def _pause_ms(error: DeliveryError) -> int:
    return min(_LONGEST_PAUSE_MS, int((error.retry_after_s or 0) * 1000))
