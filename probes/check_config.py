"""One `checks:` entry of the configuration: its common keys, its kind's options, its limits → a Check."""

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from importlib.util import find_spec
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from probes.document import Document, Key, Problem, did_you_mean
from probes.duration import Duration, parse_duration
from probes.probe import Metric, Probe, kinds
from probes.result import Status
from probes.target import Check, Limit, Tier

SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
SLUG_WORDS = "letters, digits, '-', '_' and '.' only (ASCII)"
ALIASES = {"latency": "duration_s"}
COMMON_METRICS: Mapping[str, Metric] = {
    "duration_s": Metric("The whole run, seconds"),
    "dns_s": Metric("Name resolution, seconds"),
    "connect_s": Metric("TCP connect, seconds"),
    "tls_s": Metric("TLS handshake, seconds"),
    "ttfb_s": Metric("From the request to the first byte, seconds"),
    "transfer_s": Metric("From the first byte to the last, seconds"),
}
_SIZES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_LEVELS: tuple[Literal[Status.DEGRADED, Status.DOWN], ...] = (Status.DEGRADED, Status.DOWN)


class Timing(BaseModel):
    """How often, how long and how stubbornly: keys of `defaults` and of every check."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    interval: Duration | None = Field(None, description="Time between two runs (30s)")
    timeout: Duration | None = Field(None, description="Total deadline of a run (10s, never above the interval)")
    retry_interval: Duration | None = Field(None, description="Time between runs while failing or recovering")
    fail_after: int | None = Field(None, ge=1, le=100, description="Failures in a row until it is down (3)")
    recover_after: int | None = Field(None, ge=1, le=100, description="Successes in a row until it is up again (2)")
    notify: tuple[str, ...] | None = Field(None, description="Notifiers that hear when no route matches")

    @model_validator(mode="after")
    def _fits(self) -> "Timing":
        if self.timeout and self.interval and self.timeout > self.interval:
            raise ValueError("timeout is longer than interval: runs of a check would overlap")
        return self

    def over(self, other: "Timing") -> "Timing":
        """These values, the other's where these say nothing."""
        mine = self.model_dump(exclude_none=True)
        return Timing.model_construct(**{**other.model_dump(), **mine})


class CommonKeys(Timing):
    """The keys that every check takes, whatever its kind."""

    kind: str = Field(description="Probe kind: http, postgresql, redis …")
    name: str | None = Field(None, description="Last part of the check's id, where the kind is not telling enough")
    tags: tuple[str, ...] = Field((), description="Words to filter and route by")
    expect: dict[str, Any] = Field(default_factory=dict, description="What a healthy answer is: limits on metrics")


class _Bound(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    above: str | float | None = None
    below: str | float | None = None
    times: str | None = Field(None, alias="for")

    @model_validator(mode="after")
    def _one(self) -> "_Bound":
        if (self.above is None) == (self.below is None):
            raise ValueError("one of above and below is wanted")
        return self


class CheckReader:
    """Reads the checks of one document; problems are collected, never raised."""

    def __init__(self, document: Document, defaults: Timing) -> None:
        self._document = document
        self._defaults = defaults
        self.problems: list[Problem] = []

    def read(self, path: Key, *, site: str, target: str, tier: Tier, tags: tuple[str, ...]) -> Check | None:
        """The check at a key path; None where it has problems."""
        written = self._document.at(path)
        if not isinstance(written, dict):
            self._report(path, "a mapping like {kind: http, url: …} is wanted")
            return None
        common_names = [field.alias or name for name, field in CommonKeys.model_fields.items()]
        common = self._take(CommonKeys, {key: written[key] for key in written if key in common_names}, path)
        kind = self._kind(path, written.get("kind"))
        if kind is None:
            return None
        rest = {key: value for key, value in written.items() if key not in common_names}
        options, problems = self._document.validate_value(kind.Options, rest, path, common_names)
        self.problems += problems
        expect, limits = self._expectations(kind, written.get("expect") or {}, (*path, "expect"))
        if common is None or options is None or expect is None:
            return None
        name = common.name or common.kind
        if not SLUG.fullmatch(name):
            self._report((*path, "name"), f"{name!r} cannot be part of an id: {SLUG_WORDS}")
            return None
        timing = self._timing(common)
        return Check(
            id=f"{target}/{name}",
            site=site,
            target=target,
            name=name,
            tier=tier,
            probe=kind(options, expect),
            limits=limits,
            tags=tuple(dict.fromkeys((*tags, *common.tags))),
            **timing,
        )

    def _timing(self, common: CommonKeys) -> dict[str, Any]:
        timing = Timing.model_construct(**common.model_dump(include=set(Timing.model_fields))).over(self._defaults)
        interval = timing.interval or 30.0
        return {
            "interval_s": interval,
            "timeout_s": min(timing.timeout or 10.0, interval),
            "retry_interval_s": min(timing.retry_interval or 5.0, interval),
            "fail_after": timing.fail_after or 3,
            "recover_after": timing.recover_after or 2,
            "notify": timing.notify or (),
        }

    def _kind(self, path: Key, word: Any) -> type[Probe] | None:
        if word is None:
            return None  # reported as missing by the common keys
        kind = kinds().get(str(word))
        if kind is None:
            self._report((*path, "kind"), f"unknown kind {word!r}", did_you_mean(str(word), list(kinds())))
        elif kind.driver and find_spec(kind.driver) is None:
            install = f"pip install 'backwatch[{kind.extra}]'"
            self._report((*path, "kind"), f"the driver of {word} is not installed", install)
            return None
        return kind

    def _expectations(self, kind: type[Probe], written: Any, path: Key) -> tuple[BaseModel | None, tuple[Limit, ...]]:
        if not isinstance(written, dict):
            return None, ()  # reported by the common keys
        own = {key: value for key, value in written.items() if key in kind.Expect.model_fields}
        expect = self._take(kind.Expect, own, path)
        limits: list[Limit] = []
        for key, value in written.items():
            if key not in own:
                for metric, bounds, where in self._flatten(ALIASES.get(str(key), str(key)), value, (*path, key)):
                    limits += self._limits(kind, metric, bounds, where)
        return expect, tuple(limits)

    def _flatten(self, metric: str, value: Any, path: Key) -> Iterator[tuple[str, dict[str, Any], Key]]:
        """`certificate: {days_left: {degraded: 21}}` means the metric `certificate_days_left`."""
        if isinstance(value, dict) and value and set(value) <= set(_LEVELS):
            yield metric, value, path
        elif isinstance(value, dict) and value and not set(value) & set(_LEVELS):
            for key, inner in value.items():
                yield from self._flatten(f"{metric}_{key}", inner, (*path, key))
        else:
            self._report(path, "a limit is written {degraded: …, down: …}")

    def _limits(self, kind: type[Probe], name: str, bounds: dict[str, Any], path: Key) -> list[Limit]:
        known = {**COMMON_METRICS, **kind.metrics}
        metric = known.get(name) or next((known[p] for p in known if "*" in p and fnmatchcase(name, p)), None)
        if metric is None:
            own = [*kind.Expect.model_fields, *ALIASES, *(word for word in known if "*" not in word)]
            self._report(path, f"{kind.kind} has no metric {name!r}", did_you_mean(name, own))
            return []
        limits = [
            limit
            for level in _LEVELS
            if level in bounds and (limit := self._limit(name, metric, level, bounds[level], (*path, level)))
        ]
        if len(limits) == len(_LEVELS) and limits[0].worse == limits[1].worse:
            milder, harder = (limit.bound if limit.worse == "above" else -limit.bound for limit in limits)
            if harder < milder:
                self._report(path, "down would be reached before degraded", "swap the two")
        return limits

    def _limit(
        self, name: str, metric: Metric, level: Literal[Status.DEGRADED, Status.DOWN], written: Any, path: Key
    ) -> Limit | None:
        worse, value, times = metric.worse, written, None
        if isinstance(written, dict):
            bound = self._take(_Bound, written, path)
            if bound is None:
                return None
            worse = "above" if bound.above is not None else "below"
            value, times = bound.above if worse == "above" else bound.below, bound.times
        try:
            number = parse_bound(value, name)
            of_last = parse_times(times) if times else (3, 5)
        except ValueError as error:
            self._report(path, str(error))
            return None
        if times and level is Status.DOWN:
            self._report(path, "'for' goes with degraded; for down say fail_after on the check")
            return None
        return Limit(name, level, number, worse, *of_last)

    def _take(self, model: type[Any], value: Any, path: Key) -> Any:
        taken, problems = self._document.validate_value(model, value, path)
        self.problems += problems
        return taken

    def _report(self, path: Key, message: str, suggestion: str = "") -> None:
        self.problems.append(self._document.problem(path, message, suggestion))


def parse_bound(value: Any, metric: str) -> float:
    """A limit's number from `0.8`, `80%`, `800ms` (seconds) or `2GB` (bytes). Raises ValueError with an example."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    text = str(value).strip()
    if text.endswith("%"):
        try:
            return float(text[:-1]) / 100
        except ValueError:
            raise ValueError(f"{value!r} is no percentage") from None
    size = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?i?B)", text, re.IGNORECASE)
    if size and metric.endswith("bytes"):
        return float(size[1]) * _SIZES[size[2].upper()]
    if metric.endswith("_days_left"):
        return parse_duration(text) / 86400
    try:
        return parse_duration(text)
    except ValueError:
        raise ValueError(f"{value!r} is no number; write 0.8, 80%, 800ms or 2GB") from None


def parse_times(text: str) -> tuple[int, int]:
    """(3, 5) from `3 of 5`. Raises ValueError with an example."""
    match = re.fullmatch(r"\s*(\d+)\s+of\s+(\d+)\s*", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]) <= 60:
        raise ValueError(f"{text!r} is not like '3 of 5' (at most 60)")
    return int(match[1]), int(match[2])
