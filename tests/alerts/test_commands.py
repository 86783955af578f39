"""What an operator types, against a store with an incident in it and a real alert engine."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine

from alerts.commands import commands
from alerts.config import load_all
from alerts.engine import run_alerts
from alerts.store import load_incidents, load_notifications
from probes.result import Reason, Status
from probes.result import Result as ProbeResult
from probes.store.database import open_database
from probes.store.processes import load_processes
from probes.store.results import ResultWriter

CONFIGURATION = """
defaults: {{interval: 1s, timeout: 1s, fail_after: 2, recover_after: 2, notify: [hook]}}
notifiers: {{hook: {{kind: webhook, url: "{url}"}}}}
sites:
  shop:
    targets:
      db: {{tier: database, checks: [{{kind: http, url: "http://127.0.0.1:1/"}}]}}
"""


@pytest.fixture
def at_work(tmp_path: Path, receiver: Any) -> Iterator[Engine]:
    """The alert engine, running in this process on a configuration in `tmp_path`."""
    file = tmp_path / "backwatch.yaml"
    file.write_text(CONFIGURATION.format(url=receiver.url))
    config, alerting = load_all(file, tmp_path)
    stop = threading.Event()
    thread = threading.Thread(target=run_alerts, args=(config, alerting, stop))
    thread.start()
    engine = open_database(config.database, durable=True)
    wait_for(lambda: (tmp_path / "backwatch.db").exists() and _is_seen(engine))
    yield engine
    stop.set()
    thread.join()
    assert load_processes(engine) == []
    engine.dispose()


def _is_seen(engine: Engine) -> bool:
    try:
        return bool(load_processes(engine))
    except Exception:
        return False


def wait_for(condition: Callable[[], object], timeout_s: float = 15) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.1)


def save(engine: Engine, status: Status) -> None:
    now_ms = time.time_ns() // 1_000_000
    reason = Reason.TCP_REFUSED if status is Status.DOWN else None
    ResultWriter(engine).save([ProbeResult("shop/db/http", "default", now_ms, now_ms, status, reason, "refused")])


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Result]:
    group = click.Group(commands={command.name or "": command for command in commands})
    place = ["-c", str(tmp_path / "backwatch.yaml"), "--data", str(tmp_path)]

    def invoke(*words: str) -> Result:
        return CliRunner().invoke(group, [*words, *place])

    return invoke


def test_operator_sees_acknowledges_and_closes_an_incident(at_work: Engine, run: Any, receiver: Any) -> None:
    assert run("incident", "list").output == "No open incident.\n"
    for _ in range(2):
        save(at_work, Status.DOWN)
        time.sleep(0.05)
    wait_for(lambda: receiver.got)
    (found,) = json.loads(run("incident", "list", "--json").output)["incidents"]
    assert (found["root"], found["state"], found["members"]) == ("shop/db", "open", ["shop/db"])
    assert "database shop/db refuses connections" in run("incident", "list").output

    assert run("incident", "ack", found["id"], "--author", "ana", "--comment", "on it").exit_code == 0
    assert load_incidents(at_work)[0].acked_by == "ana"
    shown = run("incident", "show", found["id"]).output
    assert "acked by ana  on it" in shown
    assert "fire to hook: sent" in shown
    assert json.loads(run("incident", "show", found["id"], "--json").output)["events"][0]["kind"] == "opened"

    assert run("incident", "resolve", found["id"]).exit_code == 0
    wait_for(lambda: len(receiver.got) == 2)
    assert json.loads(receiver.got[1].body)["status"] == "resolved"
    assert run("incident", "ack", found["id"]).exit_code == 2


def test_notify_test_goes_through_the_real_outbox(at_work: Engine, run: Any, receiver: Any) -> None:
    done = run("notify", "test", "hook")
    assert (done.exit_code, done.output) == (0, "sent: webhook (alertmanager) to 127.0.0.1\n")
    receiver.answer(404)
    done = run("notify", "test", "hook")
    assert done.exit_code == 2
    assert "answered 404" in done.output
    assert "there are hook" in run("notify", "test", "nobody").output
    assert {one.kind for one in load_notifications(at_work)} == {"test"}


def test_silences_are_added_listed_and_ended(at_work: Engine, run: Any) -> None:
    done = run("silence", "add", "site=shop", "tier!=web", "--for", "2h", "--comment", "moving", "--author", "ana")
    assert done.exit_code == 0
    (found,) = json.loads(run("silence", "list", "--json").output)["silences"]
    assert found["matchers"] == {"site": "shop", "tier": "!web"}
    assert "ana: moving" in run("silence", "list").output
    assert run("silence", "expire", found["id"]).exit_code == 0
    assert run("silence", "expire", found["id"]).exit_code == 2
    assert json.loads(run("silence", "list", "--json").output)["silences"] == []
    assert len(json.loads(run("silence", "list", "--all", "--json").output)["silences"]) == 1


@pytest.mark.parametrize("words", [["nonsense"], ["sight=shop"], ["target=~("]])
def test_bad_matcher_is_refused(at_work: Engine, run: Any, words: list[str]) -> None:
    assert run("silence", "add", *words, "--for", "1h", "--comment", "x").exit_code == 2


def test_broken_configuration_keeps_the_running_one_and_is_said(at_work: Engine, tmp_path: Path, receiver: Any) -> None:
    file = tmp_path / "backwatch.yaml"
    good = file.read_text()
    file.write_text(good.replace("kind: webhook", "kind: webhok"))
    wait_for(lambda: any("webhok" in note for one in load_processes(at_work) for note in one.notes))
    for _ in range(2):
        save(at_work, Status.DOWN)
        time.sleep(0.05)
    wait_for(lambda: receiver.got)
    file.write_text(good)
    wait_for(lambda: not any(one.notes for one in load_processes(at_work)))
