"""What is done to the store's file must not stop the probing, nor cost an alert: real processes, real faults.

In the suite each fault is short. `tests/bench/harm.py` runs them at their full length and prints a line for each.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Rig, Scene

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LOCK_S = float(os.environ.get("BACKWATCH_HARM_LOCK_S", "9"))
READER_S = float(os.environ.get("BACKWATCH_HARM_READER_S", "10"))
DISK_S = float(os.environ.get("BACKWATCH_HARM_DISK_S", "12"))
CHECKS = int(os.environ.get("BACKWATCH_HARM_CHECKS", "10"))
DISK_BYTES = 4 << 20
PAUSE_S = 4.0
"""The longest time without a request that still counts as probing: the interval is one second, machines are shared."""
SOON_S = 40.0

# The log of a short run is small: what is cut off or warned of is scaled down with it, and looked at more often.
SHORT = """
from probes import worker_office
from probes.store import maintenance
maintenance.TRUNCATE_BYTES, maintenance.WARN_BYTES = 200_000, 300_000
worker_office.CHECKPOINT_EVERY_S = {every_s}
"""
HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(sys.argv[2])
connection.execute("SELECT count(*) FROM hot").fetchone()
print("held", flush=True)
sys.stdin.readline()
"""


@contextlib.contextmanager
def held(rig: "Rig", begin: str) -> Iterator[None]:
    """Another process has a transaction open."""
    command = [sys.executable, "-c", HOLD, str(rig.store), begin]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield
        finally:
            process.communicate("\n")


def break_within(scene: "Scene", seconds: float, look: Callable[[], object]) -> float:
    """The back end fails a third into the fault; the longest pause in probing over all of it, in seconds."""
    began_s = time.monotonic()
    while time.monotonic() < began_s + seconds:
        scene.broken = time.monotonic() > began_s + seconds / 3
        look()
        time.sleep(0.2)
    return scene.longest_pause_s(began_s, time.monotonic())


def calm(rig: "Rig", scene: "Scene") -> float:
    """Seconds until the outage is told of; then the recovery is waited for, and everything is stopped."""
    told_s = rig.wait("told that it is down", SOON_S, lambda: scene.statuses()["firing"] > 0)
    scene.broken = False
    rig.wait("told that it is over", SOON_S, lambda: scene.statuses()["resolved"] > 0)
    time.sleep(2)  # whatever would be told twice would be told now
    rig.stop()
    return told_s


def report(rig: "Rig", scene: "Scene", done: str, pause_s: float, told_s: float) -> int:
    """Print the line of a fault; the number of results that are not in the store."""
    lost = max(0, scene.count_asked() - rig.count_stored())
    print(
        f"harm: {done}: probing paused {pause_s:.1f} s at most; {lost} of {scene.count_asked()} results lost; "
        f"told {dict(scene.statuses())}, of itself {scene.own()}; told {told_s:.1f} s after the fault was over"
    )
    return lost


def test_a_foreign_lock_costs_no_result_and_no_alert(rig: "Rig", scene: "Scene") -> None:
    rig.begin()
    address = rig.serve()
    said: set[str] = set()
    with held(rig, "BEGIN EXCLUSIVE"):
        pause_s = break_within(scene, LOCK_S, lambda: said.update(rig.why_not_ready(address) or ()))
    told_s = calm(rig, scene)
    lost = report(rig, scene, f"a foreign lock for {LOCK_S:g} s", pause_s, told_s)
    assert pause_s < PAUSE_S
    assert lost == 0
    assert scene.statuses() == {"firing": 1, "resolved": 1}
    assert "the store refuses results; they wait in memory" in rig.said()
    assert "the store takes results again" in rig.said()
    assert any("locked by another process" in reason for reason in said), said
    rig.ask("db", "check")


def test_a_reader_that_holds_a_snapshot_is_named_and_stops_nothing(rig: "Rig", scene: "Scene") -> None:
    rig.configure(more=CHECKS)
    rig.begin(patch=SHORT.format(every_s=1 if READER_S < 60 else 60))
    log, sizes, said = Path(f"{rig.store}-wal"), [0], [""]

    def look() -> None:
        sizes.append(log.stat().st_size)
        said.append(rig.notes())

    with held(rig, "BEGIN"):
        pause_s = break_within(scene, READER_S, look)
        told_within = scene.statuses()["firing"]
    rig.wait("the log is cut off", 90, lambda: log.stat().st_size < 300_000)
    told_s = calm(rig, scene)
    grown = f"the log grew by {(max(sizes) - sizes[1]) / READER_S / 1000:.0f} kB/s to {max(sizes) / 1e6:.1f} MB"
    lost = report(rig, scene, f"a reader's snapshot for {READER_S:g} s, {grown}", pause_s, told_s)
    assert pause_s < PAUSE_S
    assert lost == 0
    assert "refuses results" not in rig.said()
    assert any("a reader holds a snapshot" in notes for notes in said)
    assert scene.statuses() == {"firing": 1, "resolved": 1}
    if READER_S > 60:
        assert told_within == 1
    rig.ask("db", "check")


@pytest.fixture
def small_disk(rig: "Rig") -> Iterator[Path]:
    folder = rig.store.parent
    folder.mkdir()
    size = f"size={DISK_BYTES}"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if done.returncode:
        if os.environ.get("CI") == "true":
            pytest.fail(f"no small disk can be mounted: {done.stderr}")
        pytest.skip(f"a small disk needs the right to mount one: {done.stderr.strip()}")
    yield folder
    rig.stop()
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_costs_no_result_and_no_alert(rig: "Rig", scene: "Scene", small_disk: Path) -> None:
    rig.configure(more=CHECKS)
    rig.begin()
    address = rig.serve()
    said: set[str] = set()
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as out, contextlib.suppress(OSError):
        while True:
            out.write(b"x" * 4096)
    # The log has room left in it for a while: full is when nothing goes in any more.
    rig.wait("the store refuses", 120, lambda: "the store refuses results" in rig.said())
    pause_s = break_within(scene, DISK_S, lambda: said.update(rig.why_not_ready(address) or ()))
    ballast.unlink()
    told_s = calm(rig, scene)
    lost = report(rig, scene, f"a full disk for {DISK_S:g} s", pause_s, told_s)
    assert pause_s < PAUSE_S
    assert lost == 0
    assert scene.statuses() == {"firing": 1, "resolved": 1}
    assert any("disk" in reason for reason in said), said
    rig.ask("db", "check")
