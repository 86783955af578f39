"""Is another worker at work on this store? One worker an embedded store; a server may have many."""

import fcntl
import json
import os
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from probes.store.embedded import file_of


class WorkerLocked(Exception):
    """Another worker holds the store; the text says which."""


class WorkerLock:
    """Held from `acquire` until `release` or the death of the process, however it dies.

    The lock is the kernel's, on `<file>.worker.lock`; what the file says is only for people.
    """

    def __init__(self, database_url: str) -> None:
        file = file_of(database_url)
        self._path = file.with_name(f"{file.name}.worker.lock") if file else None
        self._handle: int | None = None

    def acquire(self) -> None:
        """Take the lock without waiting. Raises WorkerLocked. Does nothing for a server or a database in memory."""
        if self._path is None or self._handle is not None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # Not inherited by the programs we start: a lock must not outlive its worker.
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read_holder(handle)
            os.close(handle)
            raise WorkerLocked(_say(self._path, holder)) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
        self._handle = handle

    def release(self) -> None:
        """Give the lock back."""
        if self._handle is not None:
            os.ftruncate(self._handle, 0)
            # Unlocked, not only closed: a child that has not reached its program yet shares the handle.
            fcntl.flock(self._handle, fcntl.LOCK_UN)
            os.close(self._handle)
            self._handle = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _read_holder(handle: int) -> dict[str, object]:
    try:
        holder = json.loads(os.pread(handle, 1000, 0))
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _say(path: Path, holder: dict[str, object]) -> str:
    who = f"pid {holder.get('pid', '?')} on {holder.get('host', '?')}"
    store = path.name.removesuffix(".worker.lock")
    return (
        f"another worker ({who}) works on {path.with_name(store)}: an embedded store has one worker. "
        "Stop that one, or use PostgreSQL for more."
    )
