"""How the store is kept in health: backups, the log of SQLite, and what is to be free when rows are gone."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from probes.store.database import Store, StoreError, database_file, driving, is_sqlite, say_where, speaking
from probes.store.embedded import BUSY_TIMEOUT_MS, log_of

if TYPE_CHECKING:
    from sqlalchemy import Engine

Progress = Callable[[str, int, int], object]
"""Is told what is counted, how many are done, and of how many."""

TRUNCATE_BYTES = 64 << 20
WARN_BYTES = 256 << 20
_FULL_BYTES = 1 << 20
_TRUNCATE_WAIT_MS = 200
"""Cutting off the log keeps writers out while it waits for readers; what one of them holds is cut off another time."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """SQLite's log after a checkpoint; `warning` is a sentence for people where it stays big."""

    wal_bytes: int
    warning: str = ""


def db_backup(store: Store, path: Path, progress: Progress = lambda *_: None) -> None:
    """A copy of the store in one file, consistent while others write; it appears under its name when it is whole.

    Raises StoreError: for a server, where pg_dump is the tool, for a file that exists, and for a full disk.
    """
    file = database_file(store)
    if file is None:
        raise StoreError(f"{say_where(store)} is no file: back it up with pg_dump.")
    if path.exists():
        raise StoreError(f"{path} exists already: a backup never overwrites.")
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    try:
        with (
            speaking(store),
            closing(sqlite3.connect(file, timeout=5, isolation_level=None)) as source,
            closing(sqlite3.connect(part)) as copy,
        ):
            # Without a snapshot the copy begins anew after every commit of somebody else, and may never be whole.
            source.execute("BEGIN").close()
            source.execute("SELECT count(*) FROM sqlite_master").fetchone()
            source.backup(
                copy,
                pages=1000,
                sleep=0.005,
                progress=lambda _, left, pages: progress("pages copied", pages - left, pages),
            )
            source.execute("ROLLBACK").close()
            copy.execute("PRAGMA journal_mode = DELETE").close()
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)


def checkpoint(store: Store) -> Checkpoint:
    """Move SQLite's log into its file without waiting for anybody; cut the log off when it grew above 64 MB.

    Call it each minute. Does nothing on a server. Raises StoreError.
    """
    file = database_file(store)
    if file is None:
        return Checkpoint(0)
    with driving(store) as driver:
        driver.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        if wal_bytes(store) > TRUNCATE_BYTES:
            driver.execute(f"PRAGMA busy_timeout = {_TRUNCATE_WAIT_MS}").fetchall()
            try:
                driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                driver.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}").fetchall()
    size = wal_bytes(store)
    if size > WARN_BYTES:
        return Checkpoint(size, f"The store's log has {size / 1e6:.0f} MB: a reader holds a snapshot of {file} open.")
    return Checkpoint(size, _say_space(file, size))


def _say_space(file: Path, log_bytes: int) -> str:
    """A full disk refuses to delete, too: warned of while there is room to act."""
    free = shutil.disk_usage(file.parent).free
    if free >= 2 * log_bytes + WARN_BYTES:
        return ""
    return f"Only {free / 1e6:.0f} MB are free on the disk of the store {file}: make room, or shorten the retention."


def wal_bytes(store: Store) -> int:
    """Size of SQLite's log."""
    file = database_file(store)
    log = log_of(file) if file else None
    return log.stat().st_size if log and log.exists() else 0


def why_not_writable(store: Store) -> str:
    """What keeps results and alerts out of the embedded store now, in words; empty where nothing does.

    Takes the write lock for an instant, and waits for it up to a second. Nothing is asked of a server.
    """
    file = database_file(store)
    if file is None:
        return ""
    if shutil.disk_usage(file.parent).free < _FULL_BYTES:
        return "the disk of the store is full"
    try:
        with closing(sqlite3.connect(file, timeout=1.0, isolation_level=None)) as own:
            own.execute("BEGIN IMMEDIATE").close()
            own.execute("ROLLBACK").close()
    except sqlite3.Error as error:
        locked = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
        return "the store is locked by another process" if locked else f"the store cannot be written: {error}"
    return ""


def free_pages(store: Store, pages: int = 2000) -> None:
    """Give pages that deleted rows left back to the file system, a piece at a time."""
    if not is_sqlite(store):
        return
    with driving(store) as driver:
        # Each step of this statement frees one page, and execute() takes one step.
        driver.executescript(f"PRAGMA incremental_vacuum({int(pages)})")


@dataclass(frozen=True, slots=True)
class Vacuum:
    """Size of the store's file and log in bytes before and after; `warning` where less was done than asked for."""

    before_bytes: int
    after_bytes: int
    warning: str = ""


def vacuum(engine: "Engine", *, full: bool, progress: Progress) -> Vacuum:
    """Give pages without rows back to the file system, in pieces beside a running worker.

    `full` writes the whole file anew, which needs its size twice on the disk and keeps writers out meanwhile. On a
    server it is VACUUM (ANALYZE). Raises StoreError.
    """
    file = database_file(engine)
    if file is None:
        from sqlalchemy import text

        with speaking(engine), engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM (FULL, ANALYZE)" if full else "VACUUM (ANALYZE)"))
        return Vacuum(0, 0)
    before = file.stat().st_size + wal_bytes(engine)
    if full:
        _refuse_without_room(file, before)
        with driving(engine) as driver:
            driver.execute("VACUUM").close()
    else:
        free_all_pages(engine, progress)
    with driving(engine) as driver:
        busy = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    words = "a reader holds the log open: the file shrinks when it is gone" if busy else ""
    return Vacuum(before, file.stat().st_size + wal_bytes(engine), words)


def free_all_pages(store: Store, progress: Progress = lambda *_: None) -> None:
    """Give every page that deleted rows left back, in pieces. Does nothing on a server. Raises StoreError."""
    total = left = _free_count(store) if is_sqlite(store) else 0
    while left:
        free_pages(store)
        now_left = _free_count(store)
        progress("freeing pages", total - now_left, total)
        if now_left >= left:
            return  # a file of another making, which only a full vacuum shrinks
        left = now_left


def _free_count(store: Store) -> int:
    with driving(store) as driver:
        return int(driver.execute("PRAGMA freelist_count").fetchone()[0])


def _refuse_without_room(file: Path, size: int) -> None:
    free = shutil.disk_usage(file.parent).free
    if free < 2 * size + (64 << 20):
        raise StoreError(
            f"writing {file} anew needs {2 * size / 1e6:.0f} MB beside it, {free / 1e6:.0f} MB are free: "
            "without --full pages are freed in place"
        )


__all__ = [
    "Checkpoint",
    "Progress",
    "checkpoint",
    "db_backup",
    "free_all_pages",
    "free_pages",
    "vacuum",
    "wal_bytes",
    "why_not_writable",
]
