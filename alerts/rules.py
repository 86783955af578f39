"""What a result does to the state of its check: the rows of the state machine in alerting.md, as pure functions."""

from collections.abc import Mapping
from dataclasses import replace

from alerts.check_state import CheckState, State
from probes.judge import breaks, value_of
from probes.result import Reason, Result, Status
from probes.target import Check, Limit

# One failure of these is enough: asking again will not make a certificate valid or a password right.
IMMEDIATE = frozenset({Reason.TLS_EXPIRED, Reason.TLS_HOSTNAME, Reason.AUTH_FAILED})

# A kind that calls its own reading degraded is believed as a limit is: 3 of 5.
_OWN_WORD, _OWN_TIMES, _OWN_OF = "status", 3, 5

# A vote may be this old at least, however short the interval: a busy engine is not a dead worker.
_OLD_MS = 30_000


def apply_result(check: Check, state: CheckState, result: Result) -> CheckState:
    """The state after a result. One that is not newer than what was seen from its location changes nothing."""
    if result.slot_ms <= state.seen.get(result.location, -1):
        return state
    state = replace(state, seen={**state.seen, result.location: result.slot_ms})
    if result.status is Status.UNKNOWN:
        return state
    state = replace(state, stale=False, vote_ms=max(result.slot_ms, state.vote_ms or 0))
    if result.status is Status.DOWN:
        return _failed(check, state, result)
    return _judge_limits(check, _succeeded(check, state, result), result)


def is_old(check: Check, slot_ms: int, now_ms: int) -> bool:
    """True if a result is too old to be a vote: neither fires nor resolves anything."""
    return now_ms - slot_ms > max(_OLD_MS, int((2 * check.interval_s + check.timeout_s) * 1000))


def is_silent(check: Check, state: CheckState, now_ms: int) -> bool:
    """True if there was no vote for so long that the check is stale."""
    heard_ms = state.since_ms if state.vote_ms is None else state.vote_ms
    return now_ms - heard_ms > check.stale_after_s * 1000


def resume(check: Check, state: CheckState, gap_ms: int) -> CheckState:
    """The state as the engine takes it up again after it stood still for `gap_ms`, under today's thresholds.

    Suspicions do not outlive a long gap, what was confirmed does.
    """
    if gap_ms > 2 * check.interval_s * 1000:
        if state.state is State.SUSPECT:
            return replace(state, state=State.OK, fails=0, first_fail_ms=None)
        if state.state is State.RECOVERING:
            return replace(state, oks=0)
    return _apply_thresholds(check, state)


def window_key(limit: Limit) -> str:
    """The name of a limit in the memory of a check; moving its bound keeps the memory."""
    return f"{limit.metric} {limit.worse}"


def _failed(check: Check, state: CheckState, result: Result) -> CheckState:
    state = replace(state, oks=0, reason=str(result.reason or ""), message=result.message)
    if state.state is State.DOWN:
        return state
    if state.state is State.RECOVERING:
        return replace(state, state=State.DOWN, since_ms=result.slot_ms)
    if state.state is State.SUSPECT:
        state = replace(state, fails=state.fails + 1)
    else:
        state = replace(state, state=State.SUSPECT, fails=1, first_fail_ms=result.slot_ms, since_ms=result.slot_ms)
    if state.fails >= check.fail_after or result.reason in IMMEDIATE:
        # What it was slow at before it went down says nothing about how it comes back.
        return replace(state, state=State.DOWN, windows={}, broken=(), degraded=False, degraded_ms=None)
    return state


def _succeeded(check: Check, state: CheckState, result: Result) -> CheckState:
    if state.state is State.DOWN or state.state is State.RECOVERING:
        oks = state.oks + 1
        if oks < check.recover_after:
            since_ms = state.since_ms if state.state is State.RECOVERING else result.slot_ms
            return replace(state, state=State.RECOVERING, oks=oks, since_ms=since_ms)
    if state.state is State.OK:
        return state
    return replace(
        state, state=State.OK, fails=0, oks=0, first_fail_ms=None, since_ms=result.slot_ms, reason="", message=""
    )


def _apply_thresholds(check: Check, state: CheckState) -> CheckState:
    if state.state is State.SUSPECT and state.fails >= check.fail_after:
        return replace(state, state=State.DOWN)
    if state.state is State.RECOVERING and state.oks >= check.recover_after:
        return replace(state, state=State.OK, fails=0, oks=0, first_fail_ms=None, reason="", message="")
    return state


def _judge_limits(check: Check, state: CheckState, result: Result) -> CheckState:
    windows: dict[str, str] = {}
    broken: list[str] = []
    for limit in check.limits:
        if limit.level is not Status.DEGRADED:
            continue
        key = window_key(limit)
        was_broken = key in state.broken
        value = value_of(result, limit.metric)
        window = state.windows.get(key, "")
        if value is not None:
            breaking = breaks(limit, value, was_broken)
            window = (window + "01"[breaking])[-limit.of :]
        windows[key] = window
        if _is_broken(window, limit.times, limit.of, was_broken):
            broken.append(key)
    own = result.status is Status.DEGRADED and result.reason is not Reason.VALUE_LIMIT
    window = (state.windows.get(_OWN_WORD, "") + "01"[own])[-_OWN_OF:]
    windows[_OWN_WORD] = window
    if _is_broken(window, _OWN_TIMES, _OWN_OF, _OWN_WORD in state.broken):
        broken.append(_OWN_WORD)
    return _with_limits(state, windows, broken, result)


def _is_broken(window: str, times: int, of: int, was_broken: bool) -> bool:
    if not was_broken:
        return window.count("1") >= times
    # Leaving needs so many good ones that the window could not at once say "broken" again.
    return window.count("0") < max(times, of - times + 1)


def _with_limits(state: CheckState, windows: Mapping[str, str], broken: list[str], result: Result) -> CheckState:
    degraded_ms = state.degraded_ms
    message = state.degraded_message
    if broken and not state.degraded:
        degraded_ms = result.slot_ms
    if broken and result.status is Status.DEGRADED:
        message = result.message
    if not broken:
        degraded_ms, message = None, ""
    return replace(
        state,
        windows=windows if any("1" in window for window in windows.values()) else {},
        broken=tuple(broken),
        degraded=bool(broken),
        degraded_ms=degraded_ms,
        degraded_message=message,
    )
