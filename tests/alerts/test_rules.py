"""Rows 1 to 12 of the state machine."""

from dataclasses import replace
from typing import Any

import pytest

from alerts.check_state import CheckState, State
from alerts.rules import apply_result, is_old, is_silent, resume
from probes.result import Reason, Result, Status
from probes.target import Limit

UP, DEGRADED, DOWN, UNKNOWN = Status.UP, Status.DEGRADED, Status.DOWN, Status.UNKNOWN


def result(status: Status, slot_ms: int, reason: Reason | None = None, **metrics: float) -> Result:
    return Result("shop/db/http", "default", slot_ms, slot_ms, status, reason, "said", metrics=metrics)


def play(check: Any, statuses: list[Status], state: CheckState | None = None) -> CheckState:
    state = state or CheckState(check.id)
    start = max(state.seen.values(), default=0)
    for turn, status in enumerate(statuses, start=1):
        state = apply_result(check, state, result(status, start + turn * 1000))
    return state


@pytest.fixture
def check(shop: Any) -> Any:
    return shop.estate().checks["shop/db/http"]


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        pytest.param([UP], State.OK, id="1 first answer"),
        pytest.param([DEGRADED], State.OK, id="1 degraded is an answer"),
        pytest.param([DOWN], State.SUSPECT, id="2 from init"),
        pytest.param([UP, DOWN], State.SUSPECT, id="2 from ok"),
        pytest.param([UP, DOWN, DOWN], State.SUSPECT, id="2 not yet confirmed"),
        pytest.param([UP, DOWN, DOWN, DOWN], State.DOWN, id="3"),
        pytest.param([UP, DOWN, DOWN, UP], State.OK, id="4 soft recovery"),
        pytest.param([DOWN, DOWN, UP, DOWN, DOWN], State.SUSPECT, id="4 counts anew"),
        pytest.param([DOWN, DOWN, DOWN, UP], State.RECOVERING, id="5"),
        pytest.param([DOWN, DOWN, DOWN, UP, UP], State.OK, id="6"),
        pytest.param([DOWN, DOWN, DOWN, UP, DOWN], State.DOWN, id="7"),
        pytest.param([DOWN, DOWN, DOWN, UP, DOWN, UP], State.RECOVERING, id="7 counts anew"),
        pytest.param([UNKNOWN], State.INIT, id="8 init"),
        pytest.param([UP, DOWN, DOWN, UNKNOWN, UNKNOWN], State.SUSPECT, id="8 suspect"),
        pytest.param([UP, DOWN, DOWN, UNKNOWN, DOWN], State.DOWN, id="8 freezes the counter"),
        pytest.param([DOWN, DOWN, DOWN, UP, UNKNOWN, UP], State.OK, id="8 recovering"),
    ],
)
def test_results_lead_to_state(check: Any, statuses: list[Status], expected: State) -> None:
    assert play(check, statuses).state is expected


def test_first_failure_is_remembered(check: Any) -> None:
    assert play(check, [UP, DOWN, DOWN, DOWN]).first_fail_ms == 2000


@pytest.mark.parametrize("reason", [Reason.TLS_EXPIRED, Reason.TLS_HOSTNAME, Reason.AUTH_FAILED])
def test_immediate_reason_is_down_at_once(check: Any, reason: Reason) -> None:
    assert apply_result(check, CheckState(check.id), result(DOWN, 1, reason)).state is State.DOWN


def test_older_result_changes_nothing(check: Any) -> None:
    state = play(check, [UP, UP])
    assert apply_result(check, state, result(DOWN, 1500)) == state


def test_unknown_is_no_vote(check: Any) -> None:
    state = play(check, [UP, UNKNOWN])
    assert (state.vote_ms, state.seen) == (1000, {"default": 2000})


def test_silence_makes_stale_and_a_vote_ends_it(check: Any) -> None:
    state = play(check, [UP])
    assert not is_silent(check, state, 91_000)
    assert is_silent(check, state, 91_001)
    assert not play(check, [UP], replace(state, stale=True)).stale


def test_old_result_is_no_vote(check: Any) -> None:
    assert not is_old(check, 0, 30_000)
    assert is_old(check, 0, 30_001)


@pytest.mark.parametrize(
    ("pattern", "degraded"),
    [("110", False), ("1101", True), ("11000", False), ("1110", True), ("11100", True), ("111000", False)],
)
def test_limit_alerts_on_three_of_five(shop: Any, pattern: str, degraded: bool) -> None:
    limits = {"db": (Limit("hit_ratio", DEGRADED, 0.85, "below"),)}
    check = shop.estate(limits=limits).checks["shop/db/http"]
    state = CheckState(check.id)
    for turn, bit in enumerate(pattern, start=1):
        broken = bit == "1"
        answer = result(DEGRADED if broken else UP, turn, Reason.VALUE_LIMIT, hit_ratio=0.4 if broken else 0.97)
        state = apply_result(check, state, answer)
    assert state.degraded is degraded


def test_degraded_without_a_limit_counts_as_well(check: Any) -> None:
    assert not play(check, [DEGRADED, DEGRADED]).degraded
    assert play(check, [DEGRADED, DEGRADED, UP, DEGRADED]).degraded


def test_going_down_forgets_what_was_slow(check: Any) -> None:
    state = play(check, [DEGRADED] * 3)
    assert state.degraded
    assert not play(check, [DOWN] * 3, state).degraded


def test_suspicion_does_not_survive_a_long_gap(check: Any) -> None:
    suspect = play(check, [UP, DOWN])
    assert resume(check, suspect, 20_000).state is State.SUSPECT
    assert resume(check, suspect, 20_001).state is State.OK


def test_confirmed_down_survives_any_gap(check: Any) -> None:
    state = play(check, [DOWN] * 3)
    assert resume(check, state, 10**9) == state


def test_lower_threshold_applies_to_stored_counters(check: Any) -> None:
    suspect = play(check, [UP, DOWN, DOWN])
    assert resume(replace(check, fail_after=2), suspect, 0).state is State.DOWN
