"""How long is "10s", "5m", "2h"? Durations as people write them, seconds inside."""

import math
import re
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31536000.0}
PATTERN = r"\s*([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d|w|y)\s*"


def parse_duration(text: object) -> float:
    """Seconds of `250ms`, `10s`, `5m`, `2h`, `7d`, `4w`, `2y` (365 days); a number is seconds. Raises ValueError."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        if not math.isfinite(text) or text < 0:
            raise ValueError("a duration is a number of seconds from 0 up")
        return float(text)
    if not isinstance(text, str):
        raise ValueError("is not a duration: write 250ms, 10s, 5m, 2h or 7d")
    found = re.fullmatch(PATTERN, text)
    if found is None:
        if re.fullmatch(r"\s*[0-9]+(\.[0-9]+)?\s*", text):
            return float(text)
        raise ValueError(f"{text[:40]!r} is not a duration: write 250ms, 10s, 5m, 2h or 7d")
    return float(found[1]) * UNITS_S[found[2]]


def format_duration(seconds: float) -> str:
    """The shortest exact way to write it: `90s`, `5m`, `250ms`; what `parse_duration` reads back."""
    for unit in ("d", "h", "m"):
        if seconds >= UNITS_S[unit] and seconds % UNITS_S[unit] == 0:
            return f"{seconds / UNITS_S[unit]:.0f}{unit}"
    if 0 < seconds < 1:
        return f"{seconds * 1000:.10g}ms"
    return f"{seconds:.10g}s"


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema(
        {"anyOf": [{"type": "string"}, {"type": "number", "minimum": 0}], "examples": ["250ms", "10s", "5m"]}
    ),
]
"""A field that is written as a duration and read as float seconds."""
