"""How the store is opened: SQLite with the pragmas of store.md, or PostgreSQL; one way to read, one way to write."""

import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Connection, Engine, Table, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

BUSY_TIMEOUT_MS = 5000
FILE = "file"
"""Key in a connection's `info`: the identity of the file it writes to. Ids read by it hold for that file only."""
BEGUN = "BEGUN"
"""Execution option `transaction` of a connection whose user begins its transactions on the driver's own connection."""
_LOG = "log"

_DAMAGED = (
    "the store's file is damaged: stop Backwatch; `backwatch db check` says where, `db salvage` copies what it can"
)
_NO_STORE = "the store's file is no SQLite database: put a backup in its place, or move it away to begin anew"


class StoreError(Exception):
    """The store could not be read or written now; nothing of the transaction was kept. The text is for people."""


def open_database(url: str, *, durable: bool = False) -> Engine:
    """An engine on the store; creates nothing but the file (mode 0600), its folder and its page size.

    `durable` makes SQLite sync on every commit, for whoever writes incidents and notifications.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return _open_postgresql(parsed)
    file = database_file(parsed)
    if file is not None:
        _create_private(file)
    engine = create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def set_pragmas(connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
        record.info[FILE] = file_identity(file)  # before the log: what is put in place meanwhile must not pass
        connection.isolation_level = None  # transactions are ours: see begin()
        for pragma in (
            f"busy_timeout = {BUSY_TIMEOUT_MS}",
            "page_size = 8192",
            "auto_vacuum = INCREMENTAL",
            f"synchronous = {'FULL' if durable else 'NORMAL'}",
            "journal_size_limit = 67108864",
        ):
            connection.execute(f"PRAGMA {pragma}").close()
        _use_log(connection)
        record.info[_LOG] = file_identity(_log_of(file))

    @event.listens_for(engine, "checkout")
    def refuse_file_that_is_gone(_dbapi: object, record: ConnectionPoolEntry, _proxy: object) -> None:
        # Deleted or replaced while open: SQLite would go on writing into a file that nobody will find again.
        if record.info[FILE] != file_identity(file):
            if file is not None:
                _drop_log(file, record.info[_LOG])
                _create_private(file)
            raise DisconnectionError("the store's file was deleted or replaced")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A deferred transaction that reads and then writes fails at once with SQLITE_BUSY_SNAPSHOT.
        mode = connection.get_execution_options().get("transaction", "DEFERRED")
        if mode != BEGUN:
            connection.exec_driver_sql(f"BEGIN {mode}")

    return engine


def database_file(url: str | URL | Engine) -> Path | None:
    """The file of an embedded store; None for a server and for a database in memory."""
    parsed = url.url if isinstance(url, Engine) else make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        return None
    return Path(parsed.database).absolute()


def _log_of(file: Path | None) -> Path | None:
    return file.with_name(f"{file.name}-wal") if file is not None else None


def _drop_log(file: Path, identity: object) -> None:
    """Remove the log of the file that is gone: SQLite would play it into the one that took its place."""
    log_file = _log_of(file)
    if log_file is not None and identity is not None and file_identity(log_file) == identity:
        log_file.unlink(missing_ok=True)
        file.with_name(f"{file.name}-shm").unlink(missing_ok=True)


def file_identity(file: Path | None) -> tuple[int, int] | None:
    """What tells a file from another one put in its place (device and inode); None where there is none."""
    try:
        found = file.stat() if file is not None else None
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found is not None else None


def say_where(url: str | URL | Engine) -> str:
    """The store's address for people, without its password."""
    parsed = url.url if isinstance(url, Engine) else make_url(url)
    file = database_file(parsed)
    return str(file) if file else parsed.render_as_string(hide_password=True)


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that writes: committed at the end, rolled back when anything is raised. Raises StoreError."""
    with (
        speaking(engine),
        engine.connect().execution_options(transaction="IMMEDIATE") as connection,
        connection.begin(),
    ):
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A short transaction that reads. Fetch everything inside: an open one keeps SQLite's log growing.

    Raises StoreError.
    """
    with speaking(engine), _connect_to_read(engine) as connection, connection.begin():
        yield connection


def _connect_to_read(engine: Engine) -> Connection:
    connection = engine.connect()
    # One moment of the store for all that a reader asks, as SQLite gives it by itself.
    return connection if is_sqlite(engine) else connection.execution_options(isolation_level="REPEATABLE READ")


def upsert(connection: Connection) -> Any:
    """The dialect's own `insert`, which knows `on_conflict_do_update` and `on_conflict_do_nothing`."""
    return upsert_of(connection.dialect.name)


def upsert_of(dialect: str) -> Any:
    """The `insert` of a dialect by its name."""
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert
    from sqlalchemy.dialects import sqlite

    return sqlite.insert


def put_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, or replace those of the same key."""
    connection.execute(_replacing_insert(connection.dialect.name, table), rows)


@cache
def _replacing_insert(dialect: str, table: Table) -> Any:
    # Once: building it takes longer than running it.
    insert = upsert_of(dialect)(table)
    columns = {column.name: insert.excluded[column.name] for column in table.c if not column.primary_key}
    return insert.on_conflict_do_update(index_elements=table.primary_key, set_=columns)


def is_sqlite(engine: Engine | Connection) -> bool:
    """Whether this is the embedded store."""
    return engine.dialect.name == "sqlite"


def driver_of(connection: Connection) -> sqlite3.Connection:
    """The driver's own connection to an embedded store: for the few statements that run several times a second."""
    return cast(sqlite3.Connection, connection.connection.dbapi_connection)


def _open_postgresql(url: URL) -> Engine:
    # Without keepalives a vanished server holds a writer for the two hours of the system's default.
    return create_engine(
        url,
        pool_pre_ping=True,
        pool_recycle=3600,
        pool_timeout=10,
        json_serializer=json.dumps,
        connect_args={
            "connect_timeout": 5,
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,
            "application_name": "backwatch",
            "options": "-c timezone=UTC -c lock_timeout=5s -c idle_in_transaction_session_timeout=120s",
        },
    )


def _create_private(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return


def _use_log(connection: sqlite3.Connection) -> None:
    # Two processes that open a new file at once: changing the journal's mode does not wait for the busy timeout.
    for attempt in range(50):
        try:
            connection.execute("PRAGMA journal_mode = WAL").close()
        except sqlite3.OperationalError as error:
            if attempt == 49 or error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            time.sleep(0.05)
        else:
            return


@contextmanager
def speaking(engine: Engine) -> Iterator[None]:
    """Errors of the database as StoreError, in words."""
    try:
        yield
    except (IntegrityError, sqlite3.IntegrityError):
        raise  # a broken promise of the caller's statements, not the store's state
    except (DBAPIError, DisconnectionError, PoolTimeout, sqlite3.Error) as error:
        raise StoreError(f"{_say_what(error)} ({say_where(engine)})") from error


def _say_what(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    words = {
        sqlite3.SQLITE_BUSY: f"the store is locked by another process for more than {BUSY_TIMEOUT_MS / 1000:g} s",
        sqlite3.SQLITE_FULL: "the disk of the store is full",
        sqlite3.SQLITE_IOERR: "the store's file cannot be read or written: disk full, over quota or failing",
        sqlite3.SQLITE_READONLY: "the store's file is read-only",
        sqlite3.SQLITE_CANTOPEN: "the store's file cannot be opened",
        sqlite3.SQLITE_CORRUPT: _DAMAGED,
        sqlite3.SQLITE_NOTADB: _NO_STORE,
    }
    text = " ".join(str(cause).split())
    if code in words:
        return f"{words[code]}: {text}"
    if "no such table" in text or getattr(cause, "sqlstate", None) == "42P01":
        return f"the store has no tables yet, run `backwatch db upgrade`: {text}"
    return f"the store failed: {text or type(cause).__name__}"
