"""The words of RESP, the protocol of Redis: commands read from a stream, replies written as bytes."""

from asyncio import StreamReader
from collections.abc import Mapping, Sequence

MAX_BULK_BYTES = 8 * 1024 * 1024
MAX_ARGUMENTS = 4096


class ProtocolError(ValueError):
    """The peer does not speak RESP."""


class Simple(str):
    """A status such as OK, sent as a simple string."""

    __slots__ = ()


class ErrorReply(Exception):
    """A command that failed; the first word of the text is its code."""


Reply = Simple | ErrorReply | str | bytes | int | None | Sequence["Reply"] | Mapping[str, "Reply"]


async def read_command(reader: StreamReader) -> list[bytes] | None:
    """The next command with its arguments; None at the end of the stream. Raises ProtocolError."""
    line = await _read_line(reader)
    if line is None:
        return None
    if not line.startswith(b"*"):
        return line.split()
    count = _parse_length(line[1:], MAX_ARGUMENTS)
    return [await _read_bulk(reader) for _ in range(count)]


async def _read_line(reader: StreamReader) -> bytes | None:
    try:
        line = await reader.readline()
    except ValueError:
        raise ProtocolError("too big inline request") from None
    return line.rstrip(b"\r\n") if line.endswith(b"\n") else None


async def _read_bulk(reader: StreamReader) -> bytes:
    head = await _read_line(reader)
    if head is None or not head.startswith(b"$"):
        raise ProtocolError("expected '$'")
    size = _parse_length(head[1:], MAX_BULK_BYTES)
    return (await reader.readexactly(size + 2))[:-2]


def _parse_length(text: bytes, limit: int) -> int:
    if not text.isdigit() or int(text) > limit:
        raise ProtocolError("invalid bulk length")
    return int(text)


def encode(reply: Reply, protocol: int = 2) -> bytes:  # noqa: PLR0911 - one for each type of reply
    """A reply as bytes in RESP 2 or 3."""
    match reply:
        case None:
            return b"_\r\n" if protocol == 3 else b"$-1\r\n"
        case Simple():
            return f"+{reply}\r\n".encode()
        case ErrorReply():
            return f"-{reply}\r\n".encode()
        case int():
            return b":%d\r\n" % reply
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(reply), reply)
        case str():
            return encode(reply.encode(), protocol)
        case Mapping():
            pairs = b"".join(encode(key, protocol) + encode(value, protocol) for key, value in reply.items())
            return (b"%%%d\r\n" % len(reply) if protocol == 3 else b"*%d\r\n" % (2 * len(reply))) + pairs
        case _:
            return b"*%d\r\n" % len(reply) + b"".join(encode(item, protocol) for item in reply)
