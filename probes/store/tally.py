"""What do many results of one check come to? Counts, sums and a sketch: the row of a rollup, and how rows add up.

Latency counts only where the target answered. A refused connection takes a millisecond and a dead host the whole
deadline: neither says how fast the target is. What came back too late (value_limit) or with an error code did answer.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Connection, Row

from probes.result import Phases, Reason
from probes.store.columns import PHASES, Columns
from probes.store.rows import find_texts, to_s
from probes.store.sketch import Sketch

_DOWN = 2

Value = TypeVar("Value", int, int | None)


@dataclass(slots=True)
class Tally:
    """Counts by status (in the order of `rows.STATUSES`), sums of phases in microseconds, latency, metrics, codes."""

    counts: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    phases: list[int] = field(default_factory=lambda: [0, 0, 0, 0, 0])
    min_us: int | None = None
    max_us: int | None = None
    sketch: Sketch = field(default_factory=Sketch)
    metrics: dict[str, list[float]] = field(default_factory=dict)  # count, sum, least, greatest
    codes: dict[int, int] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """How many results."""
        return sum(self.counts)

    @property
    def ok(self) -> int:
        """Results in which the target served: up or degraded."""
        return self.counts[0] + self.counts[1]

    @property
    def judged(self) -> int:
        """Results that say something of the target: all but unknown."""
        return self.ok + self.counts[_DOWN]

    def add(self, columns: Columns, reasons: Mapping[int, str]) -> None:
        """Count results; `reasons` are the words of the errors they name."""
        for status, count in _count(columns.status):
            self.counts[status] += count
        for code, count in _count(columns.code):
            if code is not None:
                self.codes[code] = self.codes.get(code, 0) + count
        heard = _answers(columns, reasons)
        totals: list[int] = heard.total_us  # type: ignore[assignment]
        if totals:
            self.sketch.add_all(totals)
            self._widen(min(totals), max(totals))
            for index, name in enumerate(PHASES):
                phase = getattr(heard, name)
                self.phases[index] += sum(phase) if None not in phase else sum(filter(None, phase))
        for name, values in columns.metrics.items():
            present = [value for value in values if value is not None]
            if present:
                self._add_metric(name, [len(present), sum(present), min(present), max(present)])

    def merge(self, row: Row[Any]) -> None:
        """Count a row of a rollup."""
        for index, count in enumerate((row.up, row.degraded, row.down, row.unknown)):
            self.counts[index] += count
        for index, name in enumerate(PHASES):
            self.phases[index] += getattr(row, name)
        self._widen(row.min_us, row.max_us)
        self.sketch.merge(Sketch.from_bytes(row.sketch))
        for name, values in json.loads(row.metrics or "{}").items():
            self._add_metric(name, values)
        for code, count in json.loads(row.codes or "{}").items():
            self.codes[int(code)] = self.codes.get(int(code), 0) + count

    def to_row(self, bucket_ms: int, series_id: int) -> dict[str, Any]:
        """The row of a rollup: the same for the same results, in whatever order they were counted."""
        up, degraded, down, unknown = self.counts
        return {
            "bucket_ms": bucket_ms,
            "series_id": series_id,
            "n": self.n,
            "up": up,
            "degraded": degraded,
            "down": down,
            "unknown": unknown,
            **dict(zip(PHASES, self.phases, strict=True)),
            "min_us": self.min_us,
            "max_us": self.max_us,
            "sketch": self.sketch.to_bytes() if self.sketch.n else None,
            "metrics": _json(self.metrics),
            "codes": _json(self.codes),
        }

    def quantile_s(self, q: float) -> float | None:
        """A percentile of the latency in seconds, within 1 % and never outside what was measured."""
        us = self.sketch.quantile(q)
        if us is None or self.min_us is None or self.max_us is None:
            return None
        return min(max(us, self.min_us), self.max_us) / 1e6

    def mean_phases(self) -> Phases:
        """Mean seconds of each phase over the runs that were answered; None for a phase that never happened."""
        n = self.sketch.n
        return Phases(*(to_s(total / n) if n and total else None for total in self.phases))

    def mean_metrics(self) -> dict[str, float]:
        """Mean of each metric over the results that had it."""
        return {name: values[1] / values[0] for name, values in sorted(self.metrics.items())}

    def _widen(self, least: int | None, greatest: int | None) -> None:
        if least is not None and (self.min_us is None or least < self.min_us):
            self.min_us = least
        if greatest is not None and (self.max_us is None or greatest > self.max_us):
            self.max_us = greatest

    def _add_metric(self, name: str, values: list[float]) -> None:
        known = self.metrics.get(name)
        if known is None:
            self.metrics[name] = list(values)
            return
        known[0] += values[0]
        known[1] += values[1]
        known[2] = min(known[2], values[2])
        known[3] = max(known[3], values[3])


def find_reasons(connection: Connection, parts: Iterable[Columns]) -> dict[int, str]:
    """The words of all errors that some results name, by their ids."""
    ids = {error_id for columns in parts for error_id in set(columns.error_id) if error_id is not None}
    return {error_id: reason for error_id, (reason, _) in find_texts(connection, ids).items()}


def _count(values: Sequence[Value]) -> Iterable[tuple[Value, int]]:
    # Mostly all of them are the same, and Counter takes its time.
    if values and values.count(values[0]) == len(values):
        return [(values[0], len(values))]
    return Counter(values).items()


def _answers(columns: Columns, reasons: Mapping[int, str]) -> Columns:
    """The results whose duration is the time of an answer."""
    if max(columns.status, default=0) < _DOWN and None not in columns.total_us:
        return columns
    rows = zip(columns.status, columns.code, columns.error_id, columns.total_us, strict=True)
    return columns.chosen(
        [
            total_us is not None and _answered(status, code, reasons.get(error_id or 0))
            for status, code, error_id, total_us in rows
        ]
    )


def _answered(status: int, code: int | None, reason: str | None) -> bool:
    if status < _DOWN:
        return True
    return status == _DOWN and (code is not None or reason == Reason.VALUE_LIMIT)


def _json(values: dict[Any, Any]) -> str | None:
    return json.dumps(values, separators=(",", ":"), sort_keys=True) if values else None
