"""Killed at any point of an outage, worker and alert engine carry on: nothing is lost, nothing is told twice."""

import json
import random
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Rig, Scene

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

KILLS = 20


def test_killed_twenty_times_in_an_outage_it_tells_once(rig: "Rig", scene: "Scene") -> None:
    dice = random.Random()
    rig.ask("db", "upgrade")
    for role in ("worker", "alerts"):
        rig.start(role)
    rig.wait("first results", 30, rig.is_all_up)

    scene.broken = True
    for number in range(KILLS):
        time.sleep(dice.uniform(0.1, 3))
        rig.kill(dice.choice([("worker",), ("alerts",), ("worker", "alerts")]))
        if number == KILLS // 2:
            rig.wait("told that it is down", 30, lambda: scene.statuses()["firing"] > 0)
            scene.broken = False  # the other half of the kills falls into the recovery
    rig.wait("told that it is over", 60, lambda: scene.statuses()["resolved"] > 0)
    time.sleep(3)  # whatever would be told twice would be told now

    incidents = json.loads(rig.ask("incident", "list", "--state", "all", "--json"))
    incidents = incidents["incidents"] if isinstance(incidents, dict) else incidents
    assert [(incident["root"], incident["state"]) for incident in incidents] == [("shop/db", "resolved")]
    assert scene.statuses() == {"firing": 1, "resolved": 1}
    rig.ask("db", "check")
