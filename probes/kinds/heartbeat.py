"""Did a job call in when it should have, and did it say that all went well?"""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import ConfigDict, Field, SecretStr

from probes.duration import Duration, format_duration
from probes.probe import Ask, BlockingProbe, Metric, Options, Push, Reading, probe
from probes.redact import clean
from probes.result import Reason, Status


class HeartbeatOptions(Options):
    """How often the job calls, and how late it may be."""

    model_config = ConfigDict(hide_input_in_errors=True)

    token: SecretStr = Field(
        min_length=16, description="Secret word of at least 16 characters: the job calls `/push/<token>`"
    )
    period: Duration = Field(gt=0, description="Longest time between two successes, as `1d` for a nightly job")
    grace: Duration = Field(300.0, ge=0, description="How much later than that is still accepted")
    max_runtime: Duration | None = Field(
        None, gt=0, description="How long after its start a job must have ended; without it: the grace"
    )


@probe("heartbeat")
class HeartbeatProbe(BlockingProbe):
    """Asks nobody: judges the calls that came in at this check's own URL (start, success, fail, exit code)."""

    Options = HeartbeatOptions
    account = "none: the job needs only the URL"
    metrics: ClassVar = {
        "age_s": Metric("Seconds since the last success"),
        "runtime_s": Metric("Seconds from the last start to the end that followed it"),
    }

    options: HeartbeatOptions

    def describe(self) -> str:
        """`a call every 1d`."""
        return f"a call every {format_duration(self.options.period)}"

    def run(self, ask: Ask) -> Reading:
        """Judges the newest calls; never waits."""
        return judge_pushes(ask.pushes, ask.now_ms, ask.first_seen_ms or ask.now_ms, self.options)


def judge_pushes(pushes: Sequence[Push], now_ms: int, first_seen_ms: int, options: HeartbeatOptions) -> Reading:
    """What the calls so far say, newest last. A job that failed stays down until it reports success.

    A job that never called is unknown until it would have been overdue, counted from when we first knew it.
    """
    starts = [push for push in pushes if push.kind == "start"]
    ends = [push for push in pushes if push.kind != "start"]
    successes = [push for push in ends if _succeeded(push)]
    start = starts[-1] if starts else None
    end = ends[-1] if ends else None
    is_running = start is not None and (end is None or start.at_ms > end.at_ms)
    metrics = _measure(starts, end, successes, now_ms)
    if end is not None and not _succeeded(end):
        return Reading(Status.DOWN, Reason.STEP_FAILED, _told(end), 0.0, end.exit_code, metrics=metrics)
    max_runtime_s = options.max_runtime or options.grace
    if start is not None and is_running and now_ms - start.at_ms > max_runtime_s * 1000:
        text = f"started {_ago(start, now_ms)} and has not ended within {format_duration(max_runtime_s)}"
        return Reading(Status.DOWN, Reason.STALE_TARGET, text, 0.0, metrics=metrics)
    since_ms = successes[-1].at_ms if successes else first_seen_ms
    due_ms = since_ms + int((options.period + options.grace) * 1000)
    is_overdue = now_ms > due_ms
    if is_overdue and start is not None and is_running and start.at_ms <= due_ms:
        is_overdue = False  # begun in time, and still within its runtime
    if is_overdue:
        last = f"last success {_ago(successes[-1], now_ms)}" if successes else "never called"
        text = f"{last}, expected every {format_duration(options.period)}"
        return Reading(Status.DOWN, Reason.STALE_TARGET, text, 0.0, metrics=metrics)
    if not successes:
        return Reading(Status.UNKNOWN, None, "running for the first time" if is_running else "never called yet", 0.0)
    text = "running" if is_running else clean(successes[-1].text, 200)
    return Reading(Status.UP, None, text, 0.0, successes[-1].exit_code, metrics=metrics)


def _succeeded(push: Push) -> bool:
    return push.kind == "success" and not push.exit_code


def _measure(starts: Sequence[Push], end: Push | None, successes: Sequence[Push], now_ms: int) -> dict[str, float]:
    metrics = {}
    if successes:
        metrics["age_s"] = max(0, now_ms - successes[-1].at_ms) / 1000
    if end is not None:
        begun = [start.at_ms for start in starts if start.at_ms <= end.at_ms]
        if begun:
            metrics["runtime_s"] = (end.at_ms - begun[-1]) / 1000
    return metrics


def _told(push: Push) -> str:
    code = f" with exit code {push.exit_code}" if push.exit_code is not None else ""
    text = clean(push.text, 300)
    return f"the job failed{code}" + (f": {text}" if text else "")


def _ago(push: Push, now_ms: int) -> str:
    seconds = max(0, now_ms - push.at_ms) // 1000
    parts = ((seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s"))
    shown = [f"{value} {unit}" for value, unit in parts if value]
    return " ".join(shown[:2] or ["0 s"]) + " ago"
