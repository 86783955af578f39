"""What keeps the store small and quick to read: pack, roll up, delete what is old, write summaries.

Seconds of computing each hour, which would hold the interpreter of a worker that is timing its checks. So it runs in a
process of its own, of low priority: `python -m probes.store.upkeep`, which reads what to do from its standard input.
"""

import contextlib
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from probes.store import due
from probes.store.database import Store, StoreError, database_file, is_sqlite, open_database
from probes.store.meta import UNPACKED_MS, get_meta

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from probes.store.retention import Retention

_UPKEEP = 7_301_449  # number of an advisory lock
_STOP_S = 3.0


@dataclass(frozen=True, slots=True)
class Ages:
    """Ages in seconds, as `Retention` has them."""

    raw_s: float
    hourly_s: float
    daily_s: float


def keep_up(engine: "Engine", retention: "Retention", now_ms: int) -> bool:
    """Do all of it; False where another process is at it. Safe to kill at any point. Raises StoreError."""
    # Not for the worker, which loads this module to start it in a process of its own.
    from probes.store.retention import prune
    from probes.store.rollups import roll_up
    from probes.store.summary import write_summaries

    with _alone(engine) as alone:
        if alone:
            roll_up(engine, now_ms)
            prune(engine, retention, now_ms)
            write_summaries(engine, now_ms)
    return alone


def is_due(store: Store, now_ms: int) -> bool:
    """Whether there is an hour to pack. Raises StoreError."""
    return due.pending(store, now_ms) or get_meta(store, UNPACKED_MS) is not None


class Upkeep:
    """Starts the process and waits for it; `stop` ends it from another thread."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self._process: subprocess.Popen[str] | None = None

    def run(self, retention: "Retention", now_ms: int) -> None:
        """Do what `keep_up` does. Raises StoreError with the process's words."""
        order = {
            "database": self._url,  # not as an argument: it may hold a password
            "now_ms": now_ms,
            "raw_s": retention.raw_s,
            "hourly_s": retention.hourly_s,
            "daily_s": retention.daily_s,
        }
        with subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            self._process = process
            _, said = process.communicate(json.dumps(order))
            self._process = None
        if process.returncode > 0:
            raise StoreError(said.strip().rpartition("\n")[2] or f"upkeep ended with status {process.returncode}")

    def stop(self) -> None:
        """End the process, should one run: it is safe at any point."""
        process = self._process
        if process is not None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_S)


@contextlib.contextmanager
def _alone(engine: "Engine") -> Iterator[bool]:
    file = database_file(engine)
    if file is not None:
        with file.with_name(f"{file.name}.upkeep.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        return
    if is_sqlite(engine):
        yield True
        return
    from sqlalchemy import text

    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        took = bool(connection.scalar(text("SELECT pg_try_advisory_lock(:number)"), {"number": _UPKEEP}))
        try:
            yield took
        finally:
            if took:
                connection.execute(text("SELECT pg_advisory_unlock(:number)"), {"number": _UPKEEP})


def _main() -> None:
    os.nice(10)
    order = json.load(sys.stdin)
    engine = open_database(order["database"])
    try:
        keep_up(engine, Ages(order["raw_s"], order["hourly_s"], order["daily_s"]), order["now_ms"])
    except StoreError as error:
        sys.exit(str(error))
    finally:
        engine.dispose()


if __name__ == "__main__":
    _main()
