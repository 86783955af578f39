"""Limits on numbers: tables of values in, statuses out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.judge import breaks, judge, relief_bound, value_of
from probes.probe import Reading
from probes.result import Phases, Reason, Status
from probes.target import Limit

DEGRADED, DOWN = Status.DEGRADED, Status.DOWN
LOW_HITS = Limit("hit_ratio", DEGRADED, 0.85, "below")
SLOW = Limit("latency", DEGRADED, 0.8, "above")
VERY_SLOW = Limit("latency", DOWN, 5.0, "above")


@pytest.mark.parametrize(
    ("limit", "value", "was_broken", "broken"),
    [
        (LOW_HITS, 0.85, False, False),
        (LOW_HITS, 0.84, False, True),
        (LOW_HITS, 0.90, True, True),
        (LOW_HITS, 0.93, True, False),
        (SLOW, 0.81, False, True),
        (SLOW, 0.80, False, False),
        (SLOW, 0.75, True, True),
        (SLOW, 0.71, True, False),
        (Limit("hit_ratio", DEGRADED, 0.99, "below"), 0.996, True, False),
        (Limit("hit_ratio", DEGRADED, 1.0, "below"), 1.0, True, False),
        (Limit("lag_s", DEGRADED, 0, "above"), 0, True, False),
        (Limit("offset", DEGRADED, -10, "above"), -10.5, True, True),
        (Limit("offset", DEGRADED, -10, "above"), -11.5, True, False),
    ],
)
def test_limits_break_at_the_bound_and_are_left_beyond_it(
    limit: Limit, value: float, was_broken: bool, broken: bool
) -> None:
    assert breaks(limit, value, was_broken) is broken


@given(bound=st.floats(-1e6, 1e6), worse=st.sampled_from(["above", "below"]), value=st.floats(-1e7, 1e7))
def test_a_broken_limit_is_never_easier_to_leave_than_to_break(bound: float, worse: str, value: float) -> None:
    limit = Limit("x", DEGRADED, bound, worse)  # type: ignore[arg-type]
    assert breaks(limit, value, True) or not breaks(limit, value, False)


@given(bound=st.floats(0, 1))
def test_a_ratio_can_always_be_left(bound: float) -> None:
    assert relief_bound(Limit("hit_ratio", DEGRADED, bound, "below")) <= 1


def test_values_are_read_from_metrics_phases_and_duration() -> None:
    reading = Reading(duration_s=1.5, phases=Phases(dns_s=0.1), metrics={"hit_ratio": 0.5, "odd": float("nan")})
    assert value_of(reading, "latency") == 1.5
    assert value_of(reading, "dns_s") == 0.1
    assert value_of(reading, "tls_s") is None
    assert value_of(reading, "hit_ratio") == 0.5
    assert value_of(reading, "odd") is None
    assert value_of(reading, "nothing") is None


def test_message_names_value_and_limit() -> None:
    judged, broken = judge(Reading(metrics={"hit_ratio": 0.43}), (LOW_HITS,), frozenset())
    assert (judged.status, judged.reason) == (DEGRADED, Reason.VALUE_LIMIT)
    assert judged.message == "hit_ratio 0.43 below 0.85"
    assert broken == {LOW_HITS}


def test_value_that_hovers_stays_degraded_and_says_why() -> None:
    judged, broken = judge(Reading(metrics={"hit_ratio": 0.87}), (LOW_HITS,), frozenset({LOW_HITS}))
    assert judged.status is DEGRADED
    assert judged.message == "hit_ratio 0.87 not yet above 0.925 again (limit 0.85)"
    assert broken == {LOW_HITS}


def test_worst_limit_decides() -> None:
    judged, broken = judge(Reading(duration_s=6.0), (SLOW, VERY_SLOW), frozenset())
    assert judged.status is DOWN
    assert judged.message == "duration_s 6 above 5"
    assert broken == {SLOW, VERY_SLOW}


def test_failed_reading_keeps_its_reason() -> None:
    failed = Reading(status=DOWN, reason=Reason.TCP_REFUSED, message="refused", duration_s=9.0)
    judged, _ = judge(failed, (VERY_SLOW,), frozenset())
    assert judged is failed


def test_unknown_stays_unknown() -> None:
    ours = Reading(status=Status.UNKNOWN, reason=Reason.INTERNAL, duration_s=9.0)
    assert judge(ours, (VERY_SLOW,), frozenset())[0] is ours


def test_metric_that_was_not_measured_keeps_its_standing_silently() -> None:
    judged, broken = judge(Reading(), (LOW_HITS,), frozenset({LOW_HITS}))
    assert judged.status is Status.UP
    assert broken == {LOW_HITS}


def test_degraded_reading_turns_down_with_both_messages() -> None:
    reading = Reading(status=DEGRADED, reason=Reason.READ_ONLY, message="read only", duration_s=6.0)
    judged, _ = judge(reading, (VERY_SLOW,), frozenset())
    assert (judged.status, judged.reason) == (DOWN, Reason.VALUE_LIMIT)
    assert judged.message == "duration_s 6 above 5; read only"
