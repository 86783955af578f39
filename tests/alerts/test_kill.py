"""kill -9 of the alert engine and of whoever writes results, twenty times in mid-outage: faults.md 1, 2 and 24."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from sqlalchemy import select

from alerts.incident import notification_id
from alerts.store import load_incident_events, load_incidents
from alerts.store.tables import outbox
from probes.store.database import open_database, reading
from probes.store.integrity import db_check
from probes.store.schema import upgrade

KILLS = 20

CONFIGURATION = """
defaults: {{interval: 1s, timeout: 1s, fail_after: 2, recover_after: 2, notify: [hook]}}
alerts: {{reopen_window: 0s}}
notifiers: {{hook: {{kind: webhook, url: "{url}", format: standard}}}}
sites:
  shop:
    targets:
      web: {{tier: web, needs: [db], checks: [{{kind: http, url: "http://127.0.0.1:1/"}}]}}
      db: {{tier: database, checks: [{{kind: http, url: "http://127.0.0.1:1/"}}]}}
"""

ENGINE = """
import sys
from pathlib import Path
from alerts.config import load_all
from alerts.engine import run_alerts
run_alerts(*load_all(Path(sys.argv[1]), Path(sys.argv[2])))
"""

# Down for three seconds, up for three, whatever was killed meanwhile; all up once the file `calm` is there.
WRITER = """
import sys, time
from pathlib import Path
from probes.result import Reason, Result, Status
from probes.store.database import open_database
from probes.store.results import ResultWriter
writer = ResultWriter(open_database(sys.argv[1]))
while True:
    now_ms = time.time_ns() // 1_000_000
    down = not Path(sys.argv[2]).exists() and now_ms // 3000 % 2 == 0
    for target in ("db", "web"):
        status, reason = (Status.DOWN, Reason.TCP_REFUSED) if down else (Status.UP, None)
        writer.save([Result(f"shop/{target}/http", "default", now_ms, now_ms, status, reason, "refused" * down)])
    time.sleep(0.2)
"""


@dataclass
class Post:
    delivery: str
    body: dict[str, object]
    answered: bool


@dataclass
class Receiver:
    """Takes everything; says 503 to one in ten, and of one in ten the answer is lost on the way."""

    url: str = ""
    posts: list[Post] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    chance = random.Random(20)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            fate = chance.random()
            if fate < 0.1:
                self.send_error(503)
                return
            made.posts.append(Post(self.headers["webhook-id"], body["data"], fate >= 0.2))
            if fate < 0.2:
                self.connection.close()
                return
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


class Children:
    """Processes that are started again after each kill."""

    def __init__(self, folder: Path, commands: dict[str, list[str]]) -> None:
        self.folder = folder
        self.commands = commands
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(self.commands[name], stdout=log, stderr=log)

    def kill(self, name: str) -> None:
        assert self.running[name].poll() is None, (self.folder / f"{name}.log").read_text()
        os.kill(self.running[name].pid, signal.SIGKILL)
        self.running[name].wait()


@pytest.fixture
def children(tmp_path: Path, receiver: Receiver) -> Iterator[Children]:
    file = tmp_path / "backwatch.yaml"
    file.write_text(CONFIGURATION.format(url=receiver.url))
    url = f"sqlite:///{tmp_path / 'backwatch.db'}"
    upgrade(url)
    python = [sys.executable, "-c"]
    made = Children(
        tmp_path,
        {
            "engine": [*python, ENGINE, str(file), str(tmp_path)],
            "writer": [*python, WRITER, url, str(tmp_path / "calm")],
        },
    )
    for name in made.commands:
        made.start(name)
    yield made
    for name in made.commands:
        made.kill(name)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_twenty_kills_lose_nothing_and_open_nothing_twice(
    children: Children, receiver: Receiver, tmp_path: Path
) -> None:
    chance = random.Random(4)
    time.sleep(4)
    for _ in range(KILLS):
        time.sleep(chance.uniform(1, 8))
        victims = chance.choice([["engine"], ["engine"], ["writer"], ["engine", "writer"]])
        for name in victims:
            children.kill(name)
        for name in victims:
            children.start(name)
    (tmp_path / "calm").touch()
    engine = open_database(f"sqlite:///{tmp_path / 'backwatch.db'}")
    _wait_until_quiet(engine)

    incidents = load_incidents(engine, limit=1000)
    with reading(engine) as connection:
        rows = {row.id: row for row in connection.execute(select(outbox))}
    received = Counter(post.delivery for post in receiver.posts)
    by_incident: defaultdict[str, dict[str, object]] = defaultdict(dict)
    for row in rows.values():
        by_incident[row.incident_id][row.kind] = row

    assert len(incidents) >= 3
    for incident in incidents:
        kinds = [event.kind for event in load_incident_events(engine, incident.id)]
        assert kinds.count("opened") == kinds.count("resolved") == 1
        told = by_incident[incident.id]
        assert (incident.told_ms is not None) == ("fire" in told) == ("resolve" in told)
    targets = [incident for incident in incidents if not incident.root.startswith("location:")]
    for one, other in zip(sorted(targets, key=_opened), sorted(targets, key=_opened)[1:], strict=False):
        assert (one.resolved_ms or 0) <= (other.resolved_ms or 0) - 1
        assert one.root == other.root == "shop/db"

    # Nothing that was decided is lost: it arrived, or the end arrived in its stead because the trouble was over.
    for row in rows.values():
        assert row.state in ("sent", "superseded")
        if row.state == "sent":
            assert row.id in received
        else:
            end = by_incident[row.incident_id].get("resolve")
            assert end is not None
            assert end.id in received  # type: ignore[attr-defined]
        assert row.id == notification_id(row.incident_id, row.seq, "hook")
    # What arrived twice arrived under one id, saying the same.
    assert set(received) <= set(rows)
    for delivery in received:
        assert len({json.dumps(post.body) for post in receiver.posts if post.delivery == delivery}) == 1
    assert db_check(engine) == []
    engine.dispose()
    print(
        f"{KILLS} kills, {len(incidents)} incidents, {len(rows)} notifications, {len(receiver.posts)} posts,"
        f" {sum(count - 1 for count in received.values())} duplicates,"
        f" {sum(row.state == 'superseded' for row in rows.values())} superseded"
    )


def _opened(incident: object) -> int:
    return incident.opened_ms  # type: ignore[attr-defined,no-any-return]


def _wait_until_quiet(engine: object) -> None:
    end = time.monotonic() + 180
    while time.monotonic() < end:
        time.sleep(1)
        with reading(engine) as connection:  # type: ignore[arg-type]
            waiting = connection.execute(
                select(outbox.c.id).where(outbox.c.state.in_(("pending", "sending"))).limit(1)
            ).first()
        if waiting is None and not load_incidents(engine, ["open", "acked"]):  # type: ignore[arg-type]
            return
    pytest.fail("incidents or notifications were still open after three minutes of calm")
