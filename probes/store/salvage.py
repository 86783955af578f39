"""What of a damaged store can still be read? Copied table by table into a new one; what is lost is counted and told."""

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from probes.store.database import StoreError
from probes.store.due import DAY_MS, hour_of, last_hours
from probes.store.keys import MAX_SLOT_MS, SERIES_BITS
from probes.store.meta import ROLLED_MS
from probes.store.schema import upgrade

MAGIC = b"SQLite format 3\x00"
BATCH = 5000
_TOP = (1 << 63) - 1
_SCHEMA_TABLES = ("alembic_version",)
Progress = Callable[[str, int, int], object]


@dataclass(frozen=True, slots=True)
class Copied:
    """One table: rows that came over, and in how many places it could not be read."""

    table: str
    rows: int
    broken: int = 0


@dataclass(slots=True)
class Salvage:
    """What came over. `open_incidents` are the ids and titles of those that are not resolved."""

    tables: list[Copied] = field(default_factory=list)
    open_incidents: list[tuple[str, str]] = field(default_factory=list)
    orphans: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether everything could be read."""
        return not self.orphans and not any(one.broken for one in self.tables)

    @property
    def lost_incidents(self) -> bool:
        """Whether incidents may be missing."""
        return any(one.broken for one in self.tables if one.table.startswith("incident"))


def salvage(source: Path, target: Path, progress: Progress = lambda *_: None) -> Salvage:
    """Copy what can be read of `source`, its log included, into the new store `target`; the source is not touched.

    Raises StoreError where nothing can be read at all, or where `target` exists.
    """
    if target.exists():
        raise StoreError(f"{target} exists already: a salvage never overwrites")
    with source.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise StoreError(f"{source} is no SQLite database: nothing of it can be read as a store; use a backup")
    part = target.with_name(f"{target.name}.part")
    try:
        _remove(part)
        upgrade(f"sqlite:///{part}", backup=False)
        with _readable(source) as old, closing(sqlite3.connect(part, isolation_level=None)) as new:
            found = _copy_all(old, new, progress)
            new.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            new.execute("PRAGMA journal_mode = DELETE").fetchall()
        part.rename(target)
    except sqlite3.Error as error:
        raise StoreError(f"nothing could be salvaged of {source}: {error}; use a backup") from error
    finally:
        _remove(part)
    return found


@contextmanager
def _readable(source: Path) -> Iterator[sqlite3.Connection]:
    """A copy to read: opening a store with a broken log changes it."""
    with tempfile.TemporaryDirectory(prefix=".salvage-", dir=source.parent) as folder:
        copy = Path(folder) / source.name
        shutil.copyfile(source, copy)
        log = source.with_name(f"{source.name}-wal")
        if log.exists():
            shutil.copyfile(log, copy.with_name(log.name))
        with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
            connection.execute("PRAGMA cell_size_check = ON")
            # Else SQLite reads nothing at all of a file that is shorter than it says.
            connection.execute("PRAGMA writable_schema = ON")
            yield connection


def _copy_all(old: sqlite3.Connection, new: sqlite3.Connection, progress: Progress) -> Salvage:
    found = Salvage()
    names = [name for (name,) in new.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    wanted = [name for name in names if not name.startswith("sqlite_") and name not in _SCHEMA_TABLES]
    held = {name for (name,) in old.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not held & {"hot", "series", "incident"}:
        raise StoreError("it holds no table of a store: nothing to salvage")
    new.execute("PRAGMA foreign_keys = OFF")
    for number, name in enumerate(wanted, start=1):
        if name in held:
            found.tables.append(_copy(old, new, name))
        progress("tables", number, len(wanted))
    found.orphans = _drop_orphans(new, set(names))
    broken = {one.table for one in found.tables if one.broken}
    if broken & {"rollup_h", "rollup_d"} and not broken & {"hot", "block"}:
        _roll_up_again(new)
    open_ones = "SELECT id, title FROM incident WHERE state <> 'resolved' ORDER BY opened_ms"
    found.open_incidents = list(new.execute(open_ones))
    return found


def _copy(old: sqlite3.Connection, new: sqlite3.Connection, table: str) -> Copied:
    columns = _shared_columns(old, new, table)
    key = "rowid" if _has_rowid(new, table) else columns[0]
    names, marks = ", ".join(f'"{name}"' for name in columns), ", ".join("?" * len(columns))
    insert = f'INSERT OR IGNORE INTO "{table}" ({names}) VALUES ({marks})'  # noqa: S608 - names of our own schema
    reader = _Reader(old, table, key, names)
    rows = 0
    batch: list[tuple[object, ...]] = []
    for row in reader:
        batch.append(row)
        if len(batch) == BATCH:
            rows += _insert(new, insert, batch)
            batch = []
    rows += _insert(new, insert, batch)
    return Copied(table, rows, reader.broken)


class _Reader:
    """The rows of a table in the order of its key, past whatever cannot be read."""

    def __init__(self, connection: sqlite3.Connection, table: str, key: str, names: str) -> None:
        self._connection = connection
        # Not through an index: it may be damaged where the rows are whole.
        source = f'"{table}" NOT INDEXED' if key == "rowid" else f'"{table}"'
        self._rows = f"SELECT {key}, {names} FROM {source} WHERE {key} >= ? ORDER BY {key}"  # noqa: S608
        self._probe = f"{self._rows} LIMIT 1"  # the whole row: a text in it may be what is broken
        self.broken = 0

    def __iter__(self) -> Iterator[tuple[object, ...]]:
        at: int | None = -_TOP
        while at is not None:
            last = at - 1
            try:
                for key, *row in self._connection.execute(self._rows, (at,)):
                    last = key
                    yield tuple(row)
            except sqlite3.DatabaseError:
                self.broken += 1
                # The cursor of sqlite3 reads one row ahead: the last one before the damage went with the error.
                for key, *row in self._read_one(last + 1):
                    last = key
                    yield tuple(row)
                at = self._next_readable(last + 1)
            else:
                at = None

    def _next_readable(self, broken: int) -> int | None:
        """The first key after `broken` from which on something can be read: searched in leaps, then between them."""
        low, leap = broken, 1
        while not self._can_read(low + leap):
            if low + leap >= _TOP:
                return None
            leap = min(leap * 2, _TOP - low)
        high = low + leap
        low += leap // 2
        while low + 1 < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self._can_read(middle) else (middle, high)
        return high

    def _can_read(self, key: int) -> bool:
        try:
            self._connection.execute(self._probe, (key,)).fetchone()
        except sqlite3.DatabaseError:
            return False
        return True

    def _read_one(self, key: int) -> list[Any]:
        """The row at `key` or after it; none where it cannot be read."""
        try:
            return self._connection.execute(self._probe, (key,)).fetchall()
        except sqlite3.DatabaseError:
            return []


def _insert(new: sqlite3.Connection, insert: str, rows: list[tuple[object, ...]]) -> int:
    if not rows:
        return 0
    new.execute("BEGIN IMMEDIATE")
    try:
        done = new.executemany(insert, rows).rowcount
    except sqlite3.IntegrityError:
        new.execute("ROLLBACK")
        return _insert_singly(new, insert, rows)
    new.execute("COMMIT")
    return done


def _insert_singly(new: sqlite3.Connection, insert: str, rows: list[tuple[object, ...]]) -> int:
    """Damage may have made nonsense of a row that reads well; the others need not go with it."""
    done = 0
    for row in rows:
        try:
            done += new.execute(insert, row).rowcount
        except sqlite3.IntegrityError:
            continue
    return done


def _shared_columns(old: sqlite3.Connection, new: sqlite3.Connection, table: str) -> list[str]:
    # A generated column cannot be written: only what table_info lists, which leaves it out.
    held = {row[1] for row in old.execute(f'PRAGMA table_info("{table}")')}
    return [row[1] for row in new.execute(f'PRAGMA table_info("{table}")') if row[1] in held]


def _has_rowid(new: sqlite3.Connection, table: str) -> bool:
    found = new.execute("SELECT wr FROM pragma_table_list WHERE name = ? AND schema = 'main'", (table,)).fetchone()
    return not found or not found[0]


def _drop_orphans(new: sqlite3.Connection, tables: set[str]) -> int:
    """Rows of a series whose name is lost say nothing any more."""
    gone = 0
    mask = (1 << SERIES_BITS) - 1
    known = "(SELECT id FROM series)"
    for table in tables & {"hot", "block"}:
        gone += new.execute(f"DELETE FROM {table} WHERE id & {mask} NOT IN {known}").rowcount  # noqa: S608
    for table in ("state", "rollup_h", "rollup_d", "summary"):
        gone += new.execute(f"DELETE FROM {table} WHERE series_id NOT IN {known}").rowcount  # noqa: S608
    new.execute("UPDATE hot SET error_id = NULL WHERE error_id NOT IN (SELECT id FROM error)")
    new.execute("UPDATE state SET error_id = NULL WHERE error_id NOT IN (SELECT id FROM error)")
    return gone


def _roll_up_again(new: sqlite3.Connection) -> None:
    """Hours whose single results all came over are due once more, for their sums may be among what is lost.

    Not where single results were lost as well: then the sums that came over know more than what is left.
    """
    rolled = new.execute("SELECT value FROM meta WHERE key = ?", (ROLLED_MS,)).fetchone()
    if rolled is None:
        return
    rolled_ms = int(rolled[0])
    hour_keys = 3_600_000 << SERIES_BITS
    query = "SELECT DISTINCT id / ? FROM hot WHERE id < ?"
    edge = min(rolled_ms, MAX_SLOT_MS) << SERIES_BITS
    hours = {hour_of(number * 3_600_000) for (number,) in new.execute(query, (hour_keys, edge))}
    in_blocks = "SELECT DISTINCT id / ? FROM block"
    hours |= {number * 3_600_000 for (number,) in new.execute(in_blocks, (1 << SERIES_BITS,))}
    hours |= last_hours(hours, rolled_ms - rolled_ms % DAY_MS)
    new.executemany("INSERT OR IGNORE INTO due_hour (bucket_ms, marks) VALUES (?, 1)", [(hour,) for hour in hours])


def _remove(part: Path) -> None:
    for suffix in ("", "-wal", "-shm", ".upgrade.lock"):
        part.with_name(f"{part.name}{suffix}").unlink(missing_ok=True)
