"""The cache server answers as Redis does, to redis-py in both protocols and to raw bytes."""

import asyncio
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import redis

from sample_targets.keyspace import ENTRY_OVERHEAD_BYTES, Keyspace
from sample_targets.resp import ProtocolError, encode, read_command

if TYPE_CHECKING:
    from conftest import RunningShop


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def client(shop: "RunningShop", request: pytest.FixtureRequest) -> Iterator["redis.Redis"]:
    with redis.Redis(port=shop.state["ports"]["cache"], protocol=request.param) as connection:
        yield connection


def test_values_are_set_read_and_deleted(client: "redis.Redis") -> None:
    assert client.ping() is True
    assert client.set("test:a", "1", ex=50) is True
    assert client.get("test:a") == b"1"
    assert 48 <= client.ttl("test:a") <= 50
    assert client.delete("test:a", "test:nothing") == 1
    assert client.get("test:a") is None


def test_info_has_what_a_probe_reads(client: "redis.Redis") -> None:
    info = client.info()
    assert info["redis_version"] == "7.2.4"
    assert len(info["run_id"]) == 40
    assert info["uptime_in_seconds"] >= 0
    assert 0 < info["connected_clients"] < info["maxclients"]
    assert 0 < info["used_memory"] < info["maxmemory"]
    assert info["maxmemory_policy"] == "allkeys-lru"
    assert 0.5 < info["mem_fragmentation_ratio"] < 3
    assert (info["role"], info["loading"], info["rejected_connections"]) == ("master", 0, 0)
    assert info["keyspace_hits"] >= 0
    assert set(client.info("memory")) >= {"used_memory", "maxmemory"}
    assert "run_id" not in client.info("memory")


def test_counters_start_over_after_resetstat(client: "redis.Redis") -> None:
    run_id = client.info("server")["run_id"]
    assert client.config_resetstat() is True
    assert client.info("stats")["total_commands_processed"] < 50
    assert client.info("server")["run_id"] == run_id


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (("NONSENSE",), "unknown command"),
        (("GET",), "wrong number of arguments"),
        (("SET", "test:b", "1", "EX", "soon"), "not an integer"),
        (("SELECT", "5"), "out of range"),
    ],
)
def test_a_wrong_command_is_an_error_and_the_connection_lives_on(
    client: "redis.Redis", command: tuple[str, ...], text: str
) -> None:
    with pytest.raises(redis.ResponseError, match=text):
        client.execute_command(*command)
    assert client.ping() is True


def test_a_peer_that_does_not_speak_resp_is_sent_away(shop: "RunningShop") -> None:
    with socket.create_connection(("127.0.0.1", shop.state["ports"]["cache"]), 5) as connection:
        connection.sendall(b"*1\r\nGET\r\n")
        assert connection.recv(100).startswith(b"-ERR Protocol error")
        assert connection.recv(100) == b""


def test_inline_commands_work(shop: "RunningShop") -> None:
    with socket.create_connection(("127.0.0.1", shop.state["ports"]["cache"]), 5) as connection:
        connection.sendall(b"PING\r\n")
        assert connection.recv(100) == b"+PONG\r\n"


def test_the_least_recently_used_key_goes_first() -> None:
    room_for_two = 2 * (ENTRY_OVERHEAD_BYTES + 2)
    keyspace = Keyspace(base_bytes=0, max_bytes=room_for_two)
    keyspace.set(b"a", b"1")
    keyspace.set(b"b", b"2")
    keyspace.get(b"a")
    keyspace.set(b"c", b"3")
    assert keyspace.names() == [b"a", b"c"]
    assert (keyspace.counters.evicted_keys, keyspace.used_bytes) == (1, room_for_two)


def test_an_ended_key_is_a_miss() -> None:
    keyspace = Keyspace(base_bytes=0, max_bytes=10_000)
    keyspace.set(b"a", b"1", ttl_s=-1)
    assert keyspace.get(b"a") is None
    assert (keyspace.counters.keyspace_misses, keyspace.counters.expired_keys, keyspace.used_bytes) == (1, 1, 0)


@pytest.mark.parametrize(
    ("protocol", "text"),
    [(2, b"*4\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n$-1\r\n"), (3, b"%2\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n_\r\n")],
)
def test_a_map_is_encoded_as_its_protocol_asks(protocol: int, text: bytes) -> None:
    assert encode({"a": 1, "b": None}, protocol) == text


def read(data: bytes) -> list[bytes] | None:
    async def run() -> list[bytes] | None:
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        return await read_command(reader)

    return asyncio.run(run())


def test_commands_are_read() -> None:
    assert read(b"*2\r\n$3\r\nGET\r\n$3\r\na b\r\n") == [b"GET", b"a b"]
    assert read(b"") is None


@pytest.mark.parametrize("data", [b"*x\r\n", b"*99999\r\n", b"*1\r\n+OK\r\n", b"*1\r\n$99999999\r\n"])
def test_what_is_no_command_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        read(data)
