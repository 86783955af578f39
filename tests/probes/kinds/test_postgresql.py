import time
from urllib.parse import urlsplit

import psycopg
import pytest

from probes.counters import Sample, Window
from probes.result import Reason, Status

CANARY = "S3cr3tCanary"
PREFIX = "backwatch_kinds"


@pytest.fixture(scope="module")
def server(postgresql_url):
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def role(server, worker_id, postgresql_url):
    """Creates login roles; returns the URL of one. Dropped at the end."""
    made = []

    def create(*grants: str, password: str = "pw", words: str = "") -> str:
        name = f"{PREFIX}_{worker_id}_{len(made)}_{time.monotonic_ns()}"
        server.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}' {words}".encode())
        made.append(name)
        for grant in grants:
            server.execute(f"GRANT {grant} TO {name}".encode())
        parts = urlsplit(postgresql_url)
        return f"postgresql://{name}:{password}@{parts.hostname}:{parts.port or 5432}/postgres"

    yield create
    for name in made:
        server.execute(f"DROP ROLE {name}".encode())


EVERYTHING = {
    "auth_s", "query_s", "uptime_s", "in_recovery", "read_only", "connections_used", "connections_max",
    "connections_used_ratio", "connections_active", "idle_in_transaction", "waiting_on_lock", "longest_transaction_s",
    "transactions_per_s", "deadlocks", "temp_bytes_per_s", "wraparound_age", "size_bytes", "replicas",
    "slots_inactive", "slots_lost",
}  # fmt: skip


def test_the_documented_account_gives_every_metric_of_a_primary(asker, role):
    ask = asker("postgresql", {"url": role("pg_monitor", words="CONNECTION LIMIT 3"), "min_operations": 1})
    ask()
    with_statistics = ask()
    until = time.monotonic() + 10
    while "hit_ratio" not in with_statistics.metrics and time.monotonic() < until:
        time.sleep(0.2)  # the server publishes its counters about once a second
        with_statistics = ask()
    assert (with_statistics.status, with_statistics.message) == (Status.UP, "")
    assert with_statistics.metrics.keys() >= EVERYTHING | {"hit_ratio", "buffer_hit_ratio", "rollback_ratio"}
    assert 0 <= with_statistics.metrics["hit_ratio"] <= 1
    assert 0 < with_statistics.metrics["connections_used_ratio"] < 1
    assert with_statistics.phases.connect_s > 0
    assert with_statistics.metrics["uptime_s"] > 1


def test_an_account_without_grants_is_up_and_says_what_is_missing(asker, role):
    reading = asker("postgresql", {"url": role()})()
    assert reading.status is Status.UP
    assert "pg_monitor" in reading.message
    assert "connections_active" not in reading.metrics
    assert reading.metrics["connections_used"] >= 1
    assert {"wraparound_age", "query_s", "size_bytes"} <= reading.metrics.keys()


def test_locks_and_open_transactions_are_counted(asker, server, postgresql_url, role):
    table = f"{PREFIX}_{time.monotonic_ns()}"
    server.execute(f"CREATE TABLE {table} (a int)".encode())
    try:
        with psycopg.connect(postgresql_url) as holder:
            holder.execute(f"LOCK TABLE {table}".encode())
            time.sleep(0.1)
            reading = asker("postgresql", {"url": role("pg_monitor")})()
        assert reading.metrics["idle_in_transaction"] >= 1
        assert reading.metrics["longest_transaction_s"] >= 0.1
    finally:
        server.execute(f"DROP TABLE {table}".encode())


def test_an_unused_slot_shows(asker, server, role):
    name = f"{PREFIX}_{time.monotonic_ns()}"
    server.execute("SELECT pg_create_physical_replication_slot(%s, true)", [name])
    try:
        metrics = asker("postgresql", {"url": role("pg_monitor")})().metrics
        assert metrics["slots_inactive"] >= 1
        assert metrics["slot_retained_bytes"] >= 0
    finally:
        server.execute("SELECT pg_drop_replication_slot(%s)", [name])


def test_the_session_cannot_write_and_is_named(asker, server, role, monkeypatch):
    monkeypatch.setattr(
        "probes.kinds.postgresql.SIZE",
        "SELECT (current_setting('default_transaction_read_only') = 'on' AND current_setting('application_name') = "
        "'backwatch' AND current_setting('statement_timeout') <> '0')::int",
    )
    assert asker("postgresql", {"url": role()})().metrics["size_bytes"] == 1


def test_a_slow_statement_is_ended_at_the_deadline(asker, role, monkeypatch):
    monkeypatch.setattr("probes.kinds.postgresql.AGE", "SELECT pg_sleep(30)")
    reading = asker("postgresql", {"url": role()}, timeout_s=0.7)()
    assert (reading.status, reading.reason) == (Status.DOWN, Reason.DEADLINE)
    assert reading.metrics["query_s"] > 0


def test_expected_role(asker, postgresql_url):
    assert asker("postgresql", {"url": postgresql_url}, {"role": "primary"})().status is Status.UP
    assert asker("postgresql", {"url": postgresql_url}, {"role": "replica"})().status is Status.DOWN


def test_unknown_database_is_query_error(asker, postgresql_url):
    reading = asker("postgresql", {"url": postgresql_url.rsplit("/", 1)[0] + "/not_there"})()
    assert reading.reason is Reason.QUERY_ERROR
    assert "not_there" in reading.message


def test_unknown_account_is_auth_failed(asker, postgresql_url):
    url = postgresql_url.replace("//postgres@", f"//nobody:{CANARY}@")
    assert asker("postgresql", {"url": url})().reason is Reason.AUTH_FAILED


def test_connection_limit_of_the_account_is_too_many_connections(asker, role):
    url = role(words="CONNECTION LIMIT 1")
    with psycopg.connect(url):
        reading = asker("postgresql", {"url": url})()
    assert reading.reason is Reason.TOO_MANY_CONNECTIONS


def test_tls_demanded_of_a_server_without_it(asker, postgresql_url, server):
    if server.execute("SHOW ssl").fetchone()[0] == "on":
        reading = asker("postgresql", {"url": postgresql_url + "?sslmode=verify-full"})()
        assert reading.reason in {Reason.TLS_UNTRUSTED, Reason.TLS_HOSTNAME}
    else:
        assert asker("postgresql", {"url": postgresql_url + "?sslmode=require"})().reason is Reason.TLS_NOT_TLS


def test_closed_port_is_refused(asker, closed_port):
    reading = asker("postgresql", {"url": f"postgresql://a:{CANARY}@127.0.0.1:{closed_port}/b"})()
    assert (reading.status, reading.reason) == (Status.DOWN, Reason.TCP_REFUSED)


def test_hang_is_deadline_after_the_connect_phase(asker, silent_port):
    reading = asker("postgresql", {"url": f"postgresql://a:{CANARY}@127.0.0.1:{silent_port}/b"}, timeout_s=0.5)()
    assert reading.reason is Reason.DEADLINE
    assert reading.phases.connect_s > 0


def test_dripping_peer_is_deadline(asker, dripping_port):
    port = dripping_port(b"NR\0\0\0\x20")
    url = f"postgresql://a:{CANARY}@127.0.0.1:{port}/b"
    assert asker("postgresql", {"url": url}, timeout_s=0.7)().reason is Reason.DEADLINE


@pytest.mark.parametrize("fixture", ["http_port", "ssh_port"])
def test_another_protocol_is_protocol_error(asker, request, fixture):
    url = f"postgresql://a:{CANARY}@127.0.0.1:{request.getfixturevalue(fixture)}/b"
    assert asker("postgresql", {"url": url})().reason is Reason.PROTOCOL_ERROR


def test_unknown_host_is_nxdomain(asker):
    assert asker("postgresql", {"url": f"postgresql://a:{CANARY}@db.invalid/b"})().reason is Reason.DNS_NXDOMAIN


def test_a_bad_option_in_the_url_is_our_own_fault(asker):
    reading = asker("postgresql", {"url": f"postgresql://a:{CANARY}@127.0.0.1/b?nonsense=1"})()
    assert (reading.status, reading.reason) == (Status.UNKNOWN, Reason.INTERNAL)


def test_counters_of_a_restarted_or_reset_server_give_a_gap():
    start = Sample(0, (1.0, None), {"hit": 10**9, "read": 10**6})
    window = Window().then(start, 30).then(Sample(30, (1.0, None), {"hit": 10**9 + 800, "read": 10**6 + 200}), 30)
    assert window.ratio("hit", "read") == pytest.approx(0.8)
    for epoch in ((2.0, None), (1.0, 5.0)):
        assert window.then(Sample(60, epoch, {"hit": 2 * 10**9, "read": 10**7}), 30).ratio("hit", "read") is None
