"""Which values of a JSON document does a path choose? RFC 9535; imported with the first path of the configuration."""

from functools import lru_cache
from typing import Any, ClassVar

import jsonpath
from jsonpath.function_extensions import ExpressionType, FilterFunction

from probes.pattern import LONGEST_PATTERN, LONGEST_SEARCHED, read_pattern


class _Pattern(FilterFunction):
    """RFC 9535's `match` (the whole text) and `search` over RE2: the library's own may run without end."""

    arg_types: ClassVar = [ExpressionType.VALUE, ExpressionType.VALUE]
    return_type = ExpressionType.LOGICAL

    def __init__(self, *, whole: bool) -> None:
        self._whole = whole

    def __call__(self, value: object, pattern: object) -> bool:
        if not isinstance(value, str) or not isinstance(pattern, str) or len(pattern) > LONGEST_PATTERN:
            return False
        try:
            found = read_pattern(pattern)
        except ValueError:  # RFC 9535, 2.4.6: a pattern that is none matches nothing
            return False
        text = value[:LONGEST_SEARCHED]
        return (found.fullmatch(text) if self._whole else found.search(text)) is not None


_PATHS = jsonpath.JSONPathEnvironment(strict=True)
_PATHS.function_extensions |= {"match": _Pattern(whole=True), "search": _Pattern(whole=False)}


@lru_cache(maxsize=4096)
def compile_path(path: str) -> Any:
    """A compiled JSONPath. Raises ValueError."""
    try:
        return _PATHS.compile(path)
    except jsonpath.JSONPathError as error:
        raise ValueError(f"not a valid JSON path: {error}") from None
