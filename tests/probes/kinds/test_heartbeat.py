import pytest

from probes.kinds.heartbeat import HeartbeatOptions, judge_pushes
from probes.probe import Push
from probes.result import Reason, Status

DAY, HOUR, MINUTE = 86_400_000, 3_600_000, 60_000
OPTIONS = HeartbeatOptions(token="0123456789abcdef", period="1d", grace="1h", max_runtime="30m")
SUCCESS = Push(10 * DAY, "success")


def judge(*pushes: Push, now_ms: int, first_seen_ms: int = 0):
    return judge_pushes(pushes, now_ms, first_seen_ms, OPTIONS)


@pytest.mark.parametrize(
    ("after_ms", "status", "reason"),
    [
        (0, Status.UNKNOWN, None),
        (25 * HOUR, Status.UNKNOWN, None),
        (25 * HOUR + 1, Status.DOWN, Reason.STALE_TARGET),
    ],
    ids=["just configured", "at the end of the grace", "overdue"],
)
def test_a_job_that_never_called_is_unknown_until_it_would_be_overdue(after_ms, status, reason):
    reading = judge(now_ms=5 * DAY + after_ms, first_seen_ms=5 * DAY)
    assert (reading.status, reading.reason) == (status, reason)


@pytest.mark.parametrize(
    ("after_ms", "status"), [(MINUTE, Status.UP), (25 * HOUR, Status.UP), (25 * HOUR + 1, Status.DOWN)]
)
def test_a_success_is_good_for_period_and_grace(after_ms, status):
    reading = judge(SUCCESS, now_ms=SUCCESS.at_ms + after_ms)
    assert reading.status is status
    assert reading.metrics["age_s"] == after_ms / 1000


def test_a_restart_of_ours_changes_nothing():
    """The calls come from the store; first_seen may be new after a restart, and must not matter then."""
    now_ms = SUCCESS.at_ms + 2 * HOUR
    assert judge(SUCCESS, now_ms=now_ms, first_seen_ms=0) == judge(SUCCESS, now_ms=now_ms, first_seen_ms=now_ms)


@pytest.mark.parametrize(
    "end",
    [Push(10 * DAY, "fail", 3, "disk\x1b full"), Push(10 * DAY, "success", 3, "disk full")],
    ids=["fail", "exit code"],
)
def test_a_failure_is_down_with_its_words(end):
    reading = judge(SUCCESS, end, now_ms=end.at_ms + MINUTE)
    assert (reading.status, reading.reason, reading.code) == (Status.DOWN, Reason.STEP_FAILED, 3)
    assert reading.message == "the job failed with exit code 3: disk full"


def test_a_new_start_does_not_make_a_failure_good_but_a_success_does():
    fail, start = Push(10 * DAY, "fail"), Push(10 * DAY + HOUR, "start")
    assert judge(fail, start, now_ms=start.at_ms + 1).status is Status.DOWN
    assert judge(fail, start, Push(start.at_ms + 2, "success"), now_ms=start.at_ms + 3).status is Status.UP


def test_a_run_is_measured():
    start = Push(10 * DAY, "start")
    reading = judge(start, Push(10 * DAY + 90_000, "success"), now_ms=10 * DAY + 100_000)
    assert reading.metrics == {"runtime_s": 90.0, "age_s": 10.0}


def test_a_job_that_started_in_time_may_end_after_the_grace():
    start = Push(SUCCESS.at_ms + 25 * HOUR, "start")
    assert judge(SUCCESS, start, now_ms=start.at_ms + 29 * MINUTE).status is Status.UP
    reading = judge(SUCCESS, start, now_ms=start.at_ms + 31 * MINUTE)
    assert (reading.status, reading.reason) == (Status.DOWN, Reason.STALE_TARGET)
    assert "not ended" in reading.message


def test_a_start_too_late_does_not_help():
    start = Push(SUCCESS.at_ms + 26 * HOUR, "start")
    assert judge(SUCCESS, start, now_ms=start.at_ms + 1).status is Status.DOWN


def test_a_clock_that_went_back_gives_no_negative_age():
    assert judge(SUCCESS, now_ms=SUCCESS.at_ms - HOUR).metrics["age_s"] == 0


def test_the_probe_reads_what_the_store_handed_over(asker):
    ask = asker("heartbeat", {"token": "S3cr3tCanary-0123456789", "period": "1h"})
    assert ask().status is Status.UNKNOWN
    assert ask(pushes=(Push(0, "success"),)).status is Status.DOWN


@pytest.mark.parametrize("options", [{"token": "short", "period": "1h"}, {"token": "0123456789abcdef", "period": 0}])
def test_bad_options_are_refused(asker, options):
    with pytest.raises(ValueError, match=r"token|period"):
        asker("heartbeat", options)
