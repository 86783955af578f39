"""How does SQLAlchemy open the store? A file as `probes.store.embedded` has it, or PostgreSQL."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from probes.store import embedded
from probes.store.embedded import Pin, StoreError, create_private, drop_log, file_identity, file_of, log_of, set_pragmas

FILE = "file"
"""Key in a connection's `info`: the identity of the file it writes to. Ids read by it hold for that file only."""
_LOG = "log"


def open_engine(url: str, *, durable: bool = False) -> Engine:
    """An engine on the store; `durable` makes SQLite sync on every commit."""
    parsed = make_url(url)
    return _open_sqlite(parsed, durable) if parsed.get_backend_name() == "sqlite" else _open_postgresql(parsed)


def address_of(engine: Engine) -> str:
    """The whole address, password and all."""
    return engine.url.render_as_string(hide_password=False)


def without_password(url: str) -> str:
    """The address for people."""
    return make_url(url).render_as_string(hide_password=True)


def connect_to_write(engine: Engine) -> Connection:
    """A connection whose transaction takes SQLite's write lock as it begins."""
    return engine.connect().execution_options(transaction="IMMEDIATE")


def connect_to_read(engine: Engine) -> Connection:
    """A connection whose transaction sees one moment of the store, as SQLite gives it by itself."""
    connection = engine.connect()
    is_sqlite = engine.dialect.name == "sqlite"
    return connection if is_sqlite else connection.execution_options(isolation_level="REPEATABLE READ")


@contextmanager
def speaking(engine: Engine) -> Iterator[None]:
    """Errors of the database as StoreError, in words."""
    try:
        yield
    except (IntegrityError, sqlite3.IntegrityError):
        raise  # a broken promise of the caller's statements, not the store's state
    except (DBAPIError, DisconnectionError, PoolTimeout, sqlite3.Error) as error:
        where = file_of(address_of(engine)) or without_password(address_of(engine))
        raise StoreError(f"{embedded.say_what(getattr(error, 'orig', None) or error)} ({where})") from error


def _open_sqlite(url: URL, durable: bool) -> Engine:
    file = file_of(url.render_as_string(hide_password=False))
    if file is not None:
        create_private(file)
    pins = None if file is None else (Pin(file), Pin(log_of(file)))
    timeout_s = embedded.BUSY_TIMEOUT_MS / 1000
    engine = create_engine(url, connect_args={"timeout": timeout_s, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
        record.info[FILE] = pins and pins[0].take()  # before the log: what is put in place meanwhile must not pass
        connection.isolation_level = None  # transactions are ours: see begin()
        set_pragmas(connection, durable=durable)
        record.info[_LOG] = pins and pins[1].take()

    @event.listens_for(engine, "checkout")
    def refuse_file_that_is_gone(_dbapi: object, record: ConnectionPoolEntry, _proxy: object) -> None:
        # As `EmbeddedStore.is_current` says.
        if record.info[FILE] != file_identity(file):
            if file is not None:
                drop_log(file, record.info[_LOG])
                create_private(file)
            raise DisconnectionError("the store's file was deleted or replaced")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A deferred transaction that reads and then writes fails at once with SQLITE_BUSY_SNAPSHOT.
        mode = connection.get_execution_options().get("transaction", "DEFERRED")
        connection.exec_driver_sql(f"BEGIN {mode}")

    return engine


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
