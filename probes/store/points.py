"""What do many results come to, step by step of a chart? All steps are counted at once, in arrays.

What a step comes to is what `probes.store.tally` says of its results, latencies by the same buckets.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from probes.result import NO_PHASES, Phases, Reason
from probes.store.arrays import GAP, Arrays, Floats, Ints
from probes.store.columns import PHASES
from probes.store.rows import to_s
from probes.store.sketches import buckets_of, decode, middles_us
from probes.value import value

_QUANTILES = (0.5, 0.95, 0.99)
_DOWN = 2
ROLLUP = ("bucket_ms", "up", "degraded", "down", "unknown", *PHASES, "min_us", "max_us", "sketch", "metrics", "codes")
"""The columns of a rollup that are counted."""


@value(frozen=True, slots=True)
class Point:
    """The results of one step of a chart, which begins at `t_ms`.

    Percentiles are of the answered runs, within 1 %; phases are means over the same runs; metrics are means.
    """

    t_ms: int
    n: int
    up: int
    degraded: int
    down: int
    unknown: int
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    phases: Phases = NO_PHASES
    metrics: Mapping[str, float] = field(default_factory=dict)
    codes: Mapping[int, int] = field(default_factory=dict)


class Steps:
    """Counts of `count` steps of `step_ms` each, the first of which begins at `first_ms`."""

    def __init__(self, first_ms: int, step_ms: int, count: int) -> None:
        self._first_ms, self._step_ms, self._count = first_ms, step_ms, count
        self._counts = np.zeros((count, 4), np.int64)
        self._phases = np.zeros((count, len(PHASES)), np.int64)
        self._least = np.full(count, np.iinfo(np.int64).max)
        self._greatest = np.full(count, -1, np.int64)
        self._latencies: list[tuple[Ints, Ints, Ints]] = []  # step, bucket, how many
        self._metrics: dict[str, Floats] = defaultdict(lambda: np.zeros((count, 2)))  # how many, sum
        self._codes: list[dict[int, int]] = [{} for _ in range(count)]

    def add(self, arrays: Arrays, reasons: Mapping[int, str]) -> None:
        """Count results; `reasons` are the words of the errors they name."""
        slots, status, code, _, total_us, *phases = arrays.rows
        if not len(slots):
            return
        steps = (slots - self._first_ms) // self._step_ms
        self._counts += np.bincount(steps * 4 + status, minlength=self._count * 4).reshape(-1, 4)
        for one in np.unique(code[code != GAP]).tolist():
            found = np.bincount(steps[code == one], minlength=self._count)
            for step in np.flatnonzero(found).tolist():
                self._codes[step][one] = self._codes[step].get(one, 0) + int(found[step])
        heard = _answered(arrays, reasons)
        if not heard.all():
            steps_heard, total_us, phases = steps[heard], total_us[heard], [phase[heard] for phase in phases]
        else:
            steps_heard = steps
        if len(steps_heard):
            for index, phase in enumerate(phases):
                spent = np.where(phase == GAP, 0, phase)
                self._phases[:, index] += _sums(steps_heard, spent, self._count)
            np.minimum.at(self._least, steps_heard, total_us)
            np.maximum.at(self._greatest, steps_heard, total_us)
            self._latencies.append((steps_heard, buckets_of(total_us), np.ones(len(steps_heard), np.int64)))
        for name, values in arrays.metrics.items():
            there = ~np.isnan(values)
            if there.any():
                sums = self._metrics[name]
                sums[:, 0] += np.bincount(steps[there], minlength=self._count)
                sums[:, 1] += np.bincount(steps[there], values[there], self._count)

    def add_rollups(self, rows: Sequence[Sequence[Any]]) -> None:
        """Count rows of rollups, whose columns are `ROLLUP`."""
        if not rows:
            return
        buckets_ms, *plain, least, greatest, sketches, metrics, codes = zip(*rows, strict=True)
        steps: Ints = (np.array(buckets_ms, np.int64) - self._first_ms) // self._step_ms
        # A day that is the finest held may begin before the range does.
        np.maximum(steps, 0, out=steps)
        numbers = np.array(plain, np.int64)
        np.add.at(self._counts, steps, numbers[:4].T)
        np.add.at(self._phases, steps, numbers[4:].T)
        heard = [index for index, us in enumerate(least) if us is not None]
        if heard:
            np.minimum.at(self._least, steps[heard], np.array([least[index] for index in heard], np.int64))
            np.maximum.at(self._greatest, steps[heard], np.array([greatest[index] for index in heard], np.int64))
        of, buckets, counts = decode(sketches)
        self._latencies.append((steps[of], buckets, counts))
        at = steps.tolist()
        for step, counted in zip(at, _parsed(codes), strict=True):
            known = self._codes[step]
            for text, n in counted.items():
                known[int(text)] = known.get(int(text), 0) + n
        for step, measured in zip(at, _parsed(metrics), strict=True):
            for name, values in measured.items():
                self._metrics[name][step] += values[:2]

    def points(self) -> list[Point]:
        """A point for every step that has results, in order."""
        answered, quantiles_s = self._quantiles_s()
        counts = self._counts.tolist()
        phases, metrics = self._phases.tolist(), {name: one.tolist() for name, one in sorted(self._metrics.items())}
        made = []
        for step in np.flatnonzero(self._counts.any(axis=1)).tolist():
            n = answered[step]
            p50_s, p95_s, p99_s = quantiles_s[step] if n else (None, None, None)
            up, degraded, down, unknown = counts[step]
            means = Phases(*(to_s(total / n) if n and total else None for total in phases[step]))
            values = {name: of[step][1] / of[step][0] for name, of in metrics.items() if of[step][0]}
            codes = dict(sorted(self._codes[step].items()))
            t_ms = self._first_ms + step * self._step_ms
            made.append(
                Point(
                    t_ms,
                    up + degraded + down + unknown,
                    up,
                    degraded,
                    down,
                    unknown,
                    p50_s,
                    p95_s,
                    p99_s,
                    means,
                    values,
                    codes,
                )
            )
        return made

    def _quantiles_s(self) -> tuple[list[int], list[list[float]]]:
        """How many runs of each step were answered, and their percentiles."""
        if not self._latencies:
            return [0] * self._count, []
        steps, buckets, counts = (np.concatenate(of) for of in zip(*self._latencies, strict=True))
        if not len(buckets):
            return [0] * self._count, []
        least = int(buckets.min())
        width = int(buckets.max()) - least + 1
        dense = np.bincount(steps * width + (buckets - least), counts, self._count * width).astype(np.int64)
        below = dense.cumsum()
        ends = below[width - 1 :: width]
        begins = np.concatenate(([0], ends[:-1]))
        answered = ends - begins
        found = []
        for q in _QUANTILES:
            ranks = np.floor(q * np.maximum(answered - 1, 0)).astype(np.int64)
            at = np.searchsorted(below, begins + ranks, side="right")
            us = middles_us(at % width + least)
            found.append(np.clip(us, self._least, np.maximum(self._greatest, self._least)) / 1e6)
        return answered.tolist(), np.array(found).T.tolist()


def unclear_errors(arrays: Arrays) -> list[int]:
    """The errors whose reason says whether a result is an answer."""
    _, status, code, error_id, *_ = arrays.rows
    found: list[int] = np.unique(error_id[(status == _DOWN) & (code == GAP) & (error_id != GAP)]).tolist()
    return found


def _answered(arrays: Arrays, reasons: Mapping[int, str]) -> NDArray[np.bool_]:
    """Whether the duration of a result is the time of an answer."""
    _, status, code, error_id, total_us, *_ = arrays.rows
    limits = [one for one, reason in reasons.items() if reason == Reason.VALUE_LIMIT]
    down = (status == _DOWN) & ((code != GAP) | np.isin(error_id, limits))
    heard: NDArray[np.bool_] = (total_us != GAP) & ((status < _DOWN) | down)
    return heard


def _sums(steps: Ints, values: Ints, count: int) -> Ints:
    sums = np.zeros(count, np.int64)
    np.add.at(sums, steps, values)
    return sums


def _parsed(texts: Sequence[str | None]) -> list[dict[str, Any]]:
    """What JSON objects say: all of them at once are parsed three times as fast."""
    if not any(texts):
        return [{}] * len(texts)
    parsed: list[dict[str, Any]] = json.loads(f"[{','.join(text or '{}' for text in texts)}]")
    return parsed
