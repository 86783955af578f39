"""How the store is kept in health: backups, the log of SQLite, and what is to be free when rows are gone."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from probes.store.database import StoreError, database_file, is_sqlite, say_where, speaking
from probes.store.integrity import db_check

TRUNCATE_BYTES = 64 << 20
WARN_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """SQLite's log after a checkpoint; `warning` is a sentence for people where it stays big."""

    wal_bytes: int
    warning: str = ""


def db_backup(engine: Engine, path: Path) -> None:
    """A copy of the store in one file, consistent while others write; it appears under its name when it is whole.

    Raises StoreError: for a server, where pg_dump is the tool, for a file that exists, and for a full disk.
    """
    file = database_file(engine)
    if file is None:
        raise StoreError(f"{say_where(engine)} is no file: back it up with pg_dump.")
    if path.exists():
        raise StoreError(f"{path} exists already: a backup never overwrites.")
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    try:
        with (
            speaking(engine),
            closing(sqlite3.connect(file, timeout=5)) as source,
            closing(sqlite3.connect(part)) as copy,
        ):
            source.backup(copy, pages=1000, sleep=0.005)
            copy.execute("PRAGMA journal_mode = DELETE").close()
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)


def checkpoint(engine: Engine) -> Checkpoint:
    """Move SQLite's log into its file without waiting for anybody; cut the log off when it grew above 64 MB.

    Call it each minute. Does nothing on a server. Raises StoreError.
    """
    file = database_file(engine)
    if file is None:
        return Checkpoint(0)
    with speaking(engine), closing(engine.raw_connection()) as connection:
        connection.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        if wal_bytes(engine) > TRUNCATE_BYTES:
            connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    size = wal_bytes(engine)
    if size <= WARN_BYTES:
        return Checkpoint(size)
    return Checkpoint(size, f"The store's log has {size >> 20} MB: a reader holds a snapshot of {file} open.")


def wal_bytes(engine: Engine) -> int:
    """Size of SQLite's log."""
    file = database_file(engine)
    log = file.with_name(f"{file.name}-wal") if file else None
    return log.stat().st_size if log and log.exists() else 0


def free_pages(engine: Engine, pages: int = 2000) -> None:
    """Give pages that deleted rows left back to the file system, a piece at a time."""
    if not is_sqlite(engine):
        return
    with speaking(engine), closing(engine.raw_connection()) as connection:
        # Each step of this statement frees one page, and execute() takes one step.
        connection.driver_connection.executescript(f"PRAGMA incremental_vacuum({int(pages)})")  # type: ignore[union-attr]


__all__ = ["Checkpoint", "checkpoint", "db_backup", "db_check", "free_pages", "wal_bytes"]
