"""The main job, end to end: the demo comes up, a tier is broken, one incident names it, everybody hears once."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from standardwebhooks import Webhook

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

COMMAND = str(Path(sys.executable).parent / "backwatch")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Demo:
    """A running `backwatch demo` and what can be asked of it from outside."""

    def __init__(self, data: Path, port: int) -> None:
        self.data = data
        self.url = f"http://127.0.0.1:{port}"
        self.log = (data.parent / "demo.log").open("w+")
        self.environment = {**os.environ, "SHOP_DATA": str(data / "shop")}
        self.process = subprocess.Popen(
            [COMMAND, "demo", "--port", str(port), "--data", str(data)],
            stdout=self.log,
            stderr=subprocess.STDOUT,
            env=self.environment,
            cwd=data.parent,
        )

    def output(self) -> str:
        return Path(self.log.name).read_text()[-6000:]

    def wait(self, what: str, seconds: float, true: Callable[[], Any]) -> Any:
        """The first truthy answer within the time; fails with what was waited for and the demo's last words."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            assert self.process.poll() is None, f"the demo ended:\n{self.output()}"
            try:
                if answer := true():
                    return answer
            except requests.RequestException:
                pass
            time.sleep(0.5)
        pytest.fail(f"{what}: not within {seconds:g} s\n{self.output()}")

    def get(self, path: str) -> Any:
        answer = requests.get(self.url + path, timeout=5)
        answer.raise_for_status()
        return answer.json()

    def checks(self) -> list[dict[str, Any]]:
        return list(self.get("/api/v1/checks")["checks"])

    def incidents(self, state: str) -> list[dict[str, Any]]:
        return list(self.get(f"/api/v1/incidents?state={state}")["incidents"])

    def all_up(self) -> bool:
        checks = self.checks()
        return len(checks) >= 14 and all(check["status"] == "up" for check in checks)

    def fault(self, *words: str) -> None:
        subprocess.run([sys.executable, "-m", "sample_targets", *words], env=self.environment, check=True, timeout=30)

    def mails(self) -> list[Any]:
        files = sorted((self.data / "inbox" / "mail").glob("*.eml"))
        return [message_from_bytes(path.read_bytes(), policy=policy.default) for path in files]

    def webhooks(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in sorted((self.data / "inbox" / "webhook").glob("*.json"))]

    def secret(self) -> str:
        return str(yaml.safe_load((self.data / "backwatch.yaml").read_text())["notifiers"]["hook"]["secret"])


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    running = Demo(tmp_path_factory.mktemp("demo") / "data", free_port())
    try:
        running.wait("the demo is ready", 90, lambda: requests.get(running.url + "/readyz", timeout=5).ok)
        # Until a check's first real answer the last one of the made-up history stands, which is up.
        running.wait("every check has answered", 60, lambda: "demo is up" in running.output())
        running.wait("every check is up", 60, running.all_up)
        yield running
    finally:
        running.process.send_signal(signal.SIGINT)
        try:
            running.process.wait(20)
        except subprocess.TimeoutExpired:
            running.process.kill()
            raise
        running.log.close()


def test_the_demo_watches_every_tier(demo: Demo) -> None:
    assert requests.get(demo.url + "/healthz", timeout=5).status_code == 200
    status = subprocess.run(
        [COMMAND, "status", "--json", "-c", str(demo.data / "backwatch.yaml")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    for checks in (demo.checks(), json.loads(status.stdout)["checks"]):
        assert len(checks) >= 14
        assert len({check["tier"] for check in checks}) >= 7
        assert {check["check"]: check for check in checks if check["status"] != "up"} == {}


@pytest.mark.parametrize(
    ("fault", "root", "members", "severity"),
    [
        ("db_down", "shop/db", {"shop/web", "shop/app-1", "shop/app-2", "shop/login"}, "page"),
        ("cold_cache", "shop/cache", set(), "warning"),
        ("one_bad_node", "shop/app-2", set(), "page"),
    ],
)
def test_one_incident_names_the_tier_and_is_told_once(
    demo: Demo, fault: str, root: str, members: set[str], severity: str
) -> None:
    mails, webhooks = len(demo.mails()), len(demo.webhooks())
    demo.wait("calm before the fault", 60, lambda: demo.all_up() and not demo.incidents("open"))

    demo.fault("break", fault)

    def open_and_told() -> bool:
        incidents = demo.incidents("open")
        joined = {member for incident in incidents for member in incident["members"]}
        return bool(incidents) and members <= joined and len(demo.mails()) > mails and len(demo.webhooks()) > webhooks

    demo.wait(f"an incident about {root}, joined by {members or 'nobody'}, and told", 40, open_and_told)
    (incident,) = demo.incidents("open")
    assert incident["root"] == root
    assert incident["severity"] == severity
    path = demo.get("/api/v1/sites/shop/path")
    assert root in json.dumps(path)
    if fault == "one_bad_node":
        assert {check["status"] for check in demo.checks() if check["target"].endswith("web")} == {"up"}
    (mail,) = demo.mails()[mails:]
    assert root.partition("/")[2] in mail["Subject"]
    (told,) = demo.webhooks()[webhooks:]
    body = base64.b64decode(told["body_base64"])
    Webhook(demo.secret()).verify(body, told["headers"])
    assert json.loads(body)["status"] == "firing"

    demo.fault("mend", fault)
    demo.wait("resolved", 60, lambda: not demo.incidents("open"))
    demo.wait(
        "one resolved message each", 20, lambda: len(demo.webhooks()) > webhooks + 1 and len(demo.mails()) > mails + 1
    )
    assert len(demo.mails()) == mails + 2
    assert len(demo.webhooks()) == webhooks + 2
    resolved = base64.b64decode(demo.webhooks()[-1]["body_base64"])
    assert json.loads(resolved)["status"] == "resolved"
    assert demo.mails()[-1]["References"] == demo.mails()[-2]["References"]
