"""What did one check at one place answer over some time? Its results as columns, and how rows become them and merge."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from itertools import compress
from typing import Any, Self

from probes.store.keys import SERIES_BITS, key_of
from probes.store.rows import HotRow, pack_metrics

STEP_US = 10
"""Packed durations are whole multiples of this."""
EXACT_US = 10_000
"""Totals below this keep each microsecond: a percentile of a cache that answers in 200 µs stays within 1 %."""
_HALF = STEP_US // 2

Whole = list[int | None]


@dataclass(slots=True)
class Columns:
    """Results of one series in slot order, one a slot; the columns of `hot`, metrics a column a name."""

    slots: list[int] = field(default_factory=list)
    status: list[int] = field(default_factory=list)
    code: Whole = field(default_factory=list)
    total_us: Whole = field(default_factory=list)
    dns_us: Whole = field(default_factory=list)
    connect_us: Whole = field(default_factory=list)
    tls_us: Whole = field(default_factory=list)
    ttfb_us: Whole = field(default_factory=list)
    transfer_us: Whole = field(default_factory=list)
    late_ms: list[int] = field(default_factory=list)
    error_id: Whole = field(default_factory=list)
    metrics: dict[str, list[float | None]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.slots)

    @classmethod
    def of_rows(cls, rows: Iterable[HotRow | Sequence[Any]]) -> Self:
        """Rows of `hot` of one series, in slot order."""
        given = list(rows)
        if not given:
            return cls()
        ids, *columns, metrics = (list(column) for column in zip(*given, strict=True))
        return cls.made([[key >> SERIES_BITS for key in ids], *columns], _metrics_of(metrics))

    @classmethod
    def made(cls, plain: Iterable[Any], metrics: dict[str, list[float | None]]) -> Self:
        """Of columns in the order of the fields."""
        return cls(**dict(zip(PLAIN, plain, strict=True)), metrics=metrics)

    def rows(self, series_id: int) -> Iterator[HotRow]:
        """The same as rows of `hot`."""
        ids = [key_of(slot_ms, series_id) for slot_ms in self.slots]
        plain = [getattr(self, name) for name in PLAIN[1:]]
        return map(HotRow, ids, *plain, self._texts())

    def part(self, start: int, stop: int) -> "Columns":
        """Some results in a row."""
        if start == 0 and stop >= len(self):
            return self
        plain = (getattr(self, name)[start:stop] for name in PLAIN)
        return Columns.made(plain, {name: values[start:stop] for name, values in self.metrics.items()})

    def chosen(self, flags: Sequence[bool]) -> "Columns":
        """The results whose flag is set."""
        plain = (list(compress(getattr(self, name), flags)) for name in PLAIN)
        return Columns.made(plain, {name: list(compress(values, flags)) for name, values in self.metrics.items()})

    def rounded(self) -> "Columns":
        """The same as a block gives it back: durations in steps, metrics as floats, in the order of their names."""
        metrics = {name: self.metrics[name] for name in sorted(self.metrics)}
        phases = [_in_steps(getattr(self, name)) for name in PHASES]
        totals: Whole = [
            us if us is None or us < EXACT_US else (us + _HALF) // STEP_US * STEP_US for us in self.total_us
        ]
        plain = [self.slots, self.status, self.code, totals, *phases, self.late_ms, self.error_id]
        return Columns.made(plain, metrics)

    def merged(self, other: "Columns") -> "Columns":
        """The results of both; where both have a slot, that of `self` stays."""
        known = set(self.slots)
        new = [index for index, slot_ms in enumerate(other.slots) if slot_ms not in known]
        if not new:
            return self
        slots = self.slots + [other.slots[index] for index in new]
        order = sorted(range(len(slots)), key=slots.__getitem__)
        joined = []
        for name in PLAIN:
            theirs = getattr(other, name)
            values = getattr(self, name) + [theirs[index] for index in new]
            joined.append([values[index] for index in order])
        metrics = {}
        for name in sorted({*self.metrics, *other.metrics}):
            nothing: list[float | None] = []
            ours = self.metrics.get(name) or [None] * len(self)
            those = other.metrics.get(name) or nothing
            both = ours + [those[index] if those else None for index in new]
            metrics[name] = [both[index] for index in order]
        kept = {name: values for name, values in metrics.items() if any(value is not None for value in values)}
        return Columns.made(joined, kept)

    def _texts(self) -> Iterable[str | None]:
        if not self.metrics:
            return [None] * len(self)
        names = list(self.metrics)
        return [
            pack_metrics({name: value for name, value in zip(names, values, strict=True) if value is not None})
            for values in zip(*self.metrics.values(), strict=True)
        ]


PLAIN = tuple(one.name for one in fields(Columns) if one.name != "metrics")
PHASES = ("dns_us", "connect_us", "tls_us", "ttfb_us", "transfer_us")


def _in_steps(column: Whole) -> Whole:
    return [us if us is None else (us + _HALF) // STEP_US * STEP_US for us in column]


def _metrics_of(texts: Sequence[str | None]) -> dict[str, list[float | None]]:
    found: dict[str, list[float | None]] = {}
    for index, text in enumerate(texts):
        if text is None:
            continue
        for name, value in _parse(text):
            column = found.get(name)
            if column is None:
                column = found[name] = [None] * len(texts)
            column[index] = value
    return found


@lru_cache(maxsize=512)  # most metrics of a check stay the same from run to run
def _parse(text: str) -> tuple[tuple[str, float], ...]:
    return tuple((name, _number(value)) for name, value in json.loads(text).items())


def _number(value: float) -> float:
    try:
        # + 0.0 makes minus zero a plain zero.
        return float(value) + 0.0
    except OverflowError:
        return 1.7976931348623157e308 if value > 0 else -1.7976931348623157e308
