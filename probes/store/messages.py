"""Which text of a result is kept? As it came, unless a check says something new too often.

An outage repeats one text thousands of times, and the store keeps it once. A text with a number or id in it that is
new each time would make a row a result; so ids are masked, long decimals rounded, and a check that still brings more
than its allowance of new texts a day gets them with every number masked.
"""

import re

MAX_LENGTH = 500
TEXTS_A_DAY = 50
DAY_MS = 86_400_000

_ID = re.compile(
    r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"  # UUID
    r"|\b0x[0-9a-fA-F]+\b"
    r"|\b(?=[0-9a-fA-F]*\d)[0-9a-fA-F]{16,}\b"  # hash, trace id
    r"|(?<![\d.])\d{9,}(?![\d.])"  # epoch, serial
)
_LONG_DECIMAL = re.compile(r"(?<![\d.])\d+\.\d{3,}(?![\d.])")
_NUMBER = re.compile(r"\d+(?:[.:,]\d+)*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


def normalise(text: str) -> str:
    """The text without ids and control characters, decimals rounded, at most 500 characters."""
    text = _CONTROL.sub(" ", text[: 4 * MAX_LENGTH]).strip()
    text = _ID.sub("…", text)
    return _LONG_DECIMAL.sub(_rounded, text)[:MAX_LENGTH]


def mask(text: str) -> str:
    """The text with every number masked."""
    return _NUMBER.sub("#", text)


class Allowance:
    """How many new texts each check may still bring today; `slot_ms` is the clock."""

    def __init__(self, texts_a_day: int = TEXTS_A_DAY) -> None:
        self.texts_a_day = texts_a_day
        self._day = -1
        self._used: dict[str, int] = {}

    def take(self, check_id: str, slot_ms: int) -> bool:
        """True if this check may bring one more new text on the day of its slot."""
        day = slot_ms // DAY_MS
        if day > self._day:
            self._day = day
            self._used.clear()
        used = self._used.get(check_id, 0)
        self._used[check_id] = used + 1
        return used < self.texts_a_day


def _rounded(found: re.Match[str]) -> str:
    value = float(found[0])
    return f"{value:.2f}" if value >= 1 else f"{value:.2g}"
