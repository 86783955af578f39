"""What is expected of an answer: the kind's own expectations apart, and limits on its metrics."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from probes.document import Document, KeyPath, Problem, suggest
from probes.duration import UNITS_S, parse_duration
from probes.probe import Metric, Probe
from probes.result import Status
from probes.target import Limit

ALIASES = {"latency": "duration_s"}
CLOCKS = {
    "duration_s": Metric("seconds from start to end of a run"),
    "dns_s": Metric("seconds of name lookup"),
    "connect_s": Metric("seconds of connecting"),
    "tls_s": Metric("seconds of the TLS handshake"),
    "ttfb_s": Metric("seconds until the first byte of the answer"),
    "transfer_s": Metric("seconds of receiving the answer"),
}
"""Metrics that every kind has."""
LEVELS: Mapping[str, Literal[Status.DEGRADED, Status.DOWN]] = {"degraded": Status.DEGRADED, "down": Status.DOWN}

_FOR = re.compile(r"\s*([0-9]{1,3})\s+of\s+([0-9]{1,3})\s*")
_PERCENT = re.compile(r"\s*(-?[0-9]+(?:\.[0-9]+)?)\s*%\s*")
_SIZES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?B|[KMG]iB)\s*", re.IGNORECASE)
_LONGEST_WINDOW = 100


@dataclass(slots=True)
class Expectations:
    """What `expect` says: values for the kind's Expect model, and limits."""

    kind: type[Probe]
    own: dict[str, Any] = field(default_factory=dict)
    limits: list[Limit] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def read_metric(self, document: Document, path: KeyPath, name: str, levels: Any) -> None:
        """Add the limits on one metric, or what is wrong with them."""
        metric = metric_of(self.kind, name)
        if metric is None:
            known = {*self.kind.Expect.model_fields, *self.kind.metrics, *CLOCKS, *ALIASES}
            words = f"kind {self.kind.kind} has no expectation or metric {name!r}"
            self.problems.append(document.problem(path, words, suggest(name, known)))
            return
        if not isinstance(levels, dict) or not levels:
            words = "says no level"
            self.problems.append(document.problem(path, words, "write {degraded: …}, {down: …} or both"))
            return
        limits: list[Limit] = []
        for key, value in levels.items():
            if key not in LEVELS:
                self.problems.append(document.problem((*path, key), f"unknown level {key!r}", suggest(key, LEVELS)))
                continue
            try:
                limits.append(_read_limit(Limit(name, LEVELS[key], math.nan, metric.worse), value))
            except ValueError as error:
                if not document.is_broken((*path, key)):
                    self.problems.append(document.problem((*path, key), str(error)))
        self.problems += _check_order(document, path, limits)
        self.limits += limits


def read_expectations(document: Document, path: KeyPath, given: Mapping[str, Any], kind: type[Probe]) -> Expectations:
    """Tell a kind's own expectations from limits, and read the limits."""
    found = Expectations(kind)
    own = kind.Expect.model_fields
    for key, value in given.items():
        # A kind may have an expectation and a metric of the same name: limits are told by their levels.
        if key in own and not (_is_levels(value) and metric_of(kind, key)):
            found.own[key] = value
            continue
        for name, levels, at in _flatten(key, value, (*path, key)):
            found.read_metric(document, at, ALIASES.get(name, name), levels)
    return found


def metric_of(kind: type[Probe], name: str) -> Metric | None:
    """What a kind says about a metric; None for a name it does not have."""
    if name in CLOCKS:
        return CLOCKS[name]
    if name in kind.metrics:
        return kind.metrics[name]
    patterns = [pattern for pattern in kind.metrics if pattern.endswith("*") and name.startswith(pattern[:-1])]
    return kind.metrics[max(patterns, key=len)] if patterns else None


def _is_levels(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and set(value) <= set(LEVELS)


def _flatten(name: str, value: Any, path: KeyPath) -> Iterator[tuple[str, Any, KeyPath]]:
    """`certificate: {days_left: {down: 3}}` is `certificate_days_left: {down: 3}`."""
    if isinstance(value, dict) and value and not set(value) & set(LEVELS):
        nested = {key: entry for key, entry in value.items() if isinstance(entry, dict)}
        if len(nested) == len(value):
            for key, entry in nested.items():
                yield from _flatten(f"{name}_{key}", entry, (*path, key))
            return
    yield name, value, path


def _read_limit(limit: Limit, value: Any) -> Limit:
    if not isinstance(value, dict):
        return replace(limit, bound=read_bound(value, limit.metric))
    unknown = [key for key in value if key not in {"above", "below", "for"}]
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r}: a limit has above or below, and for")
    sides: list[Literal["above", "below"]] = [side for side in ("above", "below") if side in value]
    if len(sides) != 1:
        raise ValueError("a limit has either above or below")
    times, of = _read_for(value["for"]) if "for" in value else (limit.times, limit.of)
    return replace(limit, bound=read_bound(value[sides[0]], limit.metric), worse=sides[0], times=times, of=of)


def read_bound(value: Any, metric: str) -> float:
    """A number, `80%` (0.8), a duration (seconds, days for `…days_left`), `2GB` (bytes). Raises ValueError."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if isinstance(value, str):
        if percent := _PERCENT.fullmatch(value):
            return float(percent[1]) / 100
        if size := _SIZE.fullmatch(value):
            return float(size[1]) * _SIZES[size[2].upper()]
        try:
            if re.fullmatch(r"\s*-?[0-9.]+\s*", value):
                return float(value)
            return parse_duration(value) / (UNITS_S["d"] if metric.endswith("days_left") else 1)
        except ValueError:
            pass
    raise ValueError(f"{str(value)!r} is no bound: write 0.8, 80%, 800ms or 2GB")


def _read_for(value: Any) -> tuple[int, int]:
    found = _FOR.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("for is written as '3 of 5'")
    times, of = int(found[1]), int(found[2])
    if not 1 <= times <= of <= _LONGEST_WINDOW:
        raise ValueError(f"for: {times} of {of} cannot be; the second number is at least the first, at most 100")
    return times, of


def _check_order(document: Document, path: KeyPath, limits: list[Limit]) -> Iterator[Problem]:
    if len(limits) < 2 or limits[0].worse != limits[1].worse:
        return
    bounds = {limit.level: limit.bound for limit in limits}
    degraded, down = bounds[Status.DEGRADED], bounds[Status.DOWN]
    if (down < degraded) if limits[0].worse == "above" else (down > degraded):
        side = limits[0].worse
        yield document.problem(path, f"down ({side} {down:g}) is reached before degraded ({side} {degraded:g})")
