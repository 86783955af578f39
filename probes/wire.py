"""What goes over a connection of our own, and to where: the requests that need nothing but HTTP/1.1 and one address.

All else (proxies, credentials, bodies, HTTP/2 and 3, a choice of addresses, the first look at a certificate) is
libcurl's.
"""

import socket
from functools import lru_cache
from typing import NamedTuple

from probes.curl_transfer import user_agent
from probes.probe import Request
from probes.url import Url

_FRAMING = frozenset({"connection", "content-length", "expect", "te", "trailer", "transfer-encoding", "upgrade"})
"""Who sets these wants something of the connection."""


class Wire(NamedTuple):
    """One for all requests that differ in path and query alone: thousands of checks share it."""

    family: int
    address: tuple[str, int]
    """Of the peer, as the socket module takes it."""
    method: bytes
    """With the space after it."""
    rest: bytes
    """The request after path and query: version and header fields."""
    is_head: bool


def wire_of(request: Request, url: Url, addresses: tuple[str, ...]) -> Wire | None:
    """The wire of a request; None where libcurl has to ask."""
    if request.shape is None or url.username is not None or len(addresses) != 1:
        return None
    if url.is_tls and (request.ocsp_staple or not request.verify):
        return None
    if request.http_version not in ("auto", "1.1") or "/." in url.rest or "%" in addresses[0]:
        return None  # libcurl knows dots in a path, and the scopes of addresses
    return _wire(request.method, request.headers, url.authority, addresses[0], url.port)


@lru_cache(maxsize=1024)
def _wire(method: str, headers: tuple[tuple[str, str], ...], authority: str, address: str, port: int) -> Wire | None:
    given = {name.lower(): value for name, value in headers}
    if _FRAMING & given.keys() or given.get("accept-encoding", "gzip") != "gzip":
        return None
    ours = [("Host", given.get("host", authority))]
    ours += [
        (name, text) for name, text in (("User-Agent", user_agent()), ("Accept", "*/*")) if name.lower() not in given
    ]
    ours += [] if "accept-encoding" in given else [("Accept-Encoding", "gzip")]
    others = [(name, value) for name, value in headers if name.lower() != "host"]
    fields = "".join(f"{name}: {value}\r\n" if value else f"{name}:\r\n" for name, value in (*ours, *others))
    if not fields.isascii() or not method.isascii():
        return None
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    rest = f" HTTP/1.1\r\n{fields}\r\n".encode()
    return Wire(family, (address, port), f"{method} ".encode(), rest, method == "HEAD")
