"""A worker in this process, its store, and a shop to ask."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from probes.config import Config, load_config
from probes.result import Result
from probes.store.database import StoreError, open_database
from probes.store.processes import Process, load_processes
from probes.store.results import load_results
from probes.worker import run_worker

NOW = 10**15


class Running:
    """A worker in a thread, and its store."""

    def __init__(self, config: Config) -> None:
        self.stop = threading.Event()
        self.thread = threading.Thread(target=run_worker, args=(config, self.stop), daemon=True)
        self.thread.start()
        self.store: Engine = open_database(config.database)
        wait_for(self.is_at_work)

    def is_at_work(self) -> bool:
        try:
            return bool(load_processes(self.store))
        except StoreError:  # the tables are not there in the first moments
            return False

    def results(self, check_id: str = "shop/web/http") -> list[Result]:
        return load_results(self.store, check_id, 0, NOW, newest_first=False)

    def process(self) -> Process:
        return load_processes(self.store)[0]

    def end(self) -> None:
        self.stop.set()
        self.thread.join(15)
        assert not self.thread.is_alive()
        self.store.dispose()


class Rig:
    """A shop that answers 200, or what `status` says; configurations that ask it; workers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.status = 200
        self.started: list[Running] = []
        rig = self

        class Shop(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = b'{"status": "ok", "queue": 7}'
                self.send_response(rig.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Shop)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def http(self, port: int | None = None, **fields: Any) -> dict[str, Any]:
        """A check of the shop, or of another port."""
        return {"kind": "http", "url": f"http://127.0.0.1:{port or self.port}/", **fields}

    def write(self, *checks: dict[str, Any], **sections: Any) -> Path:
        """A configuration of these checks, every second."""
        path = self.folder / "backwatch.yaml"
        document = {
            "defaults": {"interval": "1s", "timeout": "1s"},
            "sites": {"shop": {"targets": {"web": {"tier": "web", "checks": list(checks)}}}},
        }
        path.write_text(json.dumps(document | sections))
        return path

    def start(self, path: Path) -> Running:
        """A worker that ends with the test, if the test does not end it."""
        self.started.append(Running(load_config(path)))
        return self.started[-1]

    @staticmethod
    def wait_for(done: Callable[[], Any], within_s: float = 30, every_s: float = 0.05) -> None:
        wait_for(done, within_s, every_s)

    @staticmethod
    def has_results(store: Engine, check_id: str) -> bool:
        """Whether there are any yet; no where there are no tables."""
        try:
            return bool(load_results(store, check_id, 0, NOW))
        except StoreError:
            return False

    def close(self) -> None:
        for one in self.started:
            one.end()
        self.server.shutdown()
        self.server.server_close()


def wait_for(done: Callable[[], Any], within_s: float = 30, every_s: float = 0.05) -> None:
    until = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < until, "not done in time"
        time.sleep(every_s)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.close()
