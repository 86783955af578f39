"""Killed at any point of an outage, worker and alert engine carry on: nothing is lost, nothing is told twice."""

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

COMMAND = str(Path(sys.executable).parent / "backwatch")
KILLS = 20


class Scene:
    """A back end of three tiers that fails as one, and a receiver of webhooks."""

    def __init__(self) -> None:
        self.broken = False
        self.told: list[tuple[str, dict[str, Any]]] = []
        scene = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(503 if scene.broken else 200)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                scene.told.append((self.headers["webhook-id"], body))
                self._answer(200)

            def _answer(self, status: int) -> None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def statuses(self) -> Counter[str]:
        """How many different messages of each status arrived: a repeated id is one message."""
        return Counter({message: body["status"] for message, body in self.told}.values())


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.server.shutdown()
    scene.server.server_close()


class Rig:
    """Worker and alert engine as real processes that are killed and started again."""

    def __init__(self, folder: Path, scene: Scene) -> None:
        self.folder = folder
        self.config = folder / "backwatch.yaml"
        targets = "\n".join(
            f"      {name}: {{tier: {tier}, needs: [{needs}], checks: [{{kind: http, url: '{scene.url}/{name}'}}]}}"
            for name, tier, needs in (("web", "web", "app"), ("app", "app", "db"), ("db", "database", ""))
        )
        self.config.write_text(
            "defaults: {interval: 1s, timeout: 500ms, retry_interval: 1s, fail_after: 2, recover_after: 2}\n"
            f"sites:\n  shop:\n    targets:\n{targets}\n"
            f"notifiers: {{hook: {{kind: webhook, url: '{scene.url}/hook'}}}}\n"
            "routes: [{match: {}, notify: [hook]}]\n"
        )
        self.log = (folder / "log").open("w+")
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, role: str) -> None:
        self.running[role] = subprocess.Popen(
            [COMMAND, role, "-c", str(self.config)], stdout=self.log, stderr=subprocess.STDOUT, cwd=self.folder
        )

    def kill(self, roles: tuple[str, ...]) -> None:
        for role in roles:
            self.running[role].send_signal(signal.SIGKILL)
        for role in roles:
            self.running[role].wait(10)
            self.start(role)

    def ask(self, *words: str) -> str:
        done = subprocess.run(
            [COMMAND, *words, "-c", str(self.config)], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def checks(self) -> list[dict[str, Any]]:
        return list(json.loads(self.ask("status", "--json"))["checks"])

    def stop(self) -> None:
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            process.wait(15)
        self.log.close()


@pytest.fixture
def rig(tmp_path: Path, scene: Scene) -> Iterator[Rig]:
    rig = Rig(tmp_path, scene)
    yield rig
    rig.stop()


def wait(what: str, seconds: float, true: Callable[[], bool], rig: Rig) -> None:
    until = time.monotonic() + seconds
    while not true():
        if time.monotonic() > until:
            pytest.fail(f"{what}: not within {seconds:g} s\n{Path(rig.log.name).read_text()[-4000:]}")
        time.sleep(0.2)


def test_killed_twenty_times_in_an_outage_it_tells_once(rig: Rig, scene: Scene) -> None:
    dice = random.Random()
    rig.ask("db", "upgrade")
    for role in ("worker", "alerts"):
        rig.start(role)
    wait("first results", 30, lambda: all(check["status"] == "up" for check in rig.checks()), rig)

    scene.broken = True
    for number in range(KILLS):
        time.sleep(dice.uniform(0.1, 3))
        rig.kill(dice.choice([("worker",), ("alerts",), ("worker", "alerts")]))
        if number == KILLS // 2:
            wait("told that it is down", 30, lambda: scene.statuses()["firing"] > 0, rig)
            scene.broken = False  # the other half of the kills falls into the recovery
    wait("told that it is over", 60, lambda: scene.statuses()["resolved"] > 0, rig)
    time.sleep(3)  # whatever would be told twice would be told now

    incidents = json.loads(rig.ask("incident", "list", "--state", "all", "--json"))
    incidents = incidents["incidents"] if isinstance(incidents, dict) else incidents
    assert [(incident["root"], incident["state"]) for incident in incidents] == [("shop/db", "resolved")]
    assert scene.statuses() == {"firing": 1, "resolved": 1}
    rig.ask("db", "check")
