"""What changes while a worker runs or is away: its configuration, a certificate, its store, time."""

import contextlib
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

from probes import curl_run
from probes.result import Reason, Status
from probes.store.events import load_events
from probes.store.processes import load_processes

if TYPE_CHECKING:
    from conftest import Rig

pytestmark = pytest.mark.slow

NOW = 10**15


def test_changed_configuration_is_taken_over_and_a_broken_one_is_not(rig: "Rig") -> None:
    path = rig.write(rig.http())
    worker = rig.start(path)
    rig.wait_for(worker.results)
    path.write_text("sites: [this is: not right")
    rig.wait_for(lambda: any("not reloaded" in note for note in worker.process().notes))
    count = len(worker.results())
    rig.wait_for(lambda: len(worker.results()) > count)
    rig.write(rig.http(), rig.http(name="second"))
    rig.wait_for(lambda: worker.results("shop/web/second"))
    rig.wait_for(lambda: worker.process().notes == ())
    assert any(event.kind == "config" for event in load_events(worker.store, 0, NOW))


def test_downtime_of_the_worker_is_recorded_as_a_gap(rig: "Rig", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("probes.worker_office._GAP_MS", 500)
    path = rig.write(rig.http())
    first = rig.start(path)
    rig.wait_for(first.results)
    first.end()
    time.sleep(0.8)
    second = rig.start(path)
    rig.wait_for(lambda: load_events(second.store, 0, NOW, kind="gap"))
    (gap,) = load_events(second.store, 0, NOW, kind="gap")
    second.end()
    assert gap.end_ms is not None
    assert gap.end_ms - gap.at_ms >= 500


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
    rig: "Rig", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curl_run, "CERTIFICATE_FOR_S", 1.0)  # instead of minutes
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    server = Renewing(authority)
    where = {"url": f"https://127.0.0.1:{server.port}", "ca_file": str(tmp_path / "ca.pem")}
    path = rig.write({"kind": "http", **where}, {"kind": "tls", **where})

    def events(check_id: str) -> list[str]:
        return [one.text for one in load_events(worker.store, 0, NOW, subject=check_id, kind="certificate")]

    worker = rig.start(path)
    rig.wait_for(lambda: worker.results() and worker.results("shop/web/tls"))
    server.renew(authority)
    for check_id in ("shop/web/http", "shop/web/tls"):
        rig.wait_for(lambda check_id=check_id: events(check_id))
        assert events(check_id)[0].startswith("certificate changed: ")
        assert events(check_id)[0].endswith("(seen from default)")
    worker.end()
    server.renew(stranger)  # refused, and told all the same
    worker = rig.start(path)
    for check_id in ("shop/web/http", "shop/web/tls"):
        rig.wait_for(lambda check_id=check_id: len(events(check_id)) == 2)
        assert events(check_id)[1].startswith("certificate changed, issuer too: ")
    rig.wait_for(lambda: [one.reason for one in worker.results()[-2:]] == [Reason.TLS_UNTRUSTED] * 2)
    assert len(events("shop/web/http")) == 2
    server.close()


def test_restart_gives_a_job_that_never_called_no_new_time(rig: "Rig") -> None:
    job = {"kind": "heartbeat", "token": "nightly-backup-0123456789", "period": "1s", "grace": "1s", "interval": "1s"}
    path = rig.write(job)
    first = rig.start(path)
    rig.wait_for(lambda: any(result.status is Status.DOWN for result in first.results("shop/web/heartbeat")))
    first.end()
    second = rig.start(path)
    count = len(second.results("shop/web/heartbeat"))
    rig.wait_for(lambda: len(second.results("shop/web/heartbeat")) > count)
    after = second.results("shop/web/heartbeat")[count:]
    assert after[0].status is Status.DOWN
    assert after[0].reason is Reason.STALE_TARGET


def test_deleted_store_is_said_and_begun_anew(rig: "Rig") -> None:
    worker = rig.start(rig.write(rig.http()))
    rig.wait_for(worker.results)
    began = time.monotonic()
    file = Path(str(worker.store.url.database))
    first_slot = worker.results()[0].slot_ms
    file.unlink()
    rig.wait_for(lambda: rig.has_results(worker.store, "shop/web/http"))
    assert time.monotonic() - began < 15
    assert worker.results()[0].slot_ms > first_slot
    rig.wait_for(lambda: any("was deleted" in note for one in load_processes(worker.store) for note in one.notes))
    assert any("was deleted" in event.text for event in load_events(worker.store, 0, NOW, kind="store"))
