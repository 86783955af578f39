"""What can only be seen on a MariaDB server of our own: TLS, a restart, broken replication."""

import os
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pymysql
import pytest
import trustme

from probes.result import Reason, Status

pytestmark = pytest.mark.slow


class Server:
    """A MariaDB server in a folder; `root` has no password."""

    def __init__(self, program: str, folder: Path, port: int, run) -> None:
        self.command = (
            program, "--no-defaults", f"--datadir={folder}/data", f"--socket={folder}/s", f"--port={port}",
            "--bind-address=127.0.0.1", "--server-id=7", f"--ssl-cert={folder}/server.pem",
            f"--ssl-key={folder}/server.pem", f"--pid-file={folder}/pid", *user(),
        )  # fmt: skip
        self.url, self.port, self._run, self._stack = f"mysql://root@localhost:{port}", port, run, ExitStack()

    def start(self) -> None:
        self._stack.enter_context(self._run(*self.command, port=self.port))

    def stop(self) -> None:
        self._stack.close()

    def execute(self, *statements: str) -> None:
        connection = pymysql.connect(host="127.0.0.1", port=self.port, user="root", autocommit=True)
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
        connection.close()


def user() -> list[str]:
    return ["--user=nobody"] if os.geteuid() == 0 else []


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def server(new_port, run_server, authority):
    program, install = shutil.which("mariadbd"), shutil.which("mariadb-install-db")
    if program is None or install is None:
        if os.environ.get("CI") == "true":
            pytest.fail("mariadbd is needed in CI")
        pytest.skip("no mariadbd")
    folder = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    folder.chmod(0o777)
    (folder / "data").mkdir()
    (folder / "data").chmod(0o777)
    (folder / "server.pem").write_bytes(authority.issue_cert("localhost").private_key_and_cert_chain_pem.bytes())
    (folder / "server.pem").chmod(0o644)
    subprocess.run(
        [install, "--no-defaults", f"--datadir={folder}/data", *user(), "--auth-root-authentication-method=normal",
         "--skip-test-db"],
        check=True, capture_output=True, timeout=100,
    )  # fmt: skip
    made = Server(program, folder, new_port(), run_server)
    made.start()
    yield made
    made.stop()
    shutil.rmtree(folder)


def test_tls(asker, server, authority, tmp_path):
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    trustme.CA().cert_pem.write_to_path(tmp_path / "stranger.pem")
    for options in ({}, {"tls": "require"}, {"tls": "verify", "ca_file": str(tmp_path / "ca.pem")}):
        reading = asker("mysql", {"url": server.url, **options})()
        assert (reading.status, reading.message) == (Status.UP, "")
        assert reading.phases.tls_s > 0
        assert 0 < reading.metrics["auth_s"] < 1
    assert asker("mysql", {"url": server.url, "tls": "off"})().phases.tls_s is None
    refused = asker("mysql", {"url": server.url, "tls": "verify", "ca_file": str(tmp_path / "stranger.pem")})()
    assert refused.reason is Reason.TLS_UNTRUSTED
    named = server.url.replace("localhost", "127.0.0.1")
    wrong = asker("mysql", {"url": named, "tls": "verify", "ca_file": str(tmp_path / "ca.pem")})()
    assert wrong.reason is Reason.TLS_HOSTNAME


def test_a_hang_behind_tls_is_deadline(asker, server, monkeypatch):
    monkeypatch.setattr("probes.kinds.mysql.OLDEST", "SELECT sleep(30)")
    reading = asker("mysql", {"url": server.url, "tls": "require"}, timeout_s=0.7)()
    assert reading.reason is Reason.DEADLINE


def test_broken_replication_is_degraded_and_never_no_lag(asker, server, closed_port):
    server.execute(
        f"CHANGE MASTER TO master_host='127.0.0.1', master_port={closed_port}, master_user='nobody', "
        "master_connect_retry=60",
        "START SLAVE",
    )
    try:
        reading = asker("mysql", {"url": server.url})()
    finally:
        server.execute("STOP SLAVE", "RESET SLAVE ALL")
    assert (reading.status, reading.reason) == (Status.DEGRADED, Reason.VALUE_LIMIT)
    assert "replication is broken" in reading.message
    assert reading.metrics["replication_running"] == 0
    assert "replication_lag_s" not in reading.metrics


def test_a_read_only_server_is_seen(asker, server):
    server.execute("SET GLOBAL read_only = 1")
    try:
        reading = asker("mysql", {"url": server.url}, {"writable": True})()
    finally:
        server.execute("SET GLOBAL read_only = 0")
    assert (reading.status, reading.reason) == (Status.DOWN, Reason.READ_ONLY)
    assert reading.metrics["read_only"] == 1


def test_a_restart_in_between_gives_a_gap(asker, server):
    ask = asker("mysql", {"url": server.url, "min_operations": 1})
    ask()
    assert "queries_per_s" in ask().metrics
    server.stop()
    assert ask().reason is Reason.TCP_REFUSED
    server.start()
    assert not {"hit_ratio", "queries_per_s"} & ask().metrics.keys()
