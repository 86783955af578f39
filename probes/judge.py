"""What a reading's numbers mean: which limits on its metrics it breaks, and what status follows. Pure."""

import math
from collections.abc import Sequence
from dataclasses import replace

from probes.probe import Reading
from probes.result import Reason, Result, Status
from probes.target import Limit

ALIASES = {"latency": "duration_s"}
"""Words users write for a metric that every kind has."""

PHASE_METRICS = ("dns_s", "connect_s", "tls_s", "ttfb_s", "transfer_s")
COMMON_METRICS = ("duration_s", *PHASE_METRICS)
"""Metrics of every kind, read from the reading itself."""

NOTHING_BROKEN: frozenset[Limit] = frozenset()
_RELIEF = 0.9  # a broken limit is left at 0.9 × its bound: a value that hovers around it must not flap


def value_of(reading: Reading | Result, metric: str) -> float | None:
    """A metric's value: one of the kind's own, `duration_s` or a phase; None where it was not measured."""
    name = ALIASES.get(metric, metric)
    value: float | None
    if name in reading.metrics:
        value = reading.metrics[name]
    elif name == "duration_s":
        value = reading.duration_s
    elif name in PHASE_METRICS:
        value = getattr(reading.phases, name)
    else:
        return None
    return None if value is None or math.isnan(value) else value


def breaks(limit: Limit, value: float, was_broken: bool = False) -> bool:
    """Whether a value lies beyond a limit. One that was broken stays so until the value is clear of it.

    "Clear" is 0.9 × bound for above and bound / 0.9 for below; a ratio need not climb further than half way to 1.
    """
    bound = relief_bound(limit) if was_broken else limit.bound
    return value > bound if limit.worse == "above" else value < bound


def relief_bound(limit: Limit) -> float:
    """Where a broken limit is left again."""
    size = abs(limit.bound)
    if limit.worse == "above":
        return limit.bound - size * (1 - _RELIEF)
    relieved = limit.bound + size * (1 / _RELIEF - 1)
    if limit.metric.endswith("_ratio") and limit.bound <= 1:
        return min(relieved, (1 + limit.bound) / 2)
    return relieved


def judge(reading: Reading, limits: Sequence[Limit], broken: frozenset[Limit]) -> tuple[Reading, frozenset[Limit]]:
    """The reading with the status that its numbers deserve, and the limits that are broken now.

    `broken` are those of the previous reading. A limit whose metric was not measured keeps its standing but says
    nothing about this reading. A reading that failed by itself keeps its own reason; limits only make things worse.
    """
    if not limits:
        return reading, NOTHING_BROKEN
    now: set[Limit] = set()
    told: list[tuple[Limit, float]] = []
    for limit in limits:
        value = value_of(reading, limit.metric)
        if value is None:
            now.update({limit} & broken)
        elif breaks(limit, value, limit in broken):
            now.add(limit)
            told.append((limit, value))
    return _with_status(reading, told), frozenset(now)


def _with_status(reading: Reading, told: list[tuple[Limit, float]]) -> Reading:
    worst = max((limit.level for limit, _ in told), key=lambda level: level.badness, default=Status.UP)
    if reading.status is Status.UNKNOWN or worst.badness <= reading.status.badness:
        return reading
    message = "; ".join(_explain(limit, value) for limit, value in told if limit.level is worst)
    if reading.message:
        message = f"{message}; {reading.message}"
    return replace(reading, status=worst, reason=Reason.VALUE_LIMIT, message=message)


def _explain(limit: Limit, value: float) -> str:
    name = ALIASES.get(limit.metric, limit.metric)
    if breaks(limit, value):
        return f"{name} {_number(value)} {limit.worse} {_number(limit.bound)}"
    side = "below" if limit.worse == "above" else "above"
    return f"{name} {_number(value)} not yet {side} {_number(relief_bound(limit))} again (limit {_number(limit.bound)})"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
