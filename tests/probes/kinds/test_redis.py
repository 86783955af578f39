import socket
import time

import pytest
import redis
import trustme

from probes.result import Reason, Status

CANARY = "S3cr3tCanary"


def use(port: int, hits: int, misses: int, **access) -> None:
    with redis.Redis(port=port, **access) as client, client.pipeline(transaction=False) as pipe:
        client.set("there", 1)
        for _ in range(hits):
            pipe.get("there")
        for _ in range(misses):
            pipe.get("not there")
        pipe.execute()


def test_every_metric_of_a_plain_server(asker, redis_server):
    ask = asker("redis", {"url": f"redis://127.0.0.1:{redis_server('--maxmemory', '64mb')}"})
    ask()
    reading = ask()
    assert reading.status is Status.UP
    assert reading.phases.connect_s > 0
    assert reading.duration_s < 1
    wanted = {"ping_s", "query_s", "uptime_s", "used_memory_bytes", "memory_used_ratio", "fragmentation_ratio"}
    wanted |= {"connections_used", "connections_max", "connections_used_ratio", "evicted_per_s", "rejected_per_s"}
    wanted |= {"commands_per_s", "persistence_ok", "is_replica", "replicas", "keys", "expired_per_s"}
    assert wanted <= reading.metrics.keys()


@pytest.mark.parametrize("lifetime", [(0, 0), (5, 3000), (3000, 5)], ids=["fresh", "many misses", "many hits"])
def test_800_hits_and_200_misses_between_two_runs_are_080(asker, redis_server, lifetime):
    port = redis_server()
    use(port, *lifetime)
    ask = asker("redis", {"url": f"redis://127.0.0.1:{port}"})
    assert "hit_ratio" not in ask().metrics
    use(port, 800, 200)
    assert ask().metrics["hit_ratio"] == pytest.approx(0.80)


def test_config_resetstat_in_between_gives_a_gap(asker, redis_server):
    port = redis_server()
    use(port, 800, 200)
    ask = asker("redis", {"url": f"redis://127.0.0.1:{port}"})
    ask()
    with redis.Redis(port=port) as client:
        client.config_resetstat()
    use(port, 100, 100)
    reading = ask()
    assert reading.status is Status.UP
    assert not {"hit_ratio", "evicted_per_s", "commands_per_s"} & reading.metrics.keys()
    use(port, 400, 100)
    assert ask().metrics["hit_ratio"] == pytest.approx(0.80)


def test_a_restart_in_between_gives_a_gap(asker, redis_server):
    port = redis_server()
    ask = asker("redis", {"url": f"redis://127.0.0.1:{port}"})
    ask()
    redis_server(again=port)
    use(port, 800, 200)  # more than before the restart: only the run id tells
    assert "hit_ratio" not in ask().metrics


def test_too_little_traffic_gives_no_hit_ratio(asker, redis_server):
    port = redis_server()
    ask = asker("redis", {"url": f"redis://127.0.0.1:{port}"})
    ask()
    use(port, 50, 10)
    assert "hit_ratio" not in ask().metrics


@pytest.mark.parametrize("url", ["redis://:{}@127.0.0.1:{}", "redis://default:{}@127.0.0.1:{}"])
def test_password(asker, redis_server, url):
    port = redis_server("--requirepass", CANARY)
    reading = asker("redis", {"url": url.format(CANARY, port)})()
    assert reading.status is Status.UP
    assert reading.metrics["auth_s"] > 0


@pytest.mark.parametrize("password", [None, f"{CANARY}-wrong"], ids=["NOAUTH", "WRONGPASS"])
def test_wrong_or_missing_password_is_auth_failed(asker, redis_server, password):
    port = redis_server("--requirepass", "right")
    reading = asker("redis", {"url": f"redis://127.0.0.1:{port}", "password": password})()
    assert (reading.status, reading.reason) == (Status.DOWN, Reason.AUTH_FAILED)


def test_the_documented_account_is_enough(asker, redis_server):
    port = redis_server()
    with redis.Redis(port=port) as client:
        client.execute_command("ACL", "SETUSER", "backwatch", "on", ">pw", "-@all", "+ping", "+info", "+cluster|info")
    reading = asker("redis", {"url": f"redis://backwatch:pw@127.0.0.1:{port}"})()
    assert (reading.status, reading.message) == (Status.UP, "")
    assert "used_memory_bytes" in reading.metrics


def test_an_account_without_info_is_up_and_says_what_is_missing(asker, redis_server):
    port = redis_server()
    with redis.Redis(port=port) as client:
        client.execute_command("ACL", "SETUSER", "little", "on", ">pw", "-@all", "+ping")
    reading = asker("redis", {"url": f"redis://little:pw@127.0.0.1:{port}"})()
    assert reading.status is Status.UP
    assert "info" in reading.message
    assert "ping_s" in reading.metrics


def test_maxclients_is_too_many_connections(asker, redis_server):
    port = redis_server("--maxclients", "1")
    with redis.Redis(port=port) as client:
        client.ping()
        reading = asker("redis", {"url": f"redis://127.0.0.1:{port}"})()
    assert reading.reason is Reason.TOO_MANY_CONNECTIONS


def test_a_replica_whose_master_is_gone_is_degraded(asker, redis_server, closed_port):
    port = redis_server("--replicaof", "127.0.0.1", str(closed_port))
    reading = asker("redis", {"url": f"redis://127.0.0.1:{port}"})()
    assert reading.status is Status.DEGRADED
    assert reading.metrics["replication_link_up"] == 0
    assert "replication_lag_bytes" not in reading.metrics


def test_a_replica_and_its_master(asker, redis_server):
    master = redis_server("--repl-diskless-sync-delay", "0")
    replica = redis_server("--replicaof", "127.0.0.1", str(master))
    ask = asker("redis", {"url": f"redis://127.0.0.1:{replica}"})
    until = time.monotonic() + 20
    while (reading := ask()).metrics["replication_link_up"] != 1 and time.monotonic() < until:
        time.sleep(0.1)
    assert reading.metrics["replication_lag_bytes"] >= 0
    assert asker("redis", {"url": f"redis://127.0.0.1:{master}"})().metrics["replicas"] == 1
    refused = asker("redis", {"url": f"redis://127.0.0.1:{replica}"}, {"role": "master"})()
    assert (refused.status, refused.reason) == (Status.DOWN, Reason.READ_ONLY)


def test_a_cluster_without_slots_is_degraded(asker, redis_server):
    reading = asker("redis", {"url": f"redis://127.0.0.1:{redis_server('--cluster-enabled', 'yes')}"})()
    assert reading.status is Status.DEGRADED
    assert reading.metrics["cluster_ok"] == 0


def test_tls(asker, redis_server, tmp_path, closed_port):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    server = authority.issue_cert("localhost", "127.0.0.1")
    server.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    files = [word for name in ("cert", "key") for word in (f"--tls-{name}-file", str(tmp_path / "server.pem"))]
    redis_server(
        "--tls-port",
        str(closed_port),
        *files,
        "--tls-ca-cert-file",
        str(tmp_path / "ca.pem"),
        "--tls-auth-clients",
        "no",
    )
    url = f"rediss://localhost:{closed_port}"
    good = asker("redis", {"url": url, "ca_file": str(tmp_path / "ca.pem")})()
    assert good.status is Status.UP
    assert good.phases.tls_s > 0
    assert asker("redis", {"url": url})().reason is Reason.TLS_UNTRUSTED
    assert asker("redis", {"url": url, "verify": False})().status is Status.UP


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"-LOADING Redis is loading the dataset in memory\r\n", Reason.LOADING),
        (b"-MASTERDOWN Link with MASTER is down\r\n", Reason.LOADING),
        (b"-MISCONF Redis is configured to save RDB snapshots\r\n", Reason.READ_ONLY),
        (b"-READONLY You can't write against a read only replica.\r\n", Reason.READ_ONLY),
        (b"-NOAUTH Authentication required.\r\n", Reason.AUTH_FAILED),
        (b"-OOM command not allowed when used memory > 'maxmemory'.\r\n", Reason.QUERY_ERROR),
        (b"+HELLO\r\n", Reason.PROTOCOL_ERROR),
        (b"", Reason.PROTOCOL_ERROR),
    ],
    ids=lambda value: value.decode()[:9] if isinstance(value, bytes) else value.value,
)
def test_what_a_server_answers_to_ping_has_its_reason(asker, peer, answer, reason):
    def talk(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_RDWR)

    assert asker("redis", {"url": f"redis://127.0.0.1:{peer(talk)}"})().reason is reason


def test_closed_port_is_refused(asker, closed_port):
    reading = asker("redis", {"url": f"redis://:{CANARY}@127.0.0.1:{closed_port}"})()
    assert (reading.status, reading.reason) == (Status.DOWN, Reason.TCP_REFUSED)


def test_hang_is_deadline(asker, silent_port):
    reading = asker("redis", {"url": f"redis://:{CANARY}@127.0.0.1:{silent_port}"}, timeout_s=0.5)()
    assert reading.reason is Reason.DEADLINE


def test_dripping_peer_is_deadline(asker, dripping_port):
    port = dripping_port(b"$999999\r\n")
    assert asker("redis", {"url": f"redis://127.0.0.1:{port}"}, timeout_s=0.7)().reason is Reason.DEADLINE


def test_web_server_is_protocol_error(asker, http_port):
    assert asker("redis", {"url": f"redis://127.0.0.1:{http_port}"})().reason is Reason.PROTOCOL_ERROR


def test_server_that_greets_first_is_protocol_error(asker, ssh_port):
    reading = asker("redis", {"url": f"redis://127.0.0.1:{ssh_port}"})()
    assert reading.reason is Reason.PROTOCOL_ERROR


def test_unknown_host_is_nxdomain(asker):
    assert asker("redis", {"url": "redis://cache.invalid"})().reason is Reason.DNS_NXDOMAIN


@pytest.mark.parametrize("url", ["http://x", f"redis://:{CANARY}@host:port", f"redis://:{CANARY}@host/name"])
def test_a_bad_url_is_refused_without_repeating_it(asker, url):
    with pytest.raises(ValueError, match=r"the address must|the port must|number of a database") as caught:
        asker("redis", {"url": url})
    assert CANARY not in str(caught.value)
