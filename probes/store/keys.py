"""What number is a result found by, or an hour of results? Its time, and behind it the number of its series."""

SERIES_BITS = 20
SERIES_MASK = (1 << SERIES_BITS) - 1
MAX_SLOT_MS = (1 << 42) - 1


def key_of(slot_ms: int, series_id: int = 0) -> int:
    """The key of a result in `hot`; that of series 0 comes before every result of its slot."""
    return max(0, min(slot_ms, MAX_SLOT_MS)) << SERIES_BITS | series_id


def block_key(slot_ms: int, series_id: int = 0) -> int:
    """The key in `block` of the hour that a time lies in."""
    return max(0, min(slot_ms, MAX_SLOT_MS)) // 3_600_000 << SERIES_BITS | series_id
