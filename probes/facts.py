"""What has changed about a target: its certificate, its DNS answer, the way it redirects? Told as events, not again."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

DAY_MS = 86_400_000
_MOST_RETURNS = 4
_MOST_NEW = 24
_SHOWN = 200

Facts = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Change:
    """A fact of a check that is another one than before. `kind` is the fact's name, for programs and filters."""

    at_ms: int
    check_id: str
    kind: str
    text: str


class FactBook:
    """Remembers the facts of every check and says what is worth an event.

    What alternates (two servers behind one name, each with a certificate of its own; round-robin DNS) is told a few
    times a day, not with every run: a value seen within a day counts as news only for the first `_MOST_RETURNS`
    changes, a new one for `_MOST_NEW`.
    """

    def __init__(self, known: Mapping[str, Facts] | None = None) -> None:
        self._known: dict[str, dict[str, str]] = {check: dict(facts) for check, facts in (known or {}).items()}
        self._told: dict[tuple[str, str], deque[int]] = {}
        self._seen: dict[tuple[str, str], dict[str, int]] = {}

    def facts_of(self, check_id: str) -> Facts:
        """What is known of a check now."""
        return self._known.get(check_id, {})

    def hear(self, check_id: str, facts: Facts, at_ms: int) -> list[Change]:
        """Take over what a run has found. What was not known before is no change; no facts at all: forget the check."""
        if not facts:
            self._known.pop(check_id, None)
            return []
        known = self._known.setdefault(check_id, {})
        changes = []
        for name, value in facts.items():
            before = known.get(name)
            known[name] = value
            if before is None or before == value:
                continue
            if self._is_news((check_id, name), before, value, at_ms):
                changes.append(Change(at_ms, check_id, name.lower().replace(" ", "_"), describe(name, before, value)))
        return changes

    def _is_news(self, key: tuple[str, str], before: str, value: str, at_ms: int) -> bool:
        seen = self._seen.setdefault(key, {})
        for old in [one for one, last_ms in seen.items() if last_ms < at_ms - DAY_MS]:
            del seen[old]
        returns = value in seen
        if len(seen) < _MOST_NEW * 2:
            seen[before] = seen[value] = at_ms
        told = self._told.setdefault(key, deque())
        while told and told[0] < at_ms - DAY_MS:
            told.popleft()
        if len(told) >= (_MOST_RETURNS if returns else _MOST_NEW):
            return False
        told.append(at_ms)
        return True


def describe(name: str, before: str, value: str) -> str:
    """`certificate changed: a1b2… by Old → c3d4… by New`, with words for an issuer that changed as well."""
    old_issuer, new_issuer = before.partition(" by ")[2], value.partition(" by ")[2]
    also = ", issuer too" if name == "certificate" and old_issuer != new_issuer else ""
    return f"{name} changed{also}: {_shorten(before)} → {_shorten(value)}"


def _shorten(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
