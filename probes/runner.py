"""How one probe is run safely: stopwatch, and whatever it raises turned into a reading. The only broad except."""

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from probes.judge import judge
from probes.probe import Ask, BlockingProbe, Failure, Reading
from probes.result import Reason, Status
from probes.target import Check

log = logging.getLogger(__name__)


def run_blocking(check: Check, ask: Ask) -> Reading:
    """Ask once in this thread. Never raises: what the probe raises becomes the reading (see `reading_of_error`)."""
    started = time.monotonic()
    try:
        if not isinstance(check.probe, BlockingProbe):
            raise TypeError(f"kind {check.kind} is a conversation: it runs on the engine")
        reading = check.probe.run(ask)
        if not isinstance(reading, Reading):
            raise TypeError(f"kind {check.kind} returned {type(reading).__name__}, not a Reading")
    except BaseException as error:  # noqa: BLE001  (a probe's SystemExit must not end the worker either)
        reading = reading_of_error(check, error)
    return _with_evidence(check, timed(reading, time.monotonic() - started))


def gather(reading: Reading) -> Mapping[str, Any]:
    """What the run saw, as its probe tells it; nothing where the probe fails at that."""
    if reading.evidence is None:
        return {}
    try:
        return reading.evidence()
    except Exception:
        log.exception("a probe could not tell what it saw")
        return {}


def _with_evidence(check: Check, reading: Reading) -> Reading:
    """A blocking kind's evidence is gathered here, in its own thread: it may block as well."""
    if reading.evidence is None:
        return reading
    judged, _ = judge(reading, check.limits, frozenset())
    if judged.status is Status.UP:
        return replace(reading, evidence=None)
    found = gather(reading)
    return replace(reading, evidence=lambda: found)


def reading_of_error(check: Check, error: BaseException) -> Reading:
    """A Failure as the target's reading; anything else as `internal`: our own fault, unknown, logged with traceback."""
    if isinstance(error, Failure):
        return Reading.of_failure(error)
    log.error("probe of %s failed by our own fault", check.id, exc_info=error)
    name = type(error).__name__
    return Reading(status=Status.UNKNOWN, reason=Reason.INTERNAL, message=f"fault in the probe itself: {name}: {error}")


def timed(reading: Reading, elapsed_s: float) -> Reading:
    """The reading with our stopwatch's seconds where the probe measured none itself."""
    return reading if reading.duration_s is not None else replace(reading, duration_s=elapsed_s)
