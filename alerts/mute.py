"""What is not told of: silences set by hand, maintenance planned in advance. Results are kept in both."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Protocol
from zoneinfo import ZoneInfo

import re2
from dateutil.rrule import rrulestr

from alerts.incident import Silence

Labels = Mapping[str, frozenset[str]]
"""What matchers look at: site, target, tier, severity, tag … to all values that hold."""

MATCHED = ("site", "target", "tier", "severity", "tag", "incident", "reason")
_LONGEST_PATTERN = 500


class MatcherError(ValueError):
    """A matcher that cannot be understood."""


class Pattern(Protocol):
    """A compiled regular expression."""

    def fullmatch(self, text: str) -> object: ...


def check_matchers(matchers: Mapping[str, str]) -> None:
    """Raises MatcherError for a label there is not, or a pattern that is none."""
    for label, wanted in matchers.items():
        if label not in MATCHED:
            raise MatcherError(f"unknown label {label!r}; known are {', '.join(MATCHED)}")
        if wanted.removeprefix("!").startswith("~"):
            _pattern(wanted.removeprefix("!")[1:])


def matches(matchers: Mapping[str, str], labels: Labels) -> bool:
    """True if every matcher holds: `value`, `!value`, `~pattern` or `!~pattern` (RE2, the whole value)."""
    return all(_holds(wanted, labels.get(label, frozenset())) for label, wanted in matchers.items())


def silenced_by(silences: Iterable[Silence], labels: Labels, now_ms: int) -> Silence | None:
    """The silence in force that covers these labels, the one that ends last."""
    covering = [s for s in silences if s.starts_ms <= now_ms < s.ends_ms and matches(s.matchers, labels)]
    return max(covering, key=lambda silence: silence.ends_ms, default=None)


def _holds(wanted: str, values: frozenset[str]) -> bool:
    if wanted.startswith("!"):
        return not _holds(wanted[1:], values)
    if wanted.startswith("~"):
        pattern = _pattern(wanted[1:])
        return any(pattern.fullmatch(value) is not None for value in values)
    return wanted in values


@lru_cache(maxsize=256)
def _pattern(text: str) -> Pattern:
    if len(text) > _LONGEST_PATTERN:
        raise MatcherError(f"a pattern has at most {_LONGEST_PATTERN} characters")
    options = re2.Options()
    options.log_errors = False
    try:
        compiled: Pattern = re2.compile(text, options)
    except re2.error as problem:
        raise MatcherError(f"pattern {text!r}: {problem}") from problem
    return compiled


@dataclass(frozen=True, slots=True)
class Window:
    """Planned maintenance of what matches: once from `starts` or by an iCalendar rule, in a zone's local time.

    `length_s` is real time: a window over a change of clocks lasts as long as any other.
    """

    matchers: Mapping[str, str] = field(default_factory=dict)
    length_s: float = 0.0
    at: time | None = None
    rule: str = ""
    starts: datetime | None = None
    zone: str = "UTC"

    def covers(self, now_ms: int) -> bool:
        """True while the window is open."""
        now = datetime.fromtimestamp(now_ms / 1000, UTC)
        return any(start <= now < start + timedelta(seconds=self.length_s) for start in self._starts_before(now))

    def periods(self, from_ms: int, to_ms: int) -> list[tuple[int, int]]:
        """When it is open within from_ms <= t < to_ms, cut to that, in epoch milliseconds and in order."""
        length_ms = int(self.length_s * 1000)
        found = set()
        at_ms = from_ms
        while at_ms <= to_ms + 86_400_000:
            # Each look goes back by the length and two days, so that a step of a day misses no start.
            starts = self._starts_before(datetime.fromtimestamp(at_ms / 1000, UTC))
            found |= {int(start.timestamp() * 1000) for start in starts}
            at_ms += 86_400_000
        cut = [(max(start_ms, from_ms), min(start_ms + length_ms, to_ms)) for start_ms in sorted(found)]
        return [(start_ms, end_ms) for start_ms, end_ms in cut if start_ms < end_ms]

    def _starts_before(self, now: datetime) -> Sequence[datetime]:
        zone = ZoneInfo(self.zone)
        if self.starts is not None:
            start = self.starts if self.starts.tzinfo else self.starts.replace(tzinfo=zone)
            return [start.astimezone(UTC)]
        # Rules count in local wall clock time, so the rule runs on naive times and each hit is placed in its zone.
        today = now.astimezone(zone).date()
        hits = _hits(self.rule or "FREQ=DAILY", self.at or time(), self.length_s, today)
        return [hit.replace(tzinfo=zone).astimezone(UTC) for hit in hits]


@lru_cache(maxsize=256)
def _hits(rule: str, at: time, length_s: float, day: date) -> tuple[datetime, ...]:
    """When a rule begins, as far as a moment of a day is concerned; kept, for it is counted from the anchor on."""
    anchor = datetime.combine(date(2024, 1, 1), at)
    midnight = datetime.combine(day, time())
    earliest = midnight - timedelta(seconds=length_s) - timedelta(days=1)
    return tuple(rrulestr(rule, dtstart=anchor).between(earliest, midnight + timedelta(days=2), inc=True))


def in_maintenance(windows: Iterable[Window], labels: Labels, now_ms: int) -> bool:
    """True if a window that is open matches."""
    return any(matches(window.matchers, labels) and window.covers(now_ms) for window in windows)
