"""Which small facts does the store keep about itself? Watermarks, markers."""

from sqlalchemy import Connection, Engine, bindparam, delete, select

from probes.store.database import driver_of, is_sqlite, reading, upsert, writing
from probes.store.tables import meta

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


def get_meta(engine: Engine, key: str) -> str | None:
    """The value of a key, None where there is none."""
    with reading(engine) as connection:
        return connection.scalar(select(meta.c.value).where(meta.c.key == key))


def set_meta(engine: Engine, key: str, value: str | None) -> None:
    """Set a key; None removes it."""
    with writing(engine) as connection:
        if value is None:
            connection.execute(delete(meta).where(meta.c.key == key))
        else:
            put(connection, key, value)


def put(connection: Connection, key: str, value: str) -> None:
    """Set a key within a transaction."""
    insert = upsert(connection)(meta).values(key=key, value=value)
    connection.execute(insert.on_conflict_do_update(index_elements=["key"], set_={"value": value}))


_VALUE = select(meta.c.value).where(meta.c.key == bindparam("key"))


def get_ms(connection: Connection, key: str) -> int:
    """A time within a transaction; 0 where there is none."""
    return int(connection.scalar(_VALUE, {"key": key}) or 0)


_WATERMARKS = "SELECT key, value FROM meta WHERE key IN ('rolled_ms', 'pruned_ms', 'hot_ms')"


def get_watermarks(connection: Connection) -> tuple[int, int, int]:
    """ROLLED_MS, PRUNED_MS and HOT_MS in one look; 0 where there is none."""
    rows = driver_of(connection).execute if is_sqlite(connection) else connection.exec_driver_sql
    found = {key: int(value) for key, value in rows(_WATERMARKS).fetchall()}
    return found.get(ROLLED_MS, 0), found.get(PRUNED_MS, 0), found.get(HOT_MS, 0)
