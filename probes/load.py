"""Does the worker keep up? The share of runs that begin too late, over the last half minute. No clock of its own."""

from collections import deque
from collections.abc import Mapping

TOO_LATE_MS = 1000
"""A start later than this after its slot, or no start at all, counts as late here (never as the target's fault)."""
_WINDOW_S = 30
_BEGINS_AT, _ENDS_AT = 0.05, 0.01
_FEWEST_LATE = 5  # a worker with ten checks is not overloaded because one of them had to wait once


class LoadWatch:
    """Overload begins when more than a twentieth of the runs is late, and ends when fewer than a hundredth is."""

    def __init__(self) -> None:
        self.overloaded = False
        self._seconds: deque[list[int]] = deque()  # second, runs, late ones
        self._newest = [-1, 0, 0]
        self._runs = self._late = 0

    @property
    def late_ratio(self) -> float:
        """Share of the runs of the last half minute that began too late or not at all; 0 where there were none."""
        return self._late / self._runs if self._runs else 0.0

    def note(self, late_ms: int, now_s: float) -> None:
        """A run has ended, or was given up as late."""
        second = int(now_s)
        newest = self._newest
        if newest[0] != second:
            newest = self._newest = [second, 0, 0]
            self._seconds.append(newest)
        newest[1] += 1
        self._runs += 1
        if late_ms > TOO_LATE_MS:
            newest[2] += 1
            self._late += 1

    def look(self, now_s: float) -> bool:
        """Whether the worker is overloaded now; to be called about once a second."""
        while self._seconds and self._seconds[0][0] < int(now_s) - _WINDOW_S:
            _, runs, late = self._seconds.popleft()
            self._runs -= runs
            self._late -= late
        if self.overloaded:
            self.overloaded = self.late_ratio > _ENDS_AT
        else:
            self.overloaded = self._late >= _FEWEST_LATE and self.late_ratio > _BEGINS_AT
        return self.overloaded

    def forget(self) -> None:
        """The clock jumped or the machine slept: what was late then says nothing."""
        self._seconds.clear()
        self._newest = [-1, 0, 0]
        self._runs = self._late = 0


def say_overload(late_ratio: float, for_threads: Mapping[str, int], for_room: int) -> str:
    """What to tell people: how bad, what is short, and what to do."""
    kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(for_threads.items(), key=lambda one: -one[1]))
    short = [
        f"waiting for a thread: {kinds}" if kinds else "",
        f"waiting for room: {for_room} HTTP" if for_room else "",
    ]
    why = "; ".join(part for part in short if part) or "this machine's processor is short"
    cures = ["run more workers", "lengthen intervals"]
    cures += ["raise worker.threads"] if kinds else []
    cures += ["raise worker.max_in_flight"] if for_room else []
    return (
        f"Overloaded: {late_ratio:.0%} of the last runs began more than a second late or not at all ({why}). "
        f"{', or '.join((', '.join(cures[:-1]), cures[-1])).capitalize()}. "
        "Runs later than their interval are stored as late (unknown); statistics are asked half as often meanwhile."
    )
