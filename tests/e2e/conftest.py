"""A back end that can be broken, a receiver of messages, and Backwatch's own processes on a store in a folder."""

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import requests

from probes.result import Result, Status
from probes.store.database import open_database
from probes.store.keys import SERIES_BITS
from probes.store.results import ResultWriter
from probes.store.schema import upgrade

_MAIN = "from dashboard.cli import main; main()"
COMMAND = str(Path(sys.executable).parent / "backwatch")
TARGETS = (("web", "web", "app"), ("app", "app", "db"), ("db", "database", ""))


class Scene:
    """A back end of three tiers that fails as one, and a receiver of webhooks."""

    def __init__(self) -> None:
        self.broken = False
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.asked: defaultdict[str, list[float]] = defaultdict(list)
        """By path, when it was asked: seconds of the monotonic clock."""
        scene = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                scene.asked[self.path].append(time.monotonic())
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
        """How many different messages of each status arrived about targets: a repeated id is one message."""
        return Counter({message: body["status"] for message, body in self.told if not is_own(body)}.values())

    def own(self) -> list[str]:
        """What Backwatch said of itself: status and title of each message, once an id."""
        said = {message: body for message, body in self.told if is_own(body)}
        return [f"{body['status']}: {title_of(body)}" for body in said.values()]

    def count_asked(self) -> int:
        """How many requests there were."""
        return sum(len(times) for times in self.asked.values())

    def longest_pause_s(self, since_s: float, until_s: float) -> float:
        """The longest time in which one of the targets was not asked."""
        pauses = []
        for times in self.asked.values():
            inside = [since_s, *(at for at in times if since_s < at < until_s), until_s]
            pauses += [after - before for before, after in pairwise(inside)]
        return max(pauses)


def title_of(body: dict[str, Any]) -> str:
    """The sentence of a message in alertmanager's form."""
    return str(body["alerts"][0]["annotations"]["summary"])


def is_own(body: dict[str, Any]) -> bool:
    """Whether a message is about Backwatch itself."""
    return "backwatch:" in json.dumps(body["alerts"][0]["labels"])


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.server.shutdown()
    scene.server.server_close()


class Rig:
    """Worker, alert engine and dashboard as real processes that are killed and started again."""

    def __init__(self, folder: Path, scene: Scene) -> None:
        self.folder = folder
        self.scene = scene
        self.began_ms = time.time_ns() // 1_000_000 - 60_000
        self.config = folder / "backwatch.yaml"
        self.store = folder / "store" / "backwatch.db"
        self.configure()
        self.log = (folder / "log").open("w+")
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def configure(self, more: int = 0) -> None:
        """Write the configuration; `more` checks beside the three tiers make the store busy."""
        url = self.scene.url
        targets = "\n".join(
            f"      {name}: {{tier: {tier}, needs: [{needs}], checks: [{{kind: http, url: '{url}/{name}'}}]}}"
            for name, tier, needs in TARGETS
        )
        busy = "".join(
            f"      more{n}: {{tier: app, needs: [db], checks: [{{kind: http, url: '{url}/more{n}'}}]}}\n"
            for n in range(more)
        )
        self.config.write_text(
            f"database: sqlite:///{self.store}\n"
            "defaults: {interval: 1s, timeout: 900ms, retry_interval: 1s, fail_after: 2, recover_after: 2}\n"
            f"sites:\n  shop:\n    targets:\n{targets}\n{busy}"
            f"notifiers: {{hook: {{kind: webhook, url: '{url}/hook'}}}}\n"
            "alerts: {group_wait: 2s}\n"
            "routes: [{match: {}, notify: [hook]}]\n"
        )

    def start(self, role: str, *more: str, patch: str = "") -> None:
        """Start a role; `patch` is code that runs before it, to shorten what would take minutes."""
        command = [COMMAND] if not patch else [sys.executable, "-P", "-c", f"{patch}\n{_MAIN}"]
        self.running[role] = subprocess.Popen(
            [*command, role, "-c", str(self.config), *more],
            stdout=self.log, stderr=subprocess.STDOUT, cwd=self.folder,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip

    def begin(self, patch: str = "") -> None:
        """Worker and alert engine at work, and everything up."""
        self.ask("db", "upgrade")
        for role in ("worker", "alerts"):
            self.start(role, patch=patch)
        self.wait("first results", 30, self.is_all_up)

    def is_all_up(self) -> bool:
        """Whether every check was answered well at last; the command is not called before there can be answers."""
        return self.count_stored() >= len(TARGETS) and {check["status"] for check in self.checks()} == {"up"}

    def remember(self, hours: int = 12) -> None:
        """Give the store a past, so that its file has a middle."""
        upgrade(f"sqlite:///{self.store}")
        engine = open_database(f"sqlite:///{self.store}")
        last_ms = time.time_ns() // 60_000_000_000 * 60_000 - 4 * 3_600_000
        for at_ms in range(last_ms - hours * 3_600_000, last_ms, 600_000):
            batch = [
                Result(
                    f"shop/past{n}/http", "default", at_ms + minute * 60_000, at_ms, Status.UP, metrics={"n": minute}
                )
                for minute in range(10)
                for n in range(40)
            ]
            ResultWriter(engine).save(batch)
        engine.dispose()

    def flip(self, *tables: str) -> int:
        """Make nonsense of the middle page of these tables; its number."""
        with contextlib.closing(sqlite3.connect(self.store)) as connection:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            names = ", ".join(f"'{name}'" for name in tables)
            query = f"SELECT pageno, pgsize FROM dbstat WHERE name IN ({names}) AND pagetype = 'leaf' ORDER BY pageno"
            try:
                pages = connection.execute(query).fetchall()
            except sqlite3.OperationalError:
                pytest.skip("this SQLite has no dbstat")
        number, size = pages[len(pages) // 2]
        with self.store.open("r+b") as out:
            out.seek((number - 1) * size)
            page = bytes(byte ^ 0x5A for byte in out.read(size))
            out.seek((number - 1) * size)
            out.write(page)
        return int(number)

    def serve(self) -> str:
        """A dashboard; its address."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.start("dashboard", "--port", str(port))
        address = f"http://127.0.0.1:{port}"
        self.wait("the dashboard", 40, lambda: bool(self.why_not_ready(address) is not None))
        return address

    def why_not_ready(self, address: str) -> list[str] | None:
        """What the dashboard says; None where it does not answer."""
        try:
            answer = requests.get(f"{address}/readyz", timeout=10)
        except requests.RequestException:
            return None
        return list(answer.json()["reasons"])

    def kill(self, roles: tuple[str, ...]) -> None:
        for role in roles:
            self.running[role].send_signal(signal.SIGKILL)
        for role in roles:
            self.running[role].wait(10)
            self.start(role)

    def kill_for_good(self, *roles: str) -> None:
        for role in roles:
            process = self.running.pop(role)
            process.send_signal(signal.SIGKILL)
            process.wait(10)

    def ask(self, *words: str) -> str:
        done = self.try_to_ask(*words)
        assert done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def try_to_ask(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [COMMAND, *words, "-c", str(self.config)], capture_output=True, text=True, timeout=60, check=False
        )

    def checks(self) -> list[dict[str, Any]]:
        return list(json.loads(self.ask("status", "--json"))["checks"])

    def notes(self) -> str:
        """What the processes say of themselves."""
        with contextlib.closing(sqlite3.connect(self.store)) as connection:
            return " ".join(row[0] for row in connection.execute("SELECT notes FROM process"))

    def count_stored(self) -> int:
        """Results of runs that took place: those of the last hours, which lie in no block yet."""
        past = "SELECT id FROM series WHERE check_id LIKE '%/past%'"
        left_out = "SELECT id FROM error WHERE reason IN ('late', 'cancelled')"
        query = (
            f"SELECT count(*) FROM hot WHERE id >= ? AND series_id NOT IN ({past})"
            f" AND (error_id IS NULL OR error_id NOT IN ({left_out}))"
        )
        with contextlib.closing(sqlite3.connect(self.store)) as connection:
            return int(connection.execute(query, (self.began_ms << SERIES_BITS,)).fetchone()[0])

    def said(self) -> str:
        """What the processes wrote."""
        return Path(self.log.name).read_text()

    def wait(self, what: str, seconds: float, true: Callable[[], bool]) -> float:
        """Seconds until it is true."""
        began_s = time.monotonic()
        while not true():
            if time.monotonic() > began_s + seconds:
                pytest.fail(f"{what}: not within {seconds:g} s\n{self.scene.told[-3:]}\n{self.said()[-6000:]}")
            time.sleep(0.2)
        return time.monotonic() - began_s

    def stop(self) -> None:
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            process.wait(15)
        self.running.clear()


@pytest.fixture
def rig(tmp_path: Path, scene: Scene) -> Iterator[Rig]:
    rig = Rig(tmp_path, scene)
    yield rig
    rig.stop()
    rig.log.close()
