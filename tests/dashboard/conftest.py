"""Servers for the dashboard's tests: real processes over real stores."""

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import requests

_SERVE = """
import sys
from pathlib import Path
from dashboard.server import run_server
config, data, port = sys.argv[1:]
sys.argv = sys.argv[:1]
run_server(Path(config), Path(data), port=int(port))
"""


@pytest.fixture(scope="session")
def estate() -> ModuleType:
    """The builder of estates, `estate.py` beside this file."""
    spec = importlib.util.spec_from_file_location("dashboard_estate", Path(__file__).with_name("estate.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@dataclass
class Served:
    """A running dashboard and what it shows."""

    made: Any
    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def get(self, path: str, **more: Any) -> requests.Response:
        return requests.get(self.url + path, timeout=10, **more)

    def post(self, path: str, json: Any = None, **more: Any) -> requests.Response:
        return requests.post(self.url + path, json=json, timeout=10, **more)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def serving(made: Any) -> Iterator[Served]:
    port, log = free_port(), made.data / "dashboard.log"
    with log.open("wb") as out:
        arguments = [sys.executable, "-c", _SERVE, str(made.config), str(made.data), str(port)]
        process = subprocess.Popen(arguments, stdout=out, stderr=out)
    served = Served(made, f"http://127.0.0.1:{port}", process, log)
    try:
        _wait(served)
        yield served
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        made.engine.dispose()


def _wait(served: Served) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(requests.ConnectionError):
            if served.get("/healthz").status_code == 200:
                return
        assert served.process.poll() is None, served.log.read_text()
        time.sleep(0.1)
    raise AssertionError(served.log.read_text())


@pytest.fixture(scope="session")
def shop(estate: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The shop with a failing database and an incident about it."""
    made = estate.make(tmp_path_factory.mktemp("shop"), estate.shop())
    estate.history(made, 3, until_ms=estate.now_ms() - 22 * 60_000)
    estate.break_database(made)
    estate.open_incident(made)
    estate.beat_all(made)
    with estate.going_on(made), serving(made) as served:
        yield served


@pytest.fixture(scope="session")
def empty(estate: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The shop before its first result."""
    made = estate.make(tmp_path_factory.mktemp("empty"), estate.shop())
    with serving(made) as served:
        yield served


@pytest.fixture(scope="session")
def serve() -> Callable[[Any], contextlib.AbstractContextManager[Served]]:
    """For tests that need a server of their own."""
    return serving


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real Chromium. Not for longer than a file: Playwright's loop runs in this thread, where others want theirs."""
    path = os.environ.get("BACKWATCH_TEST_CHROMIUM", "/usr/bin/chromium")
    if shutil.which(path) is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"no Chromium at {path}; set BACKWATCH_TEST_CHROMIUM")
        pytest.skip(f"no Chromium at {path}; set BACKWATCH_TEST_CHROMIUM")
    from playwright.sync_api import sync_playwright

    quiet = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu", *quiet])
        yield started
        started.close()
