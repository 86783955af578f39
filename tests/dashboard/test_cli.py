"""The front door: quick, clear about what is wrong, and `up` keeps everything running and leaves nothing behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from click.testing import CliRunner, Result

from dashboard.cli import PLACES, main
from dashboard.demo import choose_place, fill_in, read_place, write_configuration
from dashboard.running import refuse_taken_port
from probes.commands import Refusal
from probes.config import load_config
from probes.store.lock import WorkerLock

COMMAND = str(Path(sys.executable).parent / "backwatch")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def run(*words: str) -> Result:
    return CliRunner().invoke(main, words)


@pytest.fixture(autouse=True)
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("BACKWATCH_CONFIG", "BACKWATCH_DATA", "SHOP_DATA"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def configure(port: int) -> Path:
    path = Path("backwatch.yaml")
    path.write_text(
        "defaults: {interval: 1s, timeout: 1s}\n"
        "sites: {shop: {targets: {app: {tier: app, checks: "
        f"[{{kind: tcp, url: 'tcp://127.0.0.1:{port}'}}]}}}}}}}}\n"
    )
    return path.absolute()


@pytest.mark.parametrize("name", PLACES)
def test_every_command_has_help(name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0, result.output


def test_help_imports_nothing_heavy() -> None:
    heavy = ("streamlit", "pandas", "sqlalchemy", "pydantic", "pycurl", "requests", "uvicorn")
    code = (
        "import sys; from dashboard.cli import main\n"
        "try: main(['--help'])\n"
        f"except SystemExit: print('LOADED', *(name for name in {heavy} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED"
    assert all(name in done.stdout for name in PLACES)


def test_the_version_is_told() -> None:
    assert run("--version").output.startswith("backwatch 0.")


@pytest.mark.parametrize("name", ["up", "status", "worker", "alerts", "dashboard", "probe"])
def test_without_a_configuration_every_command_says_where_it_looked(name: str) -> None:
    result = run(name)
    assert result.exit_code == (3 if name == "probe" else 2)  # of probe, 2 says that a target is down
    assert "no configuration found" in result.output


@pytest.mark.parametrize("name", ["up", "status", "worker", "alerts", "dashboard"])
def test_a_broken_configuration_is_told_in_full(name: str) -> None:
    Path("backwatch.yaml").write_text("sites: {shop: {targets: {web: {tier: wep}}}}\nspeed: 3\n")
    result = run(name, *(["--port", str(free_port())] if name in ("up", "dashboard") else []))
    assert result.exit_code == 2, result.output
    assert "tier" in result.output
    assert "speed" in result.output


def test_mistakes_of_both_parts_are_told_at_once() -> None:
    Path("backwatch.yaml").write_text(
        "sites: {shop: {targets: {web: {tier: wep}}}}\nnotifiers: {ops: {kind: pigeon}}\n"
    )
    result = run("config", "check")
    assert result.exit_code == 2
    assert "tier" in result.output
    assert "pigeon" in result.output


@pytest.mark.parametrize("name", ["up", "dashboard"])
def test_an_address_that_others_reach_is_refused(name: str, listener: int) -> None:
    configure(listener)
    result = run(name, "--host", "0.0.0.0", "--port", str(free_port()))
    assert result.exit_code == 2
    assert "--i-am-behind-a-proxy" in result.output


@pytest.mark.parametrize("name", ["up", "dashboard", "demo"])
def test_a_taken_port_is_told(name: str, listener: int) -> None:
    configure(listener)
    result = run(name, "--port", str(listener))
    assert result.exit_code == 2
    assert f"port {listener}" in result.output
    assert "in use" in result.output


def test_a_free_port_is_fine() -> None:
    refuse_taken_port("127.0.0.1", free_port())


def test_a_second_up_on_the_same_store_says_who_has_it(listener: int) -> None:
    config = load_config(configure(listener))
    with WorkerLock(config.database):
        result = run("up", "--port", str(free_port()))
    assert result.exit_code == 2
    assert f"another worker (pid {os.getpid()}" in result.output


def test_status_without_a_store_says_so(listener: int) -> None:
    configure(listener)
    result = run("status")
    assert result.exit_code == 2
    assert "no store" in result.output


class Up:
    """`backwatch up` as a process."""

    def __init__(self, config: Path) -> None:
        self.port = free_port()
        self.config = config
        self.log = config.parent / "up.log"
        with self.log.open("w") as out:
            self.process = subprocess.Popen(
                [COMMAND, "up", "-c", str(config), "--port", str(self.port)], stdout=out, stderr=subprocess.STDOUT
            )

    def get(self, path: str) -> Any:
        answer = requests.get(f"http://127.0.0.1:{self.port}{path}", timeout=5)
        answer.raise_for_status()
        return answer.json()

    def children(self) -> dict[str, psutil.Process]:
        """The programs it runs, by role."""
        found = {}
        for child in psutil.Process(self.process.pid).children():
            words = child.cmdline()
            if "dashboard.cli" in words:
                found[words[words.index("dashboard.cli") + 1]] = child
        return found

    def wait(self, true: Callable[[], Any], seconds: float = 40.0) -> Any:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                if answer := true():
                    return answer
            except (requests.RequestException, psutil.Error):
                pass
            time.sleep(0.2)
        pytest.fail(f"not within {seconds:g} s:\n{self.log.read_text()[-4000:]}")


@pytest.fixture
def up(listener: int) -> Iterator[Up]:
    running = Up(configure(listener))
    try:
        running.wait(lambda: running.get("/readyz"))
        running.wait(lambda: running.get("/api/v1/checks")["checks"][0]["status"] == "up")
        yield running
    finally:
        if running.process.poll() is None:
            running.process.send_signal(signal.SIGTERM)
        try:
            running.process.wait(15)
        finally:
            running.process.kill()


@pytest.mark.slow
def test_up_runs_everything_and_starts_again_what_dies(up: Up) -> None:
    first = up.children()
    assert set(first) == {"worker", "alerts", "dashboard"}
    for process in first.values():
        process.kill()

    def all_new() -> bool:
        now = up.children()
        return set(now) == set(first) and not {one.pid for one in now.values()} & {one.pid for one in first.values()}

    up.wait(all_new)
    up.wait(lambda: up.get("/readyz"))
    said = up.log.read_text()
    assert "worker was ended by SIGKILL" in said
    assert "worker    | " in said

    status = subprocess.run(
        [COMMAND, "status", "--json", "-c", str(up.config)], capture_output=True, text=True, timeout=30, check=True
    )
    told = json.loads(status.stdout)
    assert [check["check"] for check in told["checks"]] == ["shop/app/tcp"]
    assert told["incidents"] == []
    assert set(told["backwatch"]) >= {
        "version",
        "workers",
        "overloaded",
        "late_ratio",
        "lateness_p99_s",
        "outbox_pending",
        "store_bytes",
    }
    words = [COMMAND, "status", "-c", str(up.config)]
    table = subprocess.run(words, capture_output=True, text=True, timeout=30, check=True)
    assert "● up" in table.stdout
    assert "no open incident" in table.stdout

    started = time.monotonic()
    children = up.children()
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(12) == 0
    assert time.monotonic() - started < 10
    assert not any(child.is_running() for child in children.values())


@pytest.mark.slow
def test_up_killed_leaves_nobody_behind(up: Up) -> None:
    children = list(up.children().values())
    assert len(children) == 3
    up.process.kill()
    up.wait(lambda: not any(child.is_running() for child in children), 15)


@pytest.mark.slow
def test_up_reloads_on_sighup(up: Up) -> None:
    text = up.config.read_text()
    up.config.write_text(text.replace("kind: tcp,", "kind: tcp, name: port,"))
    up.process.send_signal(signal.SIGHUP)
    up.wait(lambda: [check["check"] for check in up.get("/api/v1/checks")["checks"]] == ["shop/app/port"])
    up.wait(lambda: up.get("/api/v1/checks")["checks"][0]["status"] == "up")
    assert up.process.poll() is None


def test_references_are_filled_in_with_their_defaults() -> None:
    text = "a: ${env:PORT:-18080}\nb: ${env:NAME}\nc: ${env:OTHER:-x-y}"
    assert fill_in(text, {"PORT": "1", "NAME": "n"}) == "a: 1\nb: n\nc: x-y"


def test_the_demo_moves_to_free_ports_and_goes_on_with_its_own(
    tmp_path: Path, listener: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_DATA", str(tmp_path / "shop"))
    first = choose_place(tmp_path, 8501, None)
    assert first.shop_data == str(tmp_path / "shop")
    assert len({first.port, first.shop_port, first.smtp_port, first.hook_port}) == 4
    assert choose_place(tmp_path, 8501, first) == first
    with socket.create_server(("127.0.0.1", first.shop_port + 3)):
        assert choose_place(tmp_path, 8501, first).shop_port != first.shop_port


def test_the_configuration_of_the_demo_has_nothing_left_to_fill_in(tmp_path: Path) -> None:
    place = choose_place(tmp_path, 8501, None)
    text = write_configuration(tmp_path, place, {"SHOP_DATA": str(tmp_path), "SHOP_PORT_WEB": "4711"})
    (tmp_path / "ca.pem").write_text("")
    (tmp_path / "demo.yaml").write_text(text)
    config = load_config(tmp_path / "demo.yaml")
    assert "${" not in text
    assert ":4711/" in text
    assert config.database == f"sqlite:///{tmp_path}/backwatch.db"
    assert len(config.estate.checks) >= 14
    assert len({target.tier for target in config.estate.targets.values()}) >= 7


def test_a_place_that_cannot_be_read_is_a_new_one(tmp_path: Path) -> None:
    assert read_place(tmp_path) is None
    (tmp_path / "place.json").write_text('{"port": 1}')
    assert read_place(tmp_path) is None


def test_a_refusal_ends_with_2() -> None:
    assert Refusal("no").exit_code == 2
