"""The whole worker: a real configuration, a real store, real targets."""

import collections
import contextlib
import itertools
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from sqlalchemy import Engine

from probes import curl_run
from probes.asking import ask_now
from probes.config import Config, load_config
from probes.result import Reason, Result, Status
from probes.store.asks import request_run
from probes.store.database import StoreError, open_database
from probes.store.events import load_events
from probes.store.lock import WorkerLocked
from probes.store.processes import Process, load_processes
from probes.store.results import load_all_results, load_results
from probes.worker import run_worker

NOW = 10**15
RUN = (
    "import sys; from pathlib import Path; from probes.config import load_config; from probes.worker import run_worker;"
    "run_worker(load_config(Path(sys.argv[1])))"
)


class Shop(BaseHTTPRequestHandler):
    """Answers 200, or what `status` says."""

    status = 200

    def do_GET(self) -> None:
        body = b'{"status": "ok", "queue": 7}'
        self.send_response(type(self).status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def shop() -> Iterator[int]:
    Shop.status = 200
    server = ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def http(port: int, **fields: Any) -> dict[str, Any]:
    return {"kind": "http", "url": f"http://127.0.0.1:{port}/", **fields}


def write(folder: Path, *checks: dict[str, Any], **sections: Any) -> Path:
    path = folder / "backwatch.yaml"
    document = {
        "defaults": {"interval": "1s", "timeout": "1s"},
        "sites": {"shop": {"targets": {"web": {"tier": "web", "checks": list(checks)}}}},
    }
    path.write_text(json.dumps(document | sections))
    return path


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


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[Path], Running]]:
    made: list[Running] = []

    def begin(path: Path) -> Running:
        made.append(Running(load_config(path)))
        return made[-1]

    yield begin
    for one in made:
        one.end()


def wait_for(done: Callable[[], Any], within_s: float = 30, every_s: float = 0.05) -> None:
    until = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < until, "not done in time"
        time.sleep(every_s)


def test_results_are_stored_with_their_slots(tmp_path: Path, shop: int, start: Callable[[Path], Running]) -> None:
    worker = start(write(tmp_path, http(shop)))
    wait_for(lambda: len(worker.results()) >= 3)
    results = worker.results()
    assert {result.status for result in results} == {Status.UP}
    steps = {later.slot_ms - earlier.slot_ms for earlier, later in itertools.pairwise(results)}
    assert steps == {1000}
    assert all(result.late_ms < 500 for result in results)
    assert all(result.metrics["size_bytes"] == 28 for result in results)


def test_conversations_and_blocking_kinds_run_side_by_side(
    tmp_path: Path, shop: int, start: Callable[[Path], Running]
) -> None:
    metrics = {"kind": "metrics", "url": f"http://127.0.0.1:{shop}/", "values": {"queue_length": "$.queue"}}
    worker = start(write(tmp_path, http(shop), metrics, {"kind": "tcp", "url": f"tcp://127.0.0.1:{shop}"}))
    for check_id in ("shop/web/http", "shop/web/metrics", "shop/web/tcp"):
        wait_for(lambda check_id=check_id: worker.results(check_id))
        assert worker.results(check_id)[0].status is Status.UP
    assert worker.results("shop/web/metrics")[0].metrics["queue_length"] == 7


def test_suspect_is_asked_again_at_the_retry_interval(
    tmp_path: Path, shop: int, start: Callable[[Path], Running]
) -> None:
    Shop.status = 503
    worker = start(write(tmp_path, http(shop, interval="30s", retry_interval="1s")))
    request_run(worker.store, "shop/web/http", "test")
    wait_for(lambda: len(worker.results()) >= 3)
    first, second, third = worker.results()[:3]
    assert first.reason is Reason.HTTP_STATUS
    assert 1000 <= second.slot_ms - first.slot_ms < 6000
    assert 1000 <= third.slot_ms - second.slot_ms < 6000


def test_process_row_tells_figures(tmp_path: Path, shop: int, start: Callable[[Path], Running]) -> None:
    worker = start(write(tmp_path, http(shop)))
    wait_for(lambda: worker.results() and worker.process().figures["results"] > 0)
    process = worker.process()
    assert process.name.startswith("worker/default@")
    assert process.pid == os.getpid()
    assert process.figures["rss_bytes"] > 1 << 20
    assert 0 <= process.figures["lateness_p99_s"] < 1
    assert process.figures["threads_stuck"] == 0
    assert process.notes == ()


def test_changed_configuration_is_taken_over_and_a_broken_one_is_not(
    tmp_path: Path, shop: int, start: Callable[[Path], Running]
) -> None:
    path = write(tmp_path, http(shop))
    worker = start(path)
    wait_for(worker.results)
    path.write_text("sites: [this is: not right")
    wait_for(lambda: any("not reloaded" in note for note in worker.process().notes))
    count = len(worker.results())
    wait_for(lambda: len(worker.results()) > count)
    write(tmp_path, http(shop), http(shop, name="second"))
    wait_for(lambda: worker.results("shop/web/second"))
    wait_for(lambda: worker.process().notes == ())
    assert any(event.kind == "config" for event in load_events(worker.store, 0, NOW))


def test_second_worker_on_an_embedded_store_is_refused(
    tmp_path: Path, shop: int, start: Callable[[Path], Running]
) -> None:
    path = write(tmp_path, http(shop))
    worker = start(path)
    wait_for(worker.results)
    with pytest.raises(WorkerLocked, match=str(os.getpid())):
        run_worker(load_config(path))


def test_downtime_of_the_worker_is_recorded_as_a_gap(
    tmp_path: Path, shop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("probes.worker_office._GAP_MS", 500)
    path = write(tmp_path, http(shop))
    first = Running(load_config(path))
    wait_for(first.results)
    first.end()
    time.sleep(0.8)
    second = Running(load_config(path))
    wait_for(lambda: load_events(second.store, 0, NOW, kind="gap"))
    (gap,) = load_events(second.store, 0, NOW, kind="gap")
    second.end()
    assert gap.end_ms is not None
    assert gap.end_ms - gap.at_ms >= 500


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_cleanly_and_keeps_every_result(tmp_path: Path, shop: int, sign: signal.Signals) -> None:
    path = write(tmp_path, *(http(shop, name=f"c{n}") for n in range(20)))
    with subprocess.Popen([sys.executable, "-c", RUN, str(path)]) as worker:
        store = open_database(load_config(path).database)
        wait_for(lambda: store_has(store, "shop/web/c0"))
        worker.send_signal(sign)
        assert worker.wait(10) == 0
    (process,) = load_processes(store)
    assert process.figures["queue"] == 0
    stored = sum(len(load_results(store, f"shop/web/c{n}", 0, NOW)) for n in range(20))
    assert stored == process.figures["results"]
    store.dispose()


def store_has(store: Engine, check_id: str) -> bool:
    try:
        return bool(load_results(store, check_id, 0, NOW))
    except StoreError:
        return False


def test_targets_that_hang_do_not_hold_up_the_others(
    tmp_path: Path, shop: int, start: Callable[[Path], Running]
) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=600) as silent:
        port = silent.getsockname()[1]
        hanging = [http(port, name=f"hang{n}") for n in range(300)]
        worker = start(write(tmp_path, http(shop), *hanging))
        wait_for(lambda: len(worker.results()) >= 5, 20)
        results = worker.results()[1:]
        assert all(result.status is Status.UP for result in results)
        assert max(result.late_ms for result in results) < 500
        assert worker.results("shop/web/hang7")[0].reason is Reason.DEADLINE


def test_ask_now_answers_each_check_once(tmp_path: Path, shop: int) -> None:
    tcp = {"kind": "tcp", "url": f"tcp://127.0.0.1:{shop}"}
    config = load_config(write(tmp_path, http(shop), http(1, name="closed"), tcp))
    results = {result.check_id: result for result in ask_now(list(config.estate.checks.values()))}
    assert len(results) == 3
    assert results["shop/web/http"].status is Status.UP
    assert results["shop/web/tcp"].status is Status.UP
    assert results["shop/web/closed"].reason is Reason.TCP_REFUSED


def test_secrets_do_not_reach_a_message(
    tmp_path: Path, shop: int, start: Callable[[Path], Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY", "S3cr3tCanary")
    expect = {"body": {"contains": "${env:CANARY}"}}
    worker = start(write(tmp_path, http(shop, expect=expect)))
    wait_for(worker.results)
    result = worker.results()[0]
    assert result.reason is Reason.BODY_MISMATCH
    assert "S3cr3tCanary" not in result.message
    assert "***" in result.message


class Renewing:
    """A TLS server whose certificate can be replaced while it runs."""

    def __init__(self, authority: trustme.CA) -> None:
        self._authority = authority
        self.renew(authority)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def renew(self, issuer: trustme.CA) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issuer.issue_cert("127.0.0.1").configure_cert(context)
        self.context = context

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=(connection, self.context), daemon=True).start()

    def _answer(self, connection: socket.socket, context: ssl.SSLContext) -> None:
        with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as secured:
            secured.settimeout(2)
            if secured.recv(4096):
                secured.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def test_changed_certificate_is_an_event_once_also_across_a_restart(
    tmp_path: Path, start: Callable[[Path], Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curl_run, "CERTIFICATE_FOR_S", 1.0)  # instead of minutes
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    server = Renewing(authority)
    where = {"url": f"https://127.0.0.1:{server.port}", "ca_file": str(tmp_path / "ca.pem")}
    path = write(tmp_path, {"kind": "http", **where}, {"kind": "tls", **where})

    def events(check_id: str) -> list[str]:
        return [one.text for one in load_events(worker.store, 0, NOW, subject=check_id, kind="certificate")]

    worker = start(path)
    wait_for(lambda: worker.results() and worker.results("shop/web/tls"))
    server.renew(authority)
    for check_id in ("shop/web/http", "shop/web/tls"):
        wait_for(lambda check_id=check_id: events(check_id))
        assert events(check_id)[0].startswith("certificate changed: ")
        assert events(check_id)[0].endswith("(seen from default)")
    worker.end()
    server.renew(stranger)  # refused, and told all the same
    worker = start(path)
    for check_id in ("shop/web/http", "shop/web/tls"):
        wait_for(lambda check_id=check_id: len(events(check_id)) == 2)
        assert events(check_id)[1].startswith("certificate changed, issuer too: ")
    wait_for(lambda: [one.reason for one in worker.results()[-2:]] == [Reason.TLS_UNTRUSTED] * 2)
    assert len(events("shop/web/http")) == 2
    server.close()


@pytest.mark.slow
def test_overload_is_said_and_statistics_stand_back(tmp_path: Path, start: Callable[[Path], Running]) -> None:
    """More hanging targets than room: the rest is late, said so, and a healthy database is asked less often."""
    with socket.create_server(("127.0.0.1", 0), backlog=600) as silent:
        port = silent.getsockname()[1]
        hanging = [http(port, name=f"hang{n}") for n in range(60)]
        database = {"kind": "redis", "url": f"redis://127.0.0.1:{port}", "timeout": "100ms"}
        worker = start(write(tmp_path, *hanging, database, worker={"max_in_flight": 5}))
        wait_for(lambda: worker.process().figures.get("overloaded") == 1, 40)
        process = worker.process()
        assert process.notes[0].startswith("Overloaded: ")
        assert "raise worker.max_in_flight" in process.notes[0]
        assert process.figures["late_ratio"] > 0.5
        assert process.figures["missed"] > 0
        assert process.figures["waiting"] > 0
        wait_for(lambda: worker.process().figures["shed"] > 2)
        events = load_events(worker.store, 0, NOW, kind="overload")
        assert "raise worker.max_in_flight" in events[0].text
        late = [one for n in range(60) for one in worker.results(f"shop/web/hang{n}") if one.reason is Reason.LATE]
        assert late
        assert {(one.status, one.duration_s) for one in late} == {(Status.UNKNOWN, None)}
        # No starvation: each of the sixty was asked for real, though there is room for five a second.
        wait_for(lambda: all(was_asked(worker.results(f"shop/web/hang{n}")) for n in range(60)), 60)


def was_asked(results: list[Result]) -> bool:
    return any(result.reason is Reason.DEADLINE for result in results)


def test_blocking_kinds_run_though_hanging_targets_fill_the_room(
    tmp_path: Path, shop: int, start: Callable[[Path], Running]
) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=600) as silent:
        port = silent.getsockname()[1]
        hanging = [http(port, name=f"hang{n}") for n in range(30)]
        tcp = {"kind": "tcp", "url": f"tcp://127.0.0.1:{shop}"}
        worker = start(write(tmp_path, *hanging, tcp, worker={"max_in_flight": 2}))
        wait_for(lambda: len(worker.results("shop/web/tcp")) >= 6)
        results = worker.results("shop/web/tcp")[1:]
        assert {result.status for result in results} == {Status.UP}
        assert max(result.late_ms for result in results) < 500


@pytest.mark.slow
def test_restart_gives_a_job_that_never_called_no_new_time(tmp_path: Path, start: Callable[[Path], Running]) -> None:
    job = {"kind": "heartbeat", "token": "nightly-backup-0123456789", "period": "1s", "grace": "1s", "interval": "1s"}
    path = write(tmp_path, job)
    first = Running(load_config(path))
    wait_for(lambda: any(result.status is Status.DOWN for result in first.results("shop/web/heartbeat")))
    first.end()
    second = start(path)
    count = len(second.results("shop/web/heartbeat"))
    wait_for(lambda: len(second.results("shop/web/heartbeat")) > count)
    after = second.results("shop/web/heartbeat")[count:]
    assert after[0].status is Status.DOWN
    assert after[0].reason is Reason.STALE_TARGET


@pytest.mark.slow
def test_deleted_store_is_said_and_begun_anew(tmp_path: Path, shop: int, start: Callable[[Path], Running]) -> None:
    worker = start(write(tmp_path, http(shop)))
    wait_for(worker.results)
    began = time.monotonic()
    file = Path(str(worker.store.url.database))
    first_slot = worker.results()[0].slot_ms
    file.unlink()
    wait_for(lambda: store_has(worker.store, "shop/web/http"))
    assert time.monotonic() - began < 15
    assert worker.results()[0].slot_ms > first_slot
    wait_for(lambda: any("was deleted" in note for one in load_processes(worker.store) for note in one.notes))
    assert any("was deleted" in event.text for event in load_events(worker.store, 0, NOW, kind="store"))


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_ten_thousand_targets_that_fail_at_once_harm_no_healthy_one(tmp_path: Path, nginx: Any) -> None:
    """All are confirmed down within two rounds; the worker stays small, loses nothing, and the healthy stay on time."""
    count = 10_000
    failing = [http(1, name=f"down{n}", interval="30s") for n in range(count)]
    healthy = [{"kind": "http", "url": nginx.url("plain"), "name": f"up{n}"} for n in range(20)]
    defaults = {"interval": "1s", "timeout": "1s", "retry_interval": "5s", "fail_after": 2}
    path = write(tmp_path, *failing, *healthy, defaults=defaults)
    store = open_database(load_config(path).database)
    with subprocess.Popen([sys.executable, "-c", RUN, str(path)]) as worker:
        try:
            wait_for(lambda: load_all(store), 60)
            began = time.monotonic()
            wait_for(lambda: failed_twice(store) == count, 120, every_s=3)
            took_s = time.monotonic() - began
            (process,) = load_processes(store)
        finally:
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(20) == 0
    results = load_all(store)
    assert took_s < 75  # one round of 30 s, and the retries
    assert {one.reason for one in results if "/down" in one.check_id} == {Reason.TCP_REFUSED}
    healthy_ones = [one for one in results if "/up" in one.check_id]
    late_ms = sorted(one.late_ms for one in healthy_ones)
    assert {one.reason for one in healthy_ones} <= {None, Reason.CANCELLED}  # cancelled: under way at the end
    assert len(late_ms) > 20 * 20
    assert late_ms[int(len(late_ms) * 0.95)] < 500
    assert (process.figures["missed"], process.figures["store_errors"], process.figures["loop_held_up"]) == (0, 0, 0)
    assert process.figures["rss_bytes"] < 180 << 20
    assert load_processes(store)[0].figures["results"] == len(results)
    store.dispose()


def load_all(store: Engine) -> list[Result]:
    try:
        return load_all_results(store, 0, NOW)
    except StoreError:  # the tables are not there in the first moments
        return []


def failed_twice(store: Engine) -> int:
    seen = collections.Counter(one.check_id for one in load_all(store) if "/down" in one.check_id)
    return sum(number >= 2 for number in seen.values())
