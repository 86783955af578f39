"""Packed bodies: undone where we can, bombs cut off before they cost memory."""

import gzip
import resource
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import brotli
import pytest

from probes.probe import Reading
from probes.result import Reason, Status

Asking = Callable[..., Reading]


def url_of(port: int, path: str = "/") -> str:
    return f"http://127.0.0.1:{port}{path}"


def gzip_of_zeros(size: int) -> Iterator[bytes]:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    piece = bytes(1 << 20)
    for _ in range(size >> 20):
        yield packer.compress(piece)
    yield packer.flush()


def test_gzip_bomb_is_too_big_and_memory_stays_flat(servers: Any, answering: Any, ask: Asking) -> None:
    bomb = b"".join(gzip_of_zeros(300 << 20))
    port = servers.start(answering(bomb, headers="Content-Encoding: gzip\r\n"))
    ask(url_of(port))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(3):
        assert ask(url_of(port)).reason is Reason.BODY_TOO_BIG
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


def test_gzip_inside_gzip_is_bounded_too(servers: Any, answering: Any, ask: Asking) -> None:
    bomb = gzip.compress(b"".join(gzip_of_zeros(64 << 20)))
    port = servers.start(answering(bomb, headers="Content-Encoding: gzip, gzip\r\n"))
    assert ask(url_of(port)).reason in (Reason.BODY_TOO_BIG, Reason.DECODE_ERROR)


def test_broken_gzip_is_a_decode_error(servers: Any, answering: Any, ask: Asking) -> None:
    port = servers.start(answering(b"this is not gzip at all", headers="Content-Encoding: gzip\r\n"))
    assert ask(url_of(port)).reason is Reason.DECODE_ERROR


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("br", lambda data: brotli.compress(data, quality=5)),
        ("gzip, br", lambda data: brotli.compress(gzip.compress(data))),
        ("deflate", lambda data: zlib.compress(data, 9)),
    ],
    ids=["br", "gzip in br", "deflate"],
)
def test_bomb_of_any_encoding_is_too_big_and_memory_stays_flat(
    servers: Any, answering: Any, ask: Asking, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    port = servers.start(answering(pack(bytes(100 << 20)), headers=f"Content-Encoding: {encoding}\r\n"))
    ask(url_of(port))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(3):
        assert ask(url_of(port)).reason is Reason.BODY_TOO_BIG
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


@pytest.mark.parametrize("encoding", ["gzip, " * 9 + "gzip", "zstd", "klingon"], ids=["ten times", "zstd", "unknown"])
def test_encoding_that_is_not_undone_is_a_decode_error(
    servers: Any, answering: Any, ask: Asking, encoding: str
) -> None:
    port = servers.start(answering(b"x" * 100, headers=f"Content-Encoding: {encoding}\r\n"))
    assert ask(url_of(port)).reason is Reason.DECODE_ERROR


def test_encodings_are_undone_and_size_is_the_body_s(servers: Any, answering: Any, ask: Asking) -> None:
    for encoding, packed in (("gzip", gzip.compress(b"hello")), ("br", brotli.compress(b"hello"))):
        port = servers.start(answering(packed, headers=f"Content-Encoding: {encoding}\r\n"))
        reading = ask(url_of(port), expect={"body": {"contains": "hello"}})
        assert (reading.status, reading.metrics["size_bytes"]) == (Status.UP, 5)
