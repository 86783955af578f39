"""How is a store in a file opened and spoken to by SQLite's driver alone, as a worker does, which lasts and is small?

SQLAlchemy is 25 MiB of a process, and four fifths of a short transaction. Who composes statements (pages, upkeep, the
alert engine) takes it all the same, on a file that is opened in this very way (`probes.store.alchemy`).
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote

BUSY_TIMEOUT_MS = 5000

_DAMAGED = (
    "the store's file is damaged: stop Backwatch; `backwatch db check` says where, `db salvage` copies what it can"
)
_NO_STORE = "the store's file is no SQLite database: put a backup in its place, or move it away to begin anew"

Identity = tuple[int, int]
"""What tells a file from another one put in its place: device and inode."""


class StoreError(Exception):
    """The store could not be read or written now; nothing of the transaction was kept. The text is for people."""


class Pin:
    """Holds on to a file as it was last opened: while it does, no other file gets its inode, and with it its identity.

    The descriptor is one that only names the file (O_PATH): closing any other would let go of SQLite's locks.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor = -1

    def take(self) -> Identity | None:
        """The identity of the file that is there now, held in place of the one before; None where there is none."""
        try:
            descriptor = os.open(self._file, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return None
        found = os.fstat(descriptor)
        self.let_go()
        self._descriptor = descriptor
        return found.st_dev, found.st_ino

    def let_go(self) -> None:
        """Hold nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.let_go()


class Driver(sqlite3.Connection):
    """A connection of the driver that knows which file it was opened on: ids read by it hold for that one only."""

    identity: Identity | None = None
    log_identity: Identity | None = None


class EmbeddedStore:
    """Connections to a store in a file, kept for the next transaction. Safe from any thread, a connection is of one."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._idle: list[Driver] = []
        self._pin, self._log_pin = Pin(file), Pin(log_of(file))

    def connect(self) -> Driver:
        """A connection for as long as its user likes; the file is created (mode 0600) where there is none.

        Raises sqlite3.Error and OSError.
        """
        create_private(self.file)
        identity = self._pin.take()  # before the log: what is put in place meanwhile must not pass
        driver = sqlite3.connect(
            self.file, timeout=BUSY_TIMEOUT_MS / 1000, check_same_thread=False, isolation_level=None, factory=Driver
        )
        try:
            set_pragmas(driver)
        except BaseException:
            driver.close()
            raise
        driver.identity, driver.log_identity = identity, self._log_pin.take()
        return driver

    def is_current(self, driver: Driver) -> bool:
        """Whether the file is still the one it was opened on.

        Deleted or replaced while open: SQLite would go on writing into a file that nobody will find again.
        """
        return driver.identity == file_identity(self.file)

    def discard(self, driver: Driver) -> None:
        """Close a connection; what is not committed is rolled back."""
        if not self.is_current(driver):
            drop_log(self.file, driver.log_identity)
        with suppress(sqlite3.Error):
            driver.close()

    @contextmanager
    def connection(self) -> Iterator[Driver]:
        """One that was used before, or another. Kept for the next user unless anything is raised."""
        driver = self._take()
        try:
            yield driver
        except BaseException:
            self.discard(driver)
            raise
        self._idle.append(driver)

    @contextmanager
    def transaction(self, mode: str) -> Iterator[Driver]:
        """Of one of SQLite's modes: committed at the end; rolled back, with its connection, when anything is raised."""
        with self.connection() as driver:
            driver.execute(f"BEGIN {mode}").close()
            yield driver
            driver.execute("COMMIT").close()

    def dispose(self) -> None:
        """Close the connections that nobody uses."""
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> Driver:
        with suppress(IndexError):
            while True:
                driver = self._idle.pop()
                if self.is_current(driver):
                    return driver
                self.discard(driver)
        return self.connect()

    def speaking(self) -> "Speaking":
        """Errors of the driver as StoreError, in words."""
        return Speaking(str(self.file))


class Speaking:
    """Around what is asked of SQLite: its errors become StoreErrors that name the store."""

    __slots__ = ("_where",)

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        # A broken promise of the caller's statements is not the store's state.
        if isinstance(error, sqlite3.Error) and not isinstance(error, sqlite3.IntegrityError):
            raise StoreError(f"{say_what(error)} ({self._where})") from error


def file_of(url: str) -> Path | None:
    """The file of a store's address, read as SQLAlchemy reads it; None for a server and for a database in memory."""
    scheme, _, rest = url.partition("://")
    if scheme.partition("+")[0] != "sqlite":
        return None
    name = unquote(rest.partition("?")[0].partition("/")[2])
    return Path(name).absolute() if name and name != ":memory:" else None


def embedded_store(url: str) -> EmbeddedStore | None:
    """The store in a file that the driver can open by itself; None where the address says more or other than a file."""
    file = file_of(url)
    return EmbeddedStore(file) if file is not None and url.startswith("sqlite:///") and "?" not in url else None


def set_pragmas(driver: sqlite3.Connection, *, durable: bool = False) -> None:
    """What every connection to a store in a file begins with; `durable` syncs on every commit."""
    for pragma in (
        f"busy_timeout = {BUSY_TIMEOUT_MS}",
        "page_size = 8192",
        "auto_vacuum = INCREMENTAL",
        f"synchronous = {'FULL' if durable else 'NORMAL'}",
        "journal_size_limit = 67108864",
    ):
        driver.execute(f"PRAGMA {pragma}").close()
    _use_log(driver)


def _use_log(driver: sqlite3.Connection) -> None:
    # Two processes that open a new file at once: changing the journal's mode does not wait for the busy timeout.
    for attempt in range(50):
        try:
            driver.execute("PRAGMA journal_mode = WAL").close()
        except sqlite3.OperationalError as error:
            if attempt == 49 or error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            time.sleep(0.05)
        else:
            return


def create_private(file: Path) -> None:
    """An empty file (mode 0600) and its folder, where there is none."""
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return


def file_identity(file: Path | None) -> Identity | None:
    """What tells a file from another one put in its place; None where there is none."""
    try:
        found = file.stat() if file is not None else None
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found is not None else None


def log_of(file: Path) -> Path:
    """SQLite's log of a file."""
    return file.with_name(f"{file.name}-wal")


def drop_log(file: Path, identity: object) -> None:
    """Remove the log of the file that is gone: SQLite would play it into the one that took its place."""
    log_file = log_of(file)
    if identity is not None and file_identity(log_file) == identity:
        log_file.unlink(missing_ok=True)
        file.with_name(f"{file.name}-shm").unlink(missing_ok=True)


def say_what(error: BaseException) -> str:
    """An error of a database, for people."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    words = {
        sqlite3.SQLITE_BUSY: f"the store is locked by another process for more than {BUSY_TIMEOUT_MS / 1000:g} s",
        sqlite3.SQLITE_FULL: "the disk of the store is full",
        sqlite3.SQLITE_IOERR: "the store's file cannot be read or written: disk full, over quota or failing",
        sqlite3.SQLITE_READONLY: "the store's file is read-only",
        sqlite3.SQLITE_CANTOPEN: "the store's file cannot be opened",
        sqlite3.SQLITE_CORRUPT: _DAMAGED,
        sqlite3.SQLITE_NOTADB: _NO_STORE,
    }
    text = " ".join(str(error).split())
    if code in words:
        return f"{words[code]}: {text}"
    if "no such table" in text or getattr(error, "sqlstate", None) == "42P01":
        return f"the store has no tables yet, run `backwatch db upgrade`: {text}"
    return f"the store failed: {text or type(error).__name__}"
