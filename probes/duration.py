"""How long is "10s", "5m", "2h"? Durations as people write them, seconds inside."""

import re
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31536000.0}
LONGEST_S = 100 * UNITS_S["y"]
_PART = r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d|w|y)\s*"


def parse_duration(text: object) -> float:
    """Seconds of `250ms`, `10s`, `1h30m`, `7d`, `2y` (years of 365 days); a number is seconds. Raises ValueError."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        seconds = float(text)
    elif isinstance(text, str) and re.fullmatch(rf"\s*(?:{_PART})+", text):
        seconds = sum(float(number) * UNITS_S[unit] for number, unit in re.findall(_PART, text))
    elif isinstance(text, str) and re.fullmatch(r"\s*[0-9]+(\.[0-9]+)?\s*", text):
        seconds = float(text)  # a number that came through the environment
    else:
        shown = f"{text!r} " if isinstance(text, str) else ""
        raise ValueError(f"{shown}is not a duration: write 250ms, 10s, 5m, 2h or 7d")
    if not 0 <= seconds <= LONGEST_S:  # false for not-a-number too
        raise ValueError("a duration lies between 0 and 100 years")
    return seconds


def format_duration(seconds: float) -> str:
    """The way people would write it, two units at most: `250ms`, `1.5s`, `10s`, `1h30m`, `7d`."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.3g}ms" if seconds > 0 else "0s"
    left = round(seconds) if seconds >= 10 else round(seconds, 1)
    if left < 60:
        return f"{left:g}s"
    parts = []
    for unit in ("d", "h", "m", "s"):
        count, left = divmod(left, int(UNITS_S[unit]))
        if count:
            parts.append(f"{count:.0f}{unit}")
    return "".join(parts[:2])


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema(
        {"anyOf": [{"type": "string"}, {"type": "number", "minimum": 0}], "examples": ["250ms", "10s", "5m"]}
    ),
]
"""A field that is written as a duration and read as float seconds."""
