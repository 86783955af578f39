"""What a running shop tells other processes: a lock that says it runs, and a file that says where."""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sample_targets.fault import Fault
from sample_targets.layout import Layout

_CLAIM_PATIENCE_S = 1.0


class NoShopRuns(RuntimeError):
    """There is no running shop behind this data directory."""

    def __init__(self, data: Path) -> None:
        super().__init__(f"no shop runs in {data}: start one with `python -m sample_targets run --data {data}`")


class ShopRefused(RuntimeError):
    """A shop cannot be started here; the text says why."""


def prepare_directory(data: Path) -> None:
    """Make the data directory, for its owner only. Raises ShopRefused where it belongs to somebody else."""
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    if data.stat().st_uid != os.getuid():
        raise ShopRefused(f"{data} belongs to another user: choose another directory with --data or $SHOP_DATA")


@contextlib.contextmanager
def claim(data: Path) -> Iterator[None]:
    """Hold the directory for one shop. The kernel frees the lock however the process ends.

    Raises ShopRefused when a shop runs there already.
    """
    with (data / "run.lock").open("w") as lock:
        deadline = time.monotonic() + _CLAIM_PATIENCE_S
        while not _try_lock(lock.fileno(), fcntl.LOCK_EX):
            # A reader asking whether a shop runs holds the lock for a moment.
            if time.monotonic() > deadline:
                raise ShopRefused(f"a shop runs already in {data}: stop it, or choose another --data and --port-base")
            time.sleep(0.05)
        yield


def write_state(layout: Layout, processes: dict[str, int], faults: frozenset[Fault]) -> None:
    """Replace the state file in one step, so that no reader sees half of it."""
    state = {
        "ready": True,
        "pid": os.getpid(),
        "data": str(layout.data),
        "ports": layout.ports,
        "urls": layout.urls,
        "database": str(layout.database),
        "ca_file": str(layout.ca_file),
        "env": layout.env,
        "processes": processes,
        "faults": sorted(faults),
    }
    draft = layout.data / "state.json.new"
    draft.write_text(json.dumps(state, indent=2) + "\n")
    draft.replace(_state_file(layout.data))


def read_state(data: Path) -> dict[str, Any]:
    """The state of the shop running there. Raises NoShopRuns, also while it still starts."""
    if not is_running(data):
        raise NoShopRuns(data)
    try:
        state: dict[str, Any] = json.loads(_state_file(data).read_text())
    except FileNotFoundError:
        raise NoShopRuns(data) from None
    return state


def remove_state(data: Path) -> None:
    """Forget the state of a shop that stopped, or of one that was killed before."""
    _state_file(data).unlink(missing_ok=True)


def is_running(data: Path) -> bool:
    """Does a shop hold this directory?"""
    try:
        with (data / "run.lock").open() as lock:
            return not _try_lock(lock.fileno(), fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def _state_file(data: Path) -> Path:
    return data / "state.json"


def _try_lock(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
