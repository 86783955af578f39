"""How does a thread use the store that does so every second or oftener? With a connection that it keeps meanwhile.

Nobody else takes it, so what was read stays in its cache. On a server the way there counts for more, and a connection
kept may be a dead one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from probes.store.database import Link, Store, embedded_of, reading, writing
from probes.store.embedded import Driver, EmbeddedStore
from probes.store.statement import rows


class Session:
    """Transactions one after another, of one thread at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._embedded = embedded_of(store)
        self._driver: Driver | None = None

    def close(self) -> None:
        """Let go of the connection; what is not committed is rolled back."""
        if self._embedded is not None and self._driver is not None:
            driver, self._driver = self._driver, None
            self._embedded.discard(driver)

    @contextmanager
    def writing(self) -> Iterator[Link]:
        """A transaction as `probes.store.database.writing` gives it. Raises StoreError."""
        if self._embedded is None:
            with writing(self._store) as connection:
                yield connection
            return
        with self._embedded.speaking():
            try:
                driver = self._open(self._embedded)
                driver.execute("BEGIN IMMEDIATE")
                yield driver
                driver.execute("COMMIT")
            except BaseException:
                self.close()
                raise

    def look(self, statement: str) -> tuple[Any, ...]:
        """The one row of a SELECT without parameters. Raises StoreError."""
        if self._embedded is None:
            with reading(self._store) as connection:
                return tuple(rows(connection, statement)[0])
        with self._embedded.speaking():
            try:
                found: tuple[Any, ...] = self._open(self._embedded).execute(statement).fetchall()[0]
            except BaseException:
                self.close()
                raise
        return found

    def _open(self, store: EmbeddedStore) -> Driver:
        if self._driver is not None and not store.is_current(self._driver):
            self.close()
        if self._driver is None:
            self._driver = store.connect()
        return self._driver
