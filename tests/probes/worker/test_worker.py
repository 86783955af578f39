"""The whole worker: a real configuration, a real store, real targets."""

import itertools
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from probes.asking import ask_now
from probes.config import load_config
from probes.result import Reason, Status
from probes.store.asks import request_run
from probes.store.database import open_database
from probes.store.lock import WorkerLocked
from probes.store.processes import load_processes
from probes.store.results import load_results
from probes.worker import run_worker

if TYPE_CHECKING:
    from conftest import Rig

pytestmark = pytest.mark.slow

NOW = 10**15
RUN = (
    "import sys; from pathlib import Path; from probes.config import load_config; from probes.worker import run_worker;"
    "run_worker(load_config(Path(sys.argv[1])))"
)


def test_results_are_stored_with_their_slots(rig: "Rig") -> None:
    worker = rig.start(rig.write(rig.http()))
    rig.wait_for(lambda: len(worker.results()) >= 3)
    results = worker.results()
    assert {result.status for result in results} == {Status.UP}
    steps = {later.slot_ms - earlier.slot_ms for earlier, later in itertools.pairwise(results)}
    assert steps == {1000}
    assert all(result.late_ms < 500 for result in results)
    assert all(result.metrics["size_bytes"] == 28 for result in results)


def test_conversations_and_blocking_kinds_run_side_by_side(rig: "Rig") -> None:
    metrics = {"kind": "metrics", "url": f"http://127.0.0.1:{rig.port}/", "values": {"queue_length": "$.queue"}}
    worker = rig.start(rig.write(rig.http(), metrics, {"kind": "tcp", "url": f"tcp://127.0.0.1:{rig.port}"}))
    for check_id in ("shop/web/http", "shop/web/metrics", "shop/web/tcp"):
        rig.wait_for(lambda check_id=check_id: worker.results(check_id))
        assert worker.results(check_id)[0].status is Status.UP
    assert worker.results("shop/web/metrics")[0].metrics["queue_length"] == 7


def test_suspect_is_asked_again_at_the_retry_interval(rig: "Rig") -> None:
    rig.status = 503
    worker = rig.start(rig.write(rig.http(interval="1h", retry_interval="1s")))  # no slot of its own comes between
    request_run(worker.store, "shop/web/http", "test")
    rig.wait_for(lambda: len(worker.results()) >= 3)
    first, second, third = worker.results()[:3]
    assert first.reason is Reason.HTTP_STATUS
    assert 1000 <= second.slot_ms - first.slot_ms < 6000
    assert 1000 <= third.slot_ms - second.slot_ms < 6000


def test_process_row_tells_figures(rig: "Rig") -> None:
    worker = rig.start(rig.write(rig.http()))
    rig.wait_for(lambda: worker.results() and worker.process().figures["results"] > 0)
    process = worker.process()
    assert process.name.startswith("worker/default@")
    assert process.pid == os.getpid()
    assert process.figures["rss_bytes"] > 1 << 20
    assert 0 <= process.figures["lateness_p99_s"] < 1
    assert process.figures["threads_stuck"] == 0
    assert process.notes == ()


def test_second_worker_on_an_embedded_store_is_refused(rig: "Rig") -> None:
    path = rig.write(rig.http())
    worker = rig.start(path)
    rig.wait_for(worker.results)
    with pytest.raises(WorkerLocked, match=str(os.getpid())):
        run_worker(load_config(path))


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_cleanly_and_keeps_every_result(rig: "Rig", sign: signal.Signals) -> None:
    path = rig.write(*(rig.http(name=f"c{n}") for n in range(20)))
    with subprocess.Popen([sys.executable, "-c", RUN, str(path)]) as worker:
        store = open_database(load_config(path).database)
        rig.wait_for(lambda: rig.has_results(store, "shop/web/c0"))
        worker.send_signal(sign)
        assert worker.wait(10) == 0
    (process,) = load_processes(store)
    assert process.figures["queue"] == 0
    stored = sum(len(load_results(store, f"shop/web/c{n}", 0, NOW)) for n in range(20))
    assert stored == process.figures["results"]
    store.dispose()


def test_ask_now_answers_each_check_once(rig: "Rig") -> None:
    tcp = {"kind": "tcp", "url": f"tcp://127.0.0.1:{rig.port}"}
    config = load_config(rig.write(rig.http(), rig.http(1, name="closed"), tcp))
    results = {result.check_id: result for result in ask_now(list(config.estate.checks.values()))}
    assert len(results) == 3
    assert results["shop/web/http"].status is Status.UP
    assert results["shop/web/tcp"].status is Status.UP
    assert results["shop/web/closed"].reason is Reason.TCP_REFUSED


def test_secrets_do_not_reach_a_message(rig: "Rig", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY", "S3cr3tCanary")
    expect = {"body": {"contains": "${env:CANARY}"}}
    worker = rig.start(rig.write(rig.http(expect=expect)))
    rig.wait_for(worker.results)
    result = worker.results()[0]
    assert result.reason is Reason.BODY_MISMATCH
    assert "S3cr3tCanary" not in result.message
    assert "***" in result.message
