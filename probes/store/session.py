"""How does a thread use the store that does so every second or oftener? With a connection that it keeps meanwhile.

Taking a connection from the pool, beginning, committing and giving it back cost SQLAlchemy five times what they cost
SQLite, and more than a dozen rows. On a server the way there counts for more, and a connection kept may be a dead one.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine

from probes.store.database import (
    BEGUN,
    FILE,
    database_file,
    driver_of,
    file_identity,
    is_sqlite,
    reading,
    speaking,
    writing,
)


class Session:
    """Transactions one after another, of one thread at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._is_embedded = is_sqlite(engine)
        self._file = database_file(engine)
        self._connection: Connection | None = None

    def close(self) -> None:
        """Give the connection back; what is not committed is rolled back."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction as `probes.store.database.writing` gives it. Raises StoreError."""
        if not self._is_embedded:
            with writing(self._engine) as connection:
                yield connection
            return
        with speaking(self._engine):
            try:
                connection = self._open()
                driver = driver_of(connection)
                driver.execute("BEGIN IMMEDIATE")
                yield connection
                _commit(connection, driver)
            except BaseException:
                self.close()
                raise

    def look(self, statement: str) -> tuple[Any, ...]:
        """The one row of a SELECT without parameters. Raises StoreError."""
        if not self._is_embedded:
            with reading(self._engine) as connection:
                return tuple(connection.exec_driver_sql(statement).one())
        with speaking(self._engine):
            try:
                row: tuple[Any, ...] = driver_of(self._open()).execute(statement).fetchall()[0]
            except BaseException:
                self.close()
                raise
        return row

    def _open(self) -> Connection:
        if self._connection is not None and self._connection.info[FILE] != file_identity(self._file):
            self.close()  # the pool sees to it that the file put in its place is opened well
        if self._connection is None:
            self._connection = self._engine.connect().execution_options(transaction=BEGUN)
        return self._connection


def _commit(connection: Connection, driver: sqlite3.Connection) -> None:
    if connection.in_transaction():  # some statement went through SQLAlchemy, which thinks of it as its own
        connection.commit()
    else:
        driver.commit()
