"""How long: durations as people write them (`250ms 10s 5m 2h 7d`) and as the code wants them (seconds)."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

_UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 365 * 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h|d|w|y)")


def parse_duration(value: Any) -> float:
    """Seconds of `10s`, `1h30m` or a plain number of seconds. Raises ValueError with an example for anything else."""
    if isinstance(value, bool):
        raise ValueError("a duration like 250ms, 10s, 5m, 2h or 7d is wanted, not true or false")
    if isinstance(value, int | float):
        seconds = float(value)
    else:
        text = str(value).strip().replace(" ", "")
        if not text or _PART.sub("", text):
            raise ValueError(f"{value!r} is no duration; write 250ms, 10s, 5m, 2h or 7d")
        seconds = sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(text))
    if not 0 <= seconds < 100 * _UNITS_S["y"]:
        raise ValueError(f"{value!r} is no sensible duration")
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest way people would write it: `250ms`, `10s`, `1h30m`, `7d`; at most two units."""
    if seconds < 1:
        return f"{seconds * 1000:.3g}ms"
    rest = round(seconds) if seconds >= 10 else round(seconds, 1)
    if rest < 60:
        return f"{rest:g}s"
    parts = []
    for unit in ("d", "h", "m", "s"):
        count, rest = divmod(rest, _UNITS_S[unit])
        if count:
            parts.append(f"{count:g}{unit}")
    return "".join(parts[:2])


def _positive(value: Any) -> float:
    seconds = parse_duration(value)
    if seconds <= 0:
        raise ValueError("more than nothing is wanted")
    return seconds


Duration = Annotated[float, BeforeValidator(_positive, json_schema_input_type=str | float)]
"""A field in seconds (more than 0) that users write as `250ms 10s 5m 2h 7d`."""
