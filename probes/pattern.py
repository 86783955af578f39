"""Which texts does a pattern of the configuration find? RE2, which is linear in its input: none can stall the loop."""

from functools import lru_cache
from typing import Any

LONGEST_SEARCHED = 256 * 1024
LONGEST_PATTERN = 500


@lru_cache(maxsize=4096)
def read_pattern(pattern: str) -> Any:
    """A compiled RE2 pattern. Raises ValueError."""
    import re2  # 2 MiB that a worker without patterns does not need

    options = re2.Options()
    options.max_mem = 8 << 20
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        words = error.args[0] if error.args else error
        raise ValueError(f"not a valid RE2 pattern: {words.decode() if isinstance(words, bytes) else words}") from None
