"""What happened between two looks at counters that only grow, and when is that not known?"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

WINDOW_S = 300.0
MIN_OPERATIONS = 100
MAX_GAP_INTERVALS = 3


@dataclass(frozen=True, slots=True)
class Sample:
    """Counters as read at one moment. `at_s` is on the monotonic clock.

    `epoch` is what stays the same as long as the counters count on (run id, start time, time of the last reset).
    """

    at_s: float
    epoch: tuple[Any, ...]
    counters: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Step:
    """What was added to each counter between two samples, and in how many seconds; it ended at `at_s`."""

    at_s: float
    seconds: float
    added: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Window:
    """The steps of the last minutes, oldest first, and the sample that the next step will be measured from."""

    last: Sample | None = None
    steps: tuple[Step, ...] = field(default=())

    def then(self, sample: Sample, interval_s: float, window_s: float = WINDOW_S) -> "Window":
        """The window after another sample.

        A step counts only if the epoch is the same, no counter fell, and 0 < dt ≤ 3 × interval. Else there is a gap:
        the window starts anew from this sample and answers None until the next one.
        """
        step = _step(self.last, sample, interval_s)
        if step is None:
            return Window(sample)
        kept = tuple(old for old in self.steps if sample.at_s - old.at_s < window_s)
        return Window(sample, (*kept, step))

    def total(self, *names: str) -> float | None:
        """What was added to these counters within the window; None in a gap or where a counter is not read."""
        if not self.steps or any(name not in self.steps[-1].added for name in names):
            return None
        return sum(step.added.get(name, 0.0) for step in self.steps for name in names)

    def since_last(self, name: str) -> float | None:
        """What was added between the last two samples; None in a gap."""
        return self.steps[-1].added.get(name) if self.steps else None

    def per_s(self, name: str) -> float | None:
        """Additions a second between the last two samples; None in a gap."""
        added = self.since_last(name)
        return None if added is None else added / self.steps[-1].seconds

    def ratio(self, part: str, *rest: str, min_operations: int = MIN_OPERATIONS) -> float | None:
        """ΣΔpart / (ΣΔpart + ΣΔrest) over the window: a sum of deltas, never a mean of ratios nor a lifetime ratio.

        None in a gap, and where fewer than `min_operations` were counted: too few to say anything.
        """
        partial, whole = self.total(part), self.total(part, *rest)
        if partial is None or whole is None or whole < max(1, min_operations):
            return None
        return partial / whole


def _step(last: Sample | None, sample: Sample, interval_s: float) -> Step | None:
    if last is None or last.epoch != sample.epoch or last.counters.keys() != sample.counters.keys():
        return None
    seconds = sample.at_s - last.at_s
    if not 0 < seconds <= MAX_GAP_INTERVALS * interval_s:
        return None
    added = {name: value - last.counters[name] for name, value in sample.counters.items()}
    if any(change < 0 for change in added.values()):
        return None
    return Step(sample.at_s, seconds, added)


def window_of(carry: Any) -> Window:
    """The window that an earlier run left as its carry; an empty one at first."""
    return carry if isinstance(carry, Window) else Window()


def known(metrics: Mapping[str, float | None]) -> dict[str, float]:
    """The metrics that have a value: one that is not known is absent, never 0."""
    return {name: float(value) for name, value in metrics.items() if value is not None}
