"""One worker an embedded store: the second is told who is first, and a dead one is no obstacle."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from probes.store.lock import WorkerLock, WorkerLocked

HOLD = """
import sys, time
from probes.store.lock import WorkerLock
lock = WorkerLock(sys.argv[1])
lock.acquire()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'data' / 'backwatch.db'}"


def test_second_worker_is_told_who_is_first(url: str) -> None:
    with WorkerLock(url), pytest.raises(WorkerLocked, match=rf"pid {os.getpid()} on {socket.gethostname()}"):
        WorkerLock(url).acquire()


def test_released_lock_is_free(url: str) -> None:
    first = WorkerLock(url)
    first.acquire()
    first.release()
    with WorkerLock(url):
        pass


def test_killed_worker_leaves_the_lock(url: str) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD, url], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(WorkerLocked, match=f"pid {process.pid} on"):
        WorkerLock(url).acquire()
    process.kill()
    process.wait()
    process.stdout.close()
    with WorkerLock(url):
        pass


def test_child_program_does_not_keep_the_lock(url: str) -> None:
    lock = WorkerLock(url)
    lock.acquire()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    lock.release()
    with WorkerLock(url):
        pass
    child.communicate(b"\n")


def test_server_may_have_many_workers() -> None:
    first, second = (WorkerLock("postgresql+psycopg://u@db.example.org/b") for _ in range(2))
    first.acquire()
    second.acquire()
