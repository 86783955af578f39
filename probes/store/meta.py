"""Which small facts does the store keep about itself? Watermarks, markers."""

from probes.store.database import Link, Store, reading, writing
from probes.store.statement import change, putting, rows, scalar

ROLLED_MS = "rolled_ms"
"""Hours before this one have been given to the rollups (`due_hour` says which of them are still to be done)."""
HOT_MS = "hot_ms"
"""Results before this time lie in blocks; `hot` has of them only what came late and waits to be merged."""
UNPACKED_MS = "unpacked_ms"
"""Hours before this one were rolled up by a version without blocks; there only until they are packed."""
SUMMARISED = "summarised"
"""Changes whenever summaries are written; who has read them need not do so again until then."""
PRUNED_MS = "pruned_ms"
"""Single results before this time have been deleted."""
DAMAGE = "damage"
"""What the last look at the file found broken, a sentence; there only while it does."""


_PUT = putting("meta", ("key", "value"))
_VALUE = "SELECT value FROM meta WHERE key = :key"
_BEGINNING = "SELECT key, value FROM meta WHERE substr(key, 1, :n) = :prefix"
_WATERMARKS = "SELECT key, value FROM meta WHERE key IN ('rolled_ms', 'pruned_ms', 'hot_ms')"


def get_meta(store: Store, key: str) -> str | None:
    """The value of a key, None where there is none."""
    with reading(store) as link:
        found: str | None = scalar(link, _VALUE, key=key)
    return found


def set_meta(store: Store, key: str, value: str | None) -> None:
    """Set a key; None removes it."""
    with writing(store) as link:
        if value is None:
            forget(link, key)
        else:
            put(link, key, value)


def put(link: Link, key: str, value: str) -> None:
    """Set a key within a transaction."""
    change(link, _PUT, {"key": key, "value": value})


def forget(link: Link, key: str) -> None:
    """Remove a key within a transaction."""
    change(link, "DELETE FROM meta WHERE key = :key", {"key": key})


def find(link: Link, prefix: str) -> dict[str, str]:
    """Values by those keys that begin so, within a transaction."""
    return dict(rows(link, _BEGINNING, n=len(prefix), prefix=prefix))


def get_ms(link: Link, key: str) -> int:
    """A time within a transaction; 0 where there is none."""
    return int(scalar(link, _VALUE, key=key) or 0)


def get_watermarks(link: Link) -> tuple[int, int, int]:
    """ROLLED_MS, PRUNED_MS and HOT_MS in one look; 0 where there is none."""
    found = {key: int(value) for key, value in rows(link, _WATERMARKS)}
    return found.get(ROLLED_MS, 0), found.get(PRUNED_MS, 0), found.get(HOT_MS, 0)
