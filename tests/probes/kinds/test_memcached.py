import socket
from contextlib import closing

import pytest

from probes.result import Reason, Status


def use(port: int, hits: int, misses: int) -> None:
    with closing(socket.create_connection(("127.0.0.1", port), 5)) as sock, sock.makefile("rb") as answers:
        sock.sendall(
            b"set there 0 0 1\r\nx\r\n" + b"get there\r\n" * hits + b"get not-there\r\n" * misses + b"quit\r\n"
        )
        answers.read()


def test_every_metric(asker, memcached_server):
    ask = asker("memcached", {"host": "127.0.0.1", "port": memcached_server()})
    ask()
    reading = ask()
    assert reading.status is Status.UP
    assert reading.phases.connect_s > 0
    assert reading.metrics.keys() == ask.probe.metrics.keys() - {"hit_ratio"}


@pytest.mark.parametrize("lifetime", [(0, 0), (5, 3000), (3000, 5)], ids=["fresh", "many misses", "many hits"])
def test_800_hits_and_200_misses_between_two_runs_are_080(asker, memcached_server, lifetime):
    port = memcached_server()
    use(port, *lifetime)
    ask = asker("memcached", {"url": f"memcached://127.0.0.1:{port}"})
    assert "hit_ratio" not in ask().metrics
    use(port, 800, 200)
    assert ask().metrics["hit_ratio"] == pytest.approx(0.80)


def test_a_restart_in_between_gives_a_gap(asker, memcached_server):
    port = memcached_server()
    ask = asker("memcached", {"url": f"127.0.0.1:{port}"})
    ask()
    memcached_server(again=port)
    use(port, 800, 200)
    reading = ask()
    assert reading.status is Status.UP
    assert not {"hit_ratio", "evicted_per_s", "commands_per_s"} & reading.metrics.keys()
    use(port, 300, 100)
    assert ask().metrics["hit_ratio"] == pytest.approx(0.75)


def test_stats_reset_in_between_gives_a_gap(asker, memcached_server):
    port = memcached_server()
    use(port, 800, 200)
    ask = asker("memcached", {"url": f"127.0.0.1:{port}"})
    ask()
    with closing(socket.create_connection(("127.0.0.1", port), 5)) as sock:
        sock.sendall(b"stats reset\r\n")
        assert sock.recv(100) == b"RESET\r\n"
    use(port, 200, 100)
    assert "hit_ratio" not in ask().metrics


def test_closed_port_is_refused(asker, closed_port):
    reading = asker("memcached", {"url": f"127.0.0.1:{closed_port}"})()
    assert (reading.status, reading.reason) == (Status.DOWN, Reason.TCP_REFUSED)


def test_hang_is_deadline(asker, silent_port):
    assert asker("memcached", {"url": f"127.0.0.1:{silent_port}"}, timeout_s=0.5)().reason is Reason.DEADLINE


def test_dripping_peer_is_deadline(asker, dripping_port):
    port = dripping_port(b"VERSION 1.6.18 and so on and on")
    assert asker("memcached", {"url": f"127.0.0.1:{port}"}, timeout_s=0.7)().reason is Reason.DEADLINE


@pytest.mark.parametrize("fixture", ["http_port", "ssh_port"])
def test_another_protocol_is_protocol_error(asker, request, fixture):
    port = request.getfixturevalue(fixture)
    assert asker("memcached", {"url": f"127.0.0.1:{port}"})().reason is Reason.PROTOCOL_ERROR


def test_redis_is_protocol_error(asker, redis_server):
    assert asker("memcached", {"url": f"127.0.0.1:{redis_server()}"})().reason is Reason.PROTOCOL_ERROR


@pytest.mark.parametrize(
    "options", [{}, {"host": "a", "url": "b"}, {"url": "http://a"}, {"url": "a:1", "port": 2}, {"url": "a:70000"}]
)
def test_bad_options_are_refused(asker, options):
    with pytest.raises(ValueError, match=r"url|address|port"):
        asker("memcached", options)
