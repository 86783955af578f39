"""The shop's database: one SQLite file, a fresh connection for every use, so that a file that is gone is noticed."""

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from sample_targets import catalogue

POOL_SIZE = 8
BUSY_TIMEOUT_S = 5.0
SCHEMA = """
CREATE TABLE IF NOT EXISTS product (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, category TEXT NOT NULL, price_cents INTEGER NOT NULL,
    description TEXT NOT NULL, stock INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS user (
    id INTEGER PRIMARY KEY, email TEXT NOT NULL UNIQUE, name TEXT NOT NULL, salt BLOB NOT NULL, password BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS session (
    token_hash TEXT PRIMARY KEY, user_id INTEGER, csrf TEXT NOT NULL, cart TEXT NOT NULL, ends INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS purchase (
    id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL, items TEXT NOT NULL, amount_cents INTEGER NOT NULL,
    state TEXT NOT NULL, charge TEXT, invoice TEXT, created INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS purchase_by_state ON purchase (state, invoice);
CREATE INDEX IF NOT EXISTS purchase_by_user ON purchase (user_id);
"""


class PoolExhausted(sqlite3.OperationalError):
    """All connections the pool allows are in use."""


class Database:
    """Connections to the file, as many at once as the pool allows.

    Nothing is kept open between uses: an open file would go on answering after it was moved away.
    """

    def __init__(self, path: Path, pool_size: int = POOL_SIZE) -> None:
        self._address = f"file:{quote(str(path))}?mode=rw"  # rw: never create an empty database in place of a lost one
        self._slots = threading.BoundedSemaphore(pool_size)
        self._lock = threading.Lock()
        self.pool_size = pool_size
        self.in_use = 0

    @contextlib.contextmanager
    def connect(self) -> Iterator[sqlite3.Connection]:
        """A connection for reading, in autocommit. Raises sqlite3.OperationalError where the file cannot be used."""
        if not self._slots.acquire(timeout=BUSY_TIMEOUT_S):
            raise PoolExhausted(f"no connection free of {self.pool_size} within {BUSY_TIMEOUT_S:g} s")
        with self._lock:
            self.in_use += 1
        try:
            with contextlib.closing(open_database(self._address)) as connection:
                yield connection
        finally:
            with self._lock:
                self.in_use -= 1
            self._slots.release()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection inside a write transaction: committed at the end, rolled back by an exception."""
        with self.connect() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")


def open_database(address: str) -> sqlite3.Connection:
    """One connection to a `file:` address."""
    connection = sqlite3.connect(address, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    connection.row_factory = sqlite3.Row
    return connection


def create_database(path: Path) -> None:
    """Make the file with its tables, products and users, where they are missing."""
    with contextlib.closing(open_database(f"file:{quote(str(path))}?mode=rwc")) as connection:
        # A rollback journal, not WAL: an exclusive lock then makes readers wait too, and the database is one file.
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.executescript(SCHEMA)
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            "INSERT INTO product (id, name, category, price_cents, description, stock) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET stock = max(stock, excluded.stock)",
            catalogue.products(),
        )
        connection.executemany(
            "INSERT INTO user (id, email, name, salt, password) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
            catalogue.users(),
        )
        connection.execute("COMMIT")


def away(path: Path) -> Path:
    """Where the file waits while it cannot be found."""
    return path.with_name(path.name + ".away")


def move_away(path: Path) -> None:
    """Take the file from everybody. Under the exclusive lock, so that no transaction is cut in two."""
    with contextlib.closing(open_database(f"file:{quote(str(path))}?mode=rw")) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        path.rename(away(path))


def move_back(path: Path) -> None:
    """Give the file back."""
    away(path).rename(path)
