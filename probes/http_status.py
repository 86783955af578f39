"""Which status codes are meant, and what are they called?"""

from functools import lru_cache
from http import HTTPStatus
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator


def _check_status(patterns: tuple[str, ...]) -> tuple[str, ...]:
    for pattern in patterns:
        digits = pattern.lower().removesuffix("xx")
        if not (digits.isdigit() and len(pattern) == 3 and pattern[0] in "12345"):
            raise ValueError(f"{pattern!r} is no status: write 200, 2xx or a list of these")
    return tuple(pattern.lower() for pattern in patterns)


def _as_patterns(value: Any) -> Any:
    return tuple(str(item) for item in (value if isinstance(value, list | tuple) else [value]))


Statuses = Annotated[
    tuple[str, ...],
    BeforeValidator(_as_patterns, json_schema_input_type=str | int | list[str | int]),
    AfterValidator(_check_status),
]


@lru_cache(maxsize=4096)
def status_matches(code: int | None, patterns: tuple[str, ...]) -> bool:
    """Whether a status code is one of `200`, `2xx`."""
    text = str(code)
    return any(text == pattern or (pattern.endswith("xx") and text[0] == pattern[0]) for pattern in patterns)


def name_status(code: int | None) -> str:
    """`503 Service Unavailable`."""
    try:
        return f"{code} {HTTPStatus(code or 0).phrase}"
    except ValueError:
        return str(code)
