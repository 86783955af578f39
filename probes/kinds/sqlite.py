"""Is a SQLite file readable and sound, and is there room for it to grow?"""

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from pydantic import Field

from probes.duration import Duration
from probes.probe import Ask, BlockingProbe, Failure, Metric, Options, Reading, probe
from probes.redact import clean
from probes.result import Reason, Status

# First bytes of a rollback journal that still holds something to roll back (SQLite, "Database File Format", 3).
_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")
_STEPS_BETWEEN_LOOKS = 2000


class SqliteOptions(Options):
    """Which file to look at."""

    path: Path = Field(description="The database file; it is opened read-only")
    quick_check: bool = Field(True, description="Check the file's structure with PRAGMA quick_check now and then")
    quick_check_every: Duration = Field(3600.0, description="How often, at most")


@dataclass(frozen=True, slots=True)
class _Checked:
    """When the structure was last checked (monotonic seconds), and what came out; None: not finished in time."""

    at_s: float
    problem: str | None
    is_sound: bool | None


@probe("sqlite")
class SqliteProbe(BlockingProbe):
    """Opens the file read-only, reads from it, and once an hour checks its structure for part of the deadline."""

    Options = SqliteOptions
    account = "read permission on the file (for WAL also on -wal, and write permission on -shm or its folder)"
    measures = True
    metrics: ClassVar = {
        "query_s": Metric("Seconds to open the file, read its schema and SELECT 1"),
        "size_bytes": Metric("Size of the database file"),
        "wal_size_bytes": Metric("Size of the write-ahead log; it grows while a reader never ends"),
        "disk_free_bytes": Metric("Room left where the file lies", "below"),
        "disk_free_ratio": Metric("Share of the disk that is free", "below"),
        "free_pages_ratio": Metric("Share of the file that VACUUM would give back"),
        "hot_journal": Metric("1 where a transaction was left half-done, or is just being written"),
        "quick_check_ok": Metric("1 where the last check of the structure found nothing", "below"),
    }

    options: SqliteOptions

    def describe(self) -> str:
        """`sqlite /var/lib/shop.db`."""
        return f"sqlite {self.options.path}"

    def run(self, ask: Ask) -> Reading:
        """Reads; a file that is missing, locked, foreign or broken fails with SQLite's own words."""
        path = self.options.path
        metrics = self._measure_files()
        started = time.monotonic()
        with _failures_of(path, ask, metrics), closing(self._open(ask)) as connection:
            connection.execute("PRAGMA schema_version").fetchone()
            connection.execute("SELECT 1").fetchone()
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            free = connection.execute("PRAGMA freelist_count").fetchone()[0]
            metrics["query_s"] = time.monotonic() - started
            if pages:
                metrics["free_pages_ratio"] = free / pages
            checked = self._check(connection, ask)
        if checked is not None and checked.is_sound is not None:
            metrics["quick_check_ok"] = float(checked.is_sound)
        is_broken = checked is not None and checked.is_sound is False
        return Reading(
            status=Status.DOWN if is_broken else Status.UP,
            reason=Reason.QUERY_ERROR if is_broken else None,
            message=checked.problem or "" if checked else "",
            duration_s=metrics["query_s"],
            metrics=metrics,
            carry=checked,
        )

    def _measure_files(self) -> dict[str, float]:
        path = self.options.path
        try:
            size = path.stat().st_size
            disk = shutil.disk_usage(path.parent)
            wal = Path(f"{path}-wal")
            wal_size = wal.stat().st_size if wal.exists() else 0
            hot = _is_hot(Path(f"{path}-journal"))
        except OSError as error:
            words = "no such file" if isinstance(error, FileNotFoundError) else (error.strerror or "not readable")
            raise Failure(Reason.QUERY_ERROR, f"{path}: {words}") from error
        return {
            "size_bytes": float(size),
            "wal_size_bytes": float(wal_size),
            "disk_free_bytes": float(disk.free),
            "disk_free_ratio": disk.free / disk.total if disk.total else 0.0,
            "hot_journal": float(hot),
        }

    def _open(self, ask: Ask) -> sqlite3.Connection:
        left = ask.deadline.remaining_s()
        connection = sqlite3.connect(
            f"file:{quote(str(self.options.path.absolute()))}?mode=ro", uri=True, timeout=left, isolation_level=None
        )
        end = time.monotonic() + left
        connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS_BETWEEN_LOOKS)
        return connection

    def _check(self, connection: sqlite3.Connection, ask: Ask) -> _Checked | None:
        """quick_check in half of the time left; what was known stays known until the next one is due."""
        last = ask.last.carry if ask.last and isinstance(ask.last.carry, _Checked) else None
        if not self.options.quick_check:
            return None
        now = time.monotonic()
        if last is not None and now - last.at_s < self.options.quick_check_every:
            return last
        end = now + ask.deadline.remaining_s() / 2
        connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS_BETWEEN_LOOKS)
        try:
            told = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise
            return _Checked(now, "quick_check was not done in half of the timeout", None)
        if told == "ok":
            return _Checked(now, None, True)
        return _Checked(now, f"{self.options.path}: quick_check found: {clean(str(told), 200)}", False)


def _is_hot(journal: Path) -> bool:
    if not journal.exists():
        return False
    with journal.open("rb") as file:
        return file.read(len(_JOURNAL_MAGIC)) == _JOURNAL_MAGIC


@contextmanager
def _failures_of(path: Path, ask: Ask, metrics: dict[str, float]) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) or 0
        name = getattr(error, "sqlite_errorname", "") or ""
        if code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            text = f"{path}: locked by another process for all of {ask.deadline.timeout_s:g} s"
            raise Failure(Reason.DEADLINE, text, metrics=metrics) from error
        if code == sqlite3.SQLITE_INTERRUPT:
            raise Failure(
                Reason.DEADLINE, f"{path}: no answer within {ask.deadline.timeout_s:g} s", metrics=metrics
            ) from error
        words = clean(str(error), 200) + (f" ({name})" if name else "")
        if metrics["hot_journal"]:
            words += "; a half-done transaction waits to be rolled back by whoever may write"
        raise Failure(Reason.QUERY_ERROR, f"{path}: {words}", metrics=metrics) from error
