"""How the store is used: one way to read and one way to write, whichever store it is and whoever speaks to it.

A worker on a store in a file has the driver alone (`probes.store.embedded`); everybody else has SQLAlchemy, which this
module loads only for them.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast, overload

from probes.store.embedded import Driver, EmbeddedStore, StoreError, embedded_store, file_identity, file_of

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Table
    from sqlalchemy.engine import URL

Store: TypeAlias = "EmbeddedStore | Engine"
Link: TypeAlias = "Driver | Connection"
"""A connection within a transaction. What a worker says to it is written as text (`probes.store.statement`)."""

__all__ = [
    "Link",
    "Store",
    "StoreError",
    "database_file",
    "driver_of",
    "driving",
    "embedded_of",
    "file_behind",
    "file_identity",
    "is_sqlite",
    "open_database",
    "open_store",
    "put_rows",
    "reading",
    "say_where",
    "speaking",
    "upsert",
    "writing",
]


def open_database(url: str, *, durable: bool = False) -> "Engine":
    """SQLAlchemy's engine on the store; creates nothing but the file (mode 0600), its folder and its page size.

    `durable` makes SQLite sync on every commit, for whoever writes incidents and notifications.
    """
    from probes.store.alchemy import open_engine

    return open_engine(url, durable=durable)


def open_store(url: str) -> Store:
    """The store for who says only texts to it: the driver alone where that is enough, and SQLAlchemy never loaded."""
    return embedded_store(url) or open_database(url)


def database_file(store: "str | URL | Store") -> Path | None:
    """The file of an embedded store; None for a server and for a database in memory."""
    return store.file if isinstance(store, EmbeddedStore) else file_of(_address_of(store))


def embedded_of(store: Store) -> EmbeddedStore | None:
    """What the driver can open by itself; None for a server, and for a file with options of its own in the address."""
    return store if isinstance(store, EmbeddedStore) else embedded_store(_address_of(store))


def say_where(store: "str | URL | Store") -> str:
    """The store's address for people, without its password."""
    file = database_file(store)
    if file is not None or isinstance(store, EmbeddedStore):
        return str(file)
    from probes.store.alchemy import without_password

    return without_password(_address_of(store))


def _address_of(store: "str | URL | Engine") -> str:
    if isinstance(store, str):
        return store
    url: URL = getattr(store, "url", store)  # type: ignore[arg-type]
    return url.render_as_string(hide_password=False)


@overload
def writing(store: "Engine") -> "AbstractContextManager[Connection]": ...
@overload
def writing(store: EmbeddedStore) -> AbstractContextManager[Driver]: ...
@contextmanager
def writing(store: Store) -> Iterator[Any]:
    """A transaction that writes: committed at the end, rolled back when anything is raised. Raises StoreError."""
    if isinstance(store, EmbeddedStore):
        with store.speaking(), store.transaction("IMMEDIATE") as driver:
            yield driver
        return
    from probes.store.alchemy import connect_to_write

    with speaking(store), connect_to_write(store) as connection, connection.begin():
        yield connection


@overload
def reading(store: "Engine") -> "AbstractContextManager[Connection]": ...
@overload
def reading(store: EmbeddedStore) -> AbstractContextManager[Driver]: ...
@contextmanager
def reading(store: Store) -> Iterator[Any]:
    """A short transaction that reads. Fetch everything inside: an open one keeps SQLite's log growing.

    Raises StoreError.
    """
    if isinstance(store, EmbeddedStore):
        with store.speaking(), store.transaction("DEFERRED") as driver:
            yield driver
        return
    from probes.store.alchemy import connect_to_read

    with speaking(store), connect_to_read(store) as connection, connection.begin():
        yield connection


def speaking(store: Store) -> AbstractContextManager[None]:
    """Errors of the database as StoreError, in words."""
    if isinstance(store, EmbeddedStore):
        return store.speaking()
    from probes.store.alchemy import speaking as speaking_to

    return speaking_to(store)


@contextmanager
def driving(store: Store) -> Iterator[sqlite3.Connection]:
    """The driver's own connection to an embedded store, outside of any transaction. Raises StoreError."""
    if isinstance(store, EmbeddedStore):
        with store.speaking(), store.connection() as driver:
            yield driver
        return
    with speaking(store), closing(store.raw_connection()) as connection:
        yield cast(sqlite3.Connection, connection.driver_connection)


def upsert(connection: "Connection") -> Any:
    """The dialect's own `insert`, which knows `on_conflict_do_update` and `on_conflict_do_nothing`."""
    return _upsert_of(connection.dialect.name)


def _upsert_of(dialect: str) -> Any:
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert
    from sqlalchemy.dialects import sqlite

    return sqlite.insert


def put_rows(connection: "Connection", table: "Table", rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, or replace those of the same key."""
    connection.execute(_replacing_insert(connection.dialect.name, table), rows)


@cache
def _replacing_insert(dialect: str, table: "Table") -> Any:
    # Once: building it takes longer than running it.
    insert = _upsert_of(dialect)(table)
    columns = {column.name: insert.excluded[column.name] for column in table.c if not column.primary_key}
    return insert.on_conflict_do_update(index_elements=table.primary_key, set_=columns)


def is_sqlite(one: "Store | Link") -> bool:
    """Whether this is the embedded store."""
    return isinstance(one, EmbeddedStore | Driver) or one.dialect.name == "sqlite"


def driver_of(link: Link) -> sqlite3.Connection:
    """The driver's own connection to an embedded store."""
    return link if isinstance(link, Driver) else cast(sqlite3.Connection, link.connection.dbapi_connection)


def file_behind(link: Link) -> object:
    """The identity of the file that is written to; None for a server."""
    if isinstance(link, Driver):
        return link.identity
    from probes.store.alchemy import FILE

    return link.info.get(FILE)
