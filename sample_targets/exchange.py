"""One HTTP exchange as plain values: what was asked, what was answered, and both over the wire as client or server."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

MAX_BODY_BYTES = 1024 * 1024
MAX_HEAD_BYTES = 64 * 1024
# RFC 9110 7.6.1: these concern one connection and are not passed on.
HOP_BY_HOP = frozenset(
    {"connection", "expect", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "proxy-connection"}
)
NO_BODY_STATUS = frozenset({204, 304})

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[str, str]]


class UpstreamError(Exception):
    """An upstream could not be asked; the text says what happened."""


class UpstreamRefused(UpstreamError):
    """An upstream took no connection, so it cannot have done anything: any request may be tried elsewhere."""


class UpstreamTimeout(UpstreamError):
    """An upstream took the request and did not answer in time."""


class BodyTooBig(ValueError):
    """A request body beyond what the shop takes."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked."""

    method: str
    target: str
    headers: Headers = field(default_factory=list)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    """What a server answered."""

    status: int
    headers: Headers = field(default_factory=list)
    body: bytes = b""


async def receive_request(scope: Message, receive: Receive) -> Request:
    """The whole request of an ASGI scope, without its hop-by-hop headers. Raises BodyTooBig."""
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_BODY_BYTES:
            raise BodyTooBig
    raw_headers = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
    headers = [(name, value) for name, value in raw_headers if name not in HOP_BY_HOP]
    target = scope.get("raw_path", scope["path"].encode()).decode("latin-1")
    query = scope["query_string"].decode("latin-1")
    return Request(scope["method"], f"{target}?{query}" if query else target, headers, body)


async def send_response(send: Send, response: Response) -> None:
    """Answer an ASGI request."""
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


async def fetch(port: int, request: Request, timeout_s: float, host: str = "127.0.0.1") -> Response:
    """Ask an upstream on a fresh connection, within one total deadline. Raises UpstreamError or UpstreamTimeout."""
    try:
        async with asyncio.timeout(timeout_s):
            return await _converse(host, port, request)
    except TimeoutError:
        raise UpstreamTimeout(f"no answer within {timeout_s:g} s") from None
    except ConnectionRefusedError:
        raise UpstreamRefused("connection refused") from None
    except asyncio.IncompleteReadError:
        raise UpstreamError("connection closed in the middle of an answer") from None
    except (OSError, ValueError, asyncio.LimitOverrunError) as error:
        raise UpstreamError(str(error) or type(error).__name__) from error


async def _converse(host: str, port: int, request: Request) -> Response:
    reader, writer = await asyncio.open_connection(host, port, limit=MAX_HEAD_BYTES)
    try:
        writer.write(_encode_request(request))
        await writer.drain()
        return await _read_response(reader, request.method)
    finally:
        writer.close()


def _encode_request(request: Request) -> bytes:
    kept = [(name, value) for name, value in request.headers if name.lower() not in ("content-length", "connection")]
    names = {name.lower() for name, _ in kept}
    extra = [("connection", "close")] + ([("host", "shop")] if "host" not in names else [])
    if request.body or request.method in ("POST", "PUT", "PATCH"):
        extra.append(("content-length", str(len(request.body))))
    lines = [f"{request.method} {request.target} HTTP/1.1", *(f"{name}: {value}" for name, value in kept + extra)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + request.body


async def _read_response(reader: asyncio.StreamReader, method: str) -> Response:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
    status = int(first.split(" ", 2)[1])
    pairs = (line.split(":", 1) for line in lines)
    headers = [(name.strip().lower(), value.strip()) for name, value in pairs]
    known = dict(headers)
    if method == "HEAD" or status in NO_BODY_STATUS:
        body = b""
    elif "content-length" in known:
        body = await reader.readexactly(int(known["content-length"]))
    elif "transfer-encoding" in known:
        raise ValueError("chunked answers are not used inside the shop")
    else:
        body = await reader.read()
    # Whoever passes the answer on dates it anew.
    kept = [(name, value) for name, value in headers if name not in HOP_BY_HOP and name != "date"]
    return Response(status, kept, body)
