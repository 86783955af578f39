"""What is wrong with the store after a crash or a bad disk is told; probing goes on, no incident goes silently."""

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Rig, Scene

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PAUSE_S = 4.0
SOON_S = 40.0
SHORT = """
from alerts import own_trouble
from probes import worker_office
worker_office.DAMAGE_EVERY_S, own_trouble.PATIENCE_MS = 2.0, 2000
"""


def fail(rig: "Rig", scene: "Scene") -> None:
    """An outage that people know of, a moment ago."""
    scene.broken = True
    rig.wait("told that it is down", SOON_S, lambda: scene.statuses()["firing"] > 0)


def recover(rig: "Rig", scene: "Scene") -> None:
    scene.broken = False
    rig.wait("told that it is over", SOON_S, lambda: scene.statuses()["resolved"] > 0)
    time.sleep(2)  # whatever would be told twice would be told now
    rig.stop()


def report(rig: "Rig", scene: "Scene", done: str, pause_s: float) -> None:
    """Print the line of a fault."""
    lost = max(0, scene.count_asked() - rig.count_stored())
    print(
        f"harm: {done}: probing paused {pause_s:.1f} s at most; {lost} of {scene.count_asked()} results lost; "
        f"told {dict(scene.statuses())}, of itself {scene.own()}"
    )


def test_a_page_flipped_while_running_is_found_and_told_and_nothing_stops(rig: "Rig", scene: "Scene") -> None:
    rig.remember()
    rig.begin(patch=SHORT)
    fail(rig, scene)
    began_s = time.monotonic()
    page = rig.flip("hot", "block")
    found_s = rig.wait("the damage is told", SOON_S, lambda: len(scene.own()) == 1)
    assert "db salvage" in scene.own()[0]
    rig.wait("a note of the worker", 10, lambda: "is damaged (table" in rig.notes())
    time.sleep(3)
    pause_s = scene.longest_pause_s(began_s, time.monotonic())
    recover(rig, scene)
    report(rig, scene, f"page {page} flipped while running, found within {found_s:.1f} s", pause_s)
    assert pause_s < PAUSE_S
    assert scene.statuses() == {"firing": 1, "resolved": 1}
    assert len(scene.own()) == 1


def test_a_page_flipped_while_stopped_is_found_at_the_start(rig: "Rig", scene: "Scene") -> None:
    rig.remember()
    rig.begin()
    fail(rig, scene)
    rig.stop()
    page = rig.flip("hot", "block")
    began_s = time.monotonic()
    for role in ("worker", "alerts"):
        rig.start(role)
    found_s = rig.wait("the damage is told", SOON_S, lambda: len(scene.own()) == 1)
    assert "db salvage" in scene.own()[0]
    pause_s = scene.longest_pause_s(began_s, time.monotonic())
    recover(rig, scene)
    report(rig, scene, f"page {page} flipped while stopped, found within {found_s:.1f} s", pause_s)
    assert scene.statuses() == {"firing": 1, "resolved": 1}


def test_a_flipped_page_of_incidents_is_told_at_once_and_salvage_says_what_may_be_lost(
    rig: "Rig", scene: "Scene"
) -> None:
    rig.begin()
    fail(rig, scene)
    rig.stop()
    page = rig.flip("incident")
    began_s, asked = time.monotonic(), scene.count_asked()
    for role in ("worker", "alerts"):
        rig.start(role, patch=SHORT)
    told_s = rig.wait("told of", SOON_S, lambda: any("alerts are held up" in said for said in scene.own()))
    rig.wait("probing goes on", 5 + PAUSE_S, lambda: scene.count_asked() > asked + 9)
    pause_s = scene.longest_pause_s(began_s, time.monotonic())
    rig.stop()
    report(rig, scene, f"page {page} of incidents flipped while stopped, told after {told_s:.1f} s", pause_s)
    done = rig.try_to_ask("db", "salvage", str(rig.folder / "new.db"))
    assert done.returncode == 1
    assert "incidents were lost, open ones may be among them" in done.stdout + done.stderr


def test_a_truncated_log_costs_its_end_and_no_open_incident(rig: "Rig", scene: "Scene") -> None:
    rig.begin()
    fail(rig, scene)
    time.sleep(2)
    rig.kill_for_good("worker", "alerts")
    asked, log = scene.count_asked(), Path(f"{rig.store}-wal")
    os.truncate(log, log.stat().st_size // 2)
    kept = rig.count_stored()
    began_s = time.monotonic()
    for role in ("worker", "alerts"):
        rig.start(role)
    rig.wait("probing goes on", 5 + PAUSE_S, lambda: scene.count_asked() > asked)
    pause_s = scene.longest_pause_s(began_s, time.monotonic())
    rig.wait("an open incident", SOON_S, lambda: '"root": "shop/db"' in rig.ask("incident", "list", "--json"))
    recover(rig, scene)
    report(rig, scene, f"half of the log cut off, which took {asked - kept} of {asked} results", pause_s)
    # Where the cut took the database's results and not its neighbour's, the neighbour is told of first, by itself.
    known = json.loads(rig.ask("incident", "list", "--state", "resolved", "--json"))["incidents"]
    assert 0 < len(known) <= 2
    assert scene.statuses()["resolved"] == len(known)
    rig.ask("db", "check")
