import time
from urllib.parse import urlsplit

import pymysql
import pytest

from probes.kinds.mysql import _hits_and_misses, _lag_s
from probes.result import Reason, Status

CANARY = "S3cr3tCanary"


@pytest.fixture(scope="module")
def server(mysql_url):
    parts = urlsplit(mysql_url)
    connection = pymysql.connect(
        host=parts.hostname,
        port=parts.port or 3306,
        user=parts.username,
        password=parts.password or "",
        autocommit=True,
    )
    yield connection
    connection.close()


@pytest.fixture
def account(server, worker_id, mysql_url):
    """Creates accounts; returns the URL of one. Dropped at the end."""
    made = []

    def create(*grants: str, password: str = "pw", words: str = "") -> str:
        name = f"bw_{worker_id}_{time.monotonic_ns() % 10**12}"
        with server.cursor() as cursor:
            cursor.execute(f"CREATE USER {name}@'%%' IDENTIFIED BY %s {words}", (password,))
            made.append(name)
            for grant in grants:
                cursor.execute(f"GRANT {grant} ON *.* TO {name}@'%'")
        parts = urlsplit(mysql_url)
        return f"mysql://{name}:{password}@{parts.hostname}:{parts.port or 3306}"

    yield create
    with server.cursor() as cursor:
        for name in made:
            cursor.execute(f"DROP USER {name}@'%'")


def is_mariadb(server) -> bool:
    return "mariadb" in server.get_server_info().lower()


EVERYTHING = {
    "auth_s", "query_s", "uptime_s", "read_only", "connections_used", "connections_max", "connections_used_ratio",
    "connections_peak", "threads_running", "waiting_on_lock", "row_lock_waits_per_s", "queries_per_s",
    "slow_queries_per_s", "aborted_connects_per_s", "longest_transaction_s",
}  # fmt: skip


def test_the_documented_account_gives_every_metric_of_a_primary(asker, server, account):
    grant = "REPLICA MONITOR" if is_mariadb(server) else "REPLICATION CLIENT"
    ask = asker("mysql", {"url": account("PROCESS", grant, words="WITH MAX_USER_CONNECTIONS 3"), "min_operations": 1})
    ask()
    with server.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM mysql.help_topic")
    time.sleep(0.1)
    reading = ask()
    assert (reading.status, reading.message) == (Status.UP, "")
    assert reading.metrics.keys() >= EVERYTHING
    assert 0 < reading.metrics["connections_used_ratio"] < 1
    assert reading.phases.connect_s > 0


def test_the_hit_ratio_of_real_innodb_reads(asker, server, mysql_url):
    name = f"bw_{time.monotonic_ns() % 10**12}"
    ask = asker("mysql", {"url": mysql_url})
    with server.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
        try:
            cursor.execute(f"CREATE TABLE {name}.t (a INT PRIMARY KEY) ENGINE=InnoDB")
            cursor.execute(f"INSERT INTO {name}.t VALUES {', '.join(f'({n})' for n in range(1000))}")
            ask()
            for n in range(200):
                cursor.execute(f"SELECT * FROM {name}.t WHERE a = %s", (n,))
            reading = ask()
        finally:
            cursor.execute(f"DROP DATABASE {name}")
    assert 0.5 < reading.metrics["hit_ratio"] <= 1
    assert reading.metrics["queries_per_s"] > 0


def test_innodb_counts_logical_reads_and_misses():
    told = _hits_and_misses(
        {"Innodb_buffer_pool_read_requests": 1000.0, "Innodb_buffer_pool_reads": 200.0, "Uptime": 5.0}
    )
    assert told == {"hits": 800.0, "misses": 200.0, "Uptime": 5.0}


def test_an_account_without_grants_is_up_and_says_what_is_missing(asker, account):
    reading = asker("mysql", {"url": account()})()
    assert reading.status is Status.UP
    assert "longest_transaction_s" in reading.message
    assert "PROCESS" in reading.message
    assert "longest_transaction_s" not in reading.metrics
    assert reading.metrics.keys() >= {"connections_used", "connections_max", "uptime_s", "read_only"}


@pytest.mark.parametrize(
    ("source", "lag_s"),
    [
        ({"Replica_IO_Running": "Yes", "Replica_SQL_Running": "Yes", "Seconds_Behind_Master": 7}, 7.0),
        ({"Replica_IO_Running": "Yes", "Replica_SQL_Running": "Yes", "Seconds_Behind_Source": 0}, 0.0),
        ({"Replica_IO_Running": "Connecting", "Replica_SQL_Running": "Yes", "Seconds_Behind_Master": None}, None),
        ({"Replica_IO_Running": "No", "Replica_SQL_Running": "Yes", "Seconds_Behind_Master": 0}, None),
    ],
    ids=["lag", "MySQL's newer word", "broken says NULL", "broken says 0"],
)
def test_broken_replication_is_never_no_lag(source, lag_s):
    assert _lag_s(source) == lag_s


def test_the_session_cannot_write(asker, server, account, monkeypatch):
    is_read_only = "@@tx_read_only" if is_mariadb(server) else "@@transaction_read_only"
    monkeypatch.setattr("probes.kinds.mysql.OLDEST", f"SELECT {is_read_only}")
    assert asker("mysql", {"url": account()})().metrics["longest_transaction_s"] == 1


def test_a_slow_statement_is_ended_at_the_deadline(asker, account, monkeypatch):
    monkeypatch.setattr("probes.kinds.mysql.OLDEST", "SELECT sleep(30)")
    reading = asker("mysql", {"url": account()}, timeout_s=0.7)()
    assert (reading.status, reading.reason) == (Status.DOWN, Reason.DEADLINE)
    assert reading.metrics["query_s"] > 0


def test_expected_writable(asker, mysql_url):
    assert asker("mysql", {"url": mysql_url}, {"writable": True})().status is Status.UP
    assert asker("mysql", {"url": mysql_url}, {"writable": False})().status is Status.DOWN


def test_wrong_password_is_auth_failed(asker, account):
    url = account()
    reading = asker("mysql", {"url": url.replace(":pw@", "@"), "password": CANARY})()
    assert (reading.status, reading.reason) == (Status.DOWN, Reason.AUTH_FAILED)


def test_unknown_database_is_query_error(asker, mysql_url):
    assert asker("mysql", {"url": mysql_url.rsplit("/", 1)[0] + "/not_there"})().reason is Reason.QUERY_ERROR


def test_connection_limit_of_the_account_is_too_many_connections(asker, account):
    url = account(words="WITH MAX_USER_CONNECTIONS 1")
    parts = urlsplit(url)
    holder = pymysql.connect(host=parts.hostname, port=parts.port, user=parts.username, password="pw")
    try:
        assert asker("mysql", {"url": url})().reason is Reason.TOO_MANY_CONNECTIONS
    finally:
        holder.close()


def test_tls_demanded_of_a_server_without_it(asker, server, mysql_url):
    with server.cursor() as cursor:
        cursor.execute("SHOW VARIABLES LIKE 'have_ssl'")
        row = cursor.fetchone()
    reading = asker("mysql", {"url": mysql_url, "tls": "require"})()
    if row and row[1] == "YES":
        assert reading.phases.tls_s > 0
    else:
        assert reading.reason is Reason.TLS_NOT_TLS


def test_closed_port_is_refused(asker, closed_port):
    reading = asker("mysql", {"url": f"mysql://a:{CANARY}@127.0.0.1:{closed_port}"})()
    assert (reading.status, reading.reason) == (Status.DOWN, Reason.TCP_REFUSED)


def test_hang_is_deadline(asker, silent_port):
    reading = asker("mysql", {"url": f"mysql://a:{CANARY}@127.0.0.1:{silent_port}"}, timeout_s=0.5)()
    assert reading.reason is Reason.DEADLINE
    assert reading.phases.connect_s > 0


@pytest.mark.parametrize("greeting", [b"J\0\0\0\x0a5.5.5-10.11.19-MariaDB and so on and on", b"J\0\0"])
def test_dripping_peer_is_deadline(asker, dripping_port, greeting):
    url = f"mysql://a:{CANARY}@127.0.0.1:{dripping_port(greeting)}"
    assert asker("mysql", {"url": url}, timeout_s=0.8)().reason in {Reason.DEADLINE, Reason.PROTOCOL_ERROR}


def test_server_of_another_protocol_is_protocol_error(asker, ssh_port):
    assert asker("mysql", {"url": f"mysql://a:{CANARY}@127.0.0.1:{ssh_port}"})().reason is Reason.PROTOCOL_ERROR


@pytest.mark.parametrize(
    "rest", [b"", b"\xff" * 70, b"\0" * 70, b"5.7\0" + b"\x41" * 66], ids=["cut", "ff", "zero", "junk"]
)
def test_a_greeting_full_of_nonsense_is_no_fault_of_ours(asker, peer, rest):
    port = peer(lambda connection: (connection.sendall(b"J\0\0\0\x0a" + rest), connection.shutdown(1)))
    reading = asker("mysql", {"url": f"mysql://a:{CANARY}@127.0.0.1:{port}"})()
    assert reading.status is Status.DOWN


def test_too_many_connections_in_place_of_a_greeting(asker, peer):
    body = b"\xff\x10\x04Too many connections"
    port = peer(lambda connection: connection.sendall(len(body).to_bytes(3, "little") + b"\0" + body))
    reading = asker("mysql", {"url": f"mysql://a:{CANARY}@127.0.0.1:{port}"})()
    assert reading.reason is Reason.TOO_MANY_CONNECTIONS


def test_unknown_host_is_nxdomain(asker):
    assert asker("mysql", {"url": f"mysql://a:{CANARY}@db.invalid"})().reason is Reason.DNS_NXDOMAIN
