"""What can only be seen on a PostgreSQL server of our own: passwords, a restart, a replica, TLS."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import psycopg
import pytest
import trustme

from probes.result import Reason, Status

CANARY = "S3cr3tCanary"
pytestmark = pytest.mark.slow


class Cluster:
    """A PostgreSQL cluster in a folder; run as nobody where we are root, because it refuses to be root."""

    def __init__(self, programs: Path, folder: Path, port: int) -> None:
        self.programs, self.folder, self.port = programs, folder, port
        self._as = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []

    def run(self, program: str, *words: str, **environment: str) -> None:
        subprocess.run(
            [*self._as, self.programs / program, *words],
            check=True, capture_output=True, timeout=60, cwd=self.folder.parent, env={**os.environ, **environment},
        )  # fmt: skip

    def control(self, verb: str, *words: str) -> None:
        # Its log goes to a file, or pg_ctl's children would hold our pipe open.
        self.run("pg_ctl", "-D", str(self.folder), "-w", "-l", f"{self.folder}.log", verb, *words)

    def start(self) -> None:
        self.control("start", "-o", f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''")

    def url(self, user: str = "postgres", password: str = "right", rest: str = "") -> str:
        return f"postgresql://{user}:{password}@localhost:{self.port}/postgres{rest}"


@pytest.fixture(scope="module")
def cluster(new_port):
    found = shutil.which("initdb") or next(map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None)
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("initdb is needed in CI")
        pytest.skip("no initdb")
    base = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    base.chmod(0o777)
    (base / "password").write_text("right")
    (base / "password").chmod(0o644)
    made = Cluster(Path(found).resolve().parent, base / "primary", new_port())
    made.run(
        "initdb",
        "-D",
        str(made.folder),
        "-U",
        "postgres",
        "-A",
        "scram-sha-256",
        "--pwfile",
        str(base / "password"),
        "-N",
    )
    with (made.folder / "pg_hba.conf").open("a") as rules:
        rules.write("host replication postgres 127.0.0.1/32 scram-sha-256\n")
    made.start()
    yield made
    made.control("stop", "-m", "immediate")
    shutil.rmtree(base)


def test_passwords(asker, cluster):
    good = asker("postgresql", {"url": cluster.url()})()
    assert good.status is Status.UP
    assert good.metrics["auth_s"] > 0
    for options in (
        {"url": cluster.url(password=CANARY)},
        {"url": cluster.url(password="right"), "password": CANARY},
        {"url": cluster.url(user="nobody", password=CANARY)},
        {"url": cluster.url().replace(":right", "")},
    ):
        reading = asker("postgresql", options)()
        assert (reading.status, reading.reason) == (Status.DOWN, Reason.AUTH_FAILED), reading
        assert reading.phases.connect_s > 0


def test_a_restart_in_between_gives_a_gap(asker, cluster):
    ask = asker("postgresql", {"url": cluster.url(), "min_operations": 1})
    ask()
    assert "transactions_per_s" in ask().metrics
    cluster.control("stop", "-m", "fast")
    assert ask().reason is Reason.TCP_REFUSED
    cluster.start()
    assert not {"hit_ratio", "transactions_per_s", "deadlocks"} & ask().metrics.keys()
    assert "transactions_per_s" in ask().metrics


def test_statistics_reset_in_between_gives_a_gap(asker, cluster):
    ask = asker("postgresql", {"url": cluster.url()})
    ask()
    with psycopg.connect(cluster.url(), autocommit=True) as connection:
        connection.execute("SELECT pg_stat_reset()")
    assert "transactions_per_s" not in ask().metrics


def test_a_primary_and_its_replica(asker, cluster, new_port):
    replica = Cluster(cluster.programs, cluster.folder.with_name("replica"), new_port())
    address = f"host=127.0.0.1 port={cluster.port} user=postgres password=right"
    replica.run("pg_basebackup", "-D", str(replica.folder), "-d", address, "-R", "-c", "fast")
    replica.start()
    try:
        ask = asker("postgresql", {"url": replica.url()}, {"role": "replica"})
        reading = until(ask, lambda reading: reading.metrics.get("wal_receiver_up") == 1)
        assert (reading.status, reading.metrics["read_only"]) == (Status.UP, 1)
        assert reading.metrics["replication_lag_s"] < 60
        primary = asker("postgresql", {"url": cluster.url()}, {"role": "primary"})
        seen = until(primary, lambda reading: "replica_lag_bytes" in reading.metrics)
        assert seen.metrics["replicas"] == 1
        assert seen.metrics["replica_lag_bytes"] >= 0
        refused = asker("postgresql", {"url": replica.url()}, {"role": "primary"})()
        assert (refused.status, refused.reason) == (Status.DOWN, Reason.READ_ONLY)
        cluster.control("stop", "-m", "fast")
        cut = until(ask, lambda reading: reading.metrics.get("wal_receiver_up") == 0)
        assert "no WAL receiver" in cut.message
        assert cut.metrics.get("replication_lag_s") != 0
    finally:
        replica.control("stop", "-m", "immediate")
        if not (cluster.folder / "postmaster.pid").exists():
            cluster.start()


def test_tls(asker, cluster, tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    bundle = authority.issue_cert("localhost")
    with psycopg.connect(cluster.url(), autocommit=True) as connection:
        directory = Path(connection.execute("SHOW data_directory").fetchone()[0])
        (directory / "server.pem").write_bytes(bundle.private_key_and_cert_chain_pem.bytes())
        (directory / "server.pem").chmod(0o600)
        shutil.chown(directory / "server.pem", directory.owner(), directory.group())
        for setting in ("ssl_cert_file='server.pem'", "ssl_key_file='server.pem'", "ssl=on"):
            connection.execute(f"ALTER SYSTEM SET {setting}".encode())
        connection.execute("SELECT pg_reload_conf()")
    verify = f"?sslmode=verify-full&sslrootcert={tmp_path / 'ca.pem'}"
    ask = asker("postgresql", {"url": cluster.url(rest=verify)})
    reading = until(ask, lambda reading: reading.status is Status.UP)
    assert reading.phases.tls_s > 0
    assert reading.metrics["auth_s"] > 0
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(stranger)
    refused = asker("postgresql", {"url": cluster.url(rest=f"?sslmode=verify-full&sslrootcert={stranger}")})()
    assert refused.reason is Reason.TLS_UNTRUSTED
    named = cluster.url(rest=verify).replace("localhost", "127.0.0.1")
    assert asker("postgresql", {"url": named})().reason is Reason.TLS_HOSTNAME


def until(ask, is_there, seconds: float = 20):
    end = time.monotonic() + seconds
    while not is_there(reading := ask()) and time.monotonic() < end:
        time.sleep(0.2)
    assert is_there(reading), reading
    return reading
