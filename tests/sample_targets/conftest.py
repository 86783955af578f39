"""A running shop for the tests, broken and mended from outside, as people do it."""

import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
import requests

from sample_targets.layout import HOST, LISTENERS


@dataclass(frozen=True)
class RunningShop:
    """A shop in another process, with the state it printed when it was ready."""

    process: "subprocess.Popen[str]"
    data: Path
    state: dict[str, Any]

    def command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "sample_targets", *words, "--data", str(self.data)]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)

    def break_(self, fault: str) -> None:
        done = self.command("break", fault)
        assert done.returncode == 0, done.stderr

    def mend(self, *fault: str) -> None:
        done = self.command("mend", *fault)
        assert done.returncode == 0, done.stderr

    def read_state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self.command("status", "--json").stdout)
        return state

    def url(self, listener: str, path: str) -> str:
        return f"http://{HOST}:{self.state['ports'][listener]}{path}"

    def get(self, listener: str, path: str, timeout_s: float = 8.0) -> requests.Response:
        return requests.get(self.url(listener, path), timeout=timeout_s)

    def status_of(self, listener: str, path: str) -> int:
        return self.get(listener, path).status_code

    def log_in(self) -> requests.Response:
        who = {"email": "demo@shop.example", "password": "correct horse"}
        return requests.post(self.url("web", "/api/login"), json=who, timeout=8.0)

    def keyspace(self) -> tuple[int, int]:
        """Hits and misses of the cache so far."""
        with self.cache() as cache:
            stats = cache.info("stats")
        return stats["keyspace_hits"], stats["keyspace_misses"]

    @contextmanager
    def cache(self) -> Iterator["redis.Redis"]:
        with redis.Redis(host=HOST, port=self.state["ports"]["cache"]) as client:
            yield client

    def hit_ratio_over(self, seconds: float) -> float:
        hits, misses = self.keyspace()
        time.sleep(seconds)
        later_hits, later_misses = self.keyspace()
        asked = later_hits - hits + later_misses - misses
        assert asked >= 15 * seconds * 0.8, "the visitors ask too little for a hit ratio to mean anything"
        return (later_hits - hits) / asked


def free_port_base() -> int:
    """The first of enough ports in a row that nobody uses; test processes side by side start looking elsewhere."""
    for base in range(20_000 + os.getpid() % 600 * 16, 32_000, 16):
        try:
            with ExitStack() as stack:
                for number in range(len(LISTENERS)):
                    stack.enter_context(socket.socket()).bind((HOST, base + number))
        except OSError:
            continue
        return base
    raise RuntimeError("no free ports")


@contextmanager
def open_shop(data: Path, port_base: int) -> Iterator[RunningShop]:
    command = [sys.executable, "-m", "sample_targets", "run", "--json-ready", "--data", str(data)]
    with subprocess.Popen([*command, "--port-base", str(port_base)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert select.select([process.stdout], [], [], 30)[0], "the shop is not ready after 30 s"
            yield RunningShop(process, data, json.loads(process.stdout.readline()))
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningShop]:
    """One shop for all tests of a session; whoever breaks it mends it."""
    with open_shop(tmp_path_factory.mktemp("shop"), free_port_base()) as running:
        yield running


@pytest.fixture
def own_shop(tmp_path: Path) -> Iterator[RunningShop]:
    """A shop that a test may kill."""
    with open_shop(tmp_path / "shop", free_port_base()) as running:
        yield running


@pytest.fixture
def open_another() -> Callable[[Path, int], AbstractContextManager[RunningShop]]:
    """Opens a shop in a given place."""
    return open_shop


@pytest.fixture
def broken(shop: RunningShop) -> Iterator[Callable[[str], None]]:
    """Breaks the shop; it is whole again after the test."""
    yield shop.break_
    shop.mend()
    within(5, lambda: shop.get("lb", "/lb/status").json()["nodes_up"] == 2)


def within(seconds: float, condition: Callable[[], bool]) -> None:
    """Wait until the condition holds; fail if it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.05)


@pytest.fixture
def eventually() -> Callable[[float, Callable[[], bool]], None]:
    """The function `within`, for tests."""
    return within
