"""How a check stands: the worst fresh location, and never green when old."""

import pytest

from dashboard.standing import check_now, worst_look
from dashboard.theme import Look
from probes.probe import Options, Probe
from probes.result import Reason, Status
from probes.store.states import Standing
from probes.target import Check, Tier

NOW = 1_700_000_000_000


def a_check(interval_s=30.0):
    return Check("s/t/http", "s", "s/t", "http", Tier.WEB, Probe(Options(), None), interval_s, 10.0, 10.0, 3, 2)


def standing(status, age_s=5.0, location="default", message=""):
    reason = Reason.TCP_REFUSED if status is Status.DOWN else None
    slot_ms = NOW - int(age_s * 1000)
    return Standing("s/t/http", location, slot_ms, status, slot_ms - 60_000, reason, message, None, 0.1)


def test_without_a_result_it_is_unknown():
    now = check_now(a_check(), [], NOW)
    assert (now.look, now.status, now.since_ms, now.stale) == (Look.UNKNOWN, Status.UNKNOWN, None, True)


@pytest.mark.parametrize(("age_s", "look"), [(5, Look.UP), (99, Look.UP), (101, Look.UNKNOWN), (86_400, Look.UNKNOWN)])
def test_an_old_result_is_unknown_whatever_it_was(age_s, look):
    assert check_now(a_check(), [standing(Status.UP, age_s)], NOW).look is look


def test_an_old_result_says_what_it_was():
    assert check_now(a_check(), [standing(Status.UP, 600)], NOW).message == "no fresh result; the last one was up"


def test_the_worst_fresh_location_speaks():
    there = standing(Status.DOWN, location="fra", message="connection refused")
    now = check_now(a_check(), [standing(Status.UP), there], NOW)
    assert (now.status, now.message) == (Status.DOWN, "fra: connection refused")


def test_a_location_that_stopped_reporting_does_not_speak():
    now = check_now(a_check(), [standing(Status.UP), standing(Status.DOWN, 3600, "fra")], NOW)
    assert now.status is Status.UP


def test_maintenance_shows_as_such_and_keeps_the_status():
    now = check_now(a_check(), [standing(Status.DOWN)], NOW, in_maintenance=True)
    assert (now.look, now.status) == (Look.MAINTENANCE, Status.DOWN)


def test_trouble_before_unknown_before_up():
    assert worst_look([Look.UP, Look.UNKNOWN, Look.DEGRADED]) is Look.DEGRADED
    assert worst_look([Look.UP, Look.UNKNOWN]) is Look.UNKNOWN
    assert worst_look([]) is Look.UNKNOWN
