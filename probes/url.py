"""A URL taken apart once and put together by ourselves, so that nobody downstream can read it differently."""

import re
import sys
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import quote, unquote, urljoin, urlsplit

import idna

from probes.guard import literal_address

_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?\.?", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Python's own words repeat a part of the URL, which may be one of a password.
_NO_HOST = "no host can be read from the URL"
_NO_PORT = "the port must be from 1 to 65535; write / : @ in a password as %2F %3A %40"
_KEPT = "%/:?@!$&'()*+,;=~-._|^`{}[]\"<>"


class UrlError(ValueError):
    """What is wrong with a URL, for people."""


@dataclass(frozen=True, slots=True)
class Url:
    """Scheme http or https; the host in ASCII (punycode) or an address without brackets; `rest` is path and query."""

    scheme: str
    host: str
    port: int
    rest: str
    username: str | None = None
    password: str | None = None
    text: str = field(init=False, repr=False, compare=False)
    """The URL without credentials: `str(url)`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", f"{self.scheme}://{self.authority}{self.rest}")

    @property
    def origin(self) -> tuple[str, str, int]:
        """Where credentials may go."""
        return (self.scheme, self.host, self.port)

    @property
    def is_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """Host and port as they stand in a URL, the scheme's own port left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        """The URL without credentials."""
        return self.text

    def join(self, location: str) -> "Url":
        """Where a redirect leads. Raises UrlError."""
        return read_url(urljoin(str(self), location.strip()))


@lru_cache(maxsize=16384)
def read_url(text: str) -> Url:
    """Take a URL apart. Raises UrlError for anything but http(s) with a valid host and port."""
    if any(ord(char) < 0x20 or char in "\x7f\\" for char in text):
        raise UrlError("control characters or a backslash in the URL")
    try:
        parts = urlsplit(text.strip())
        scheme, host = parts.scheme.lower(), parts.hostname or ""
    except ValueError:
        raise UrlError(_NO_HOST) from None
    try:
        port = parts.port
    except ValueError:
        raise UrlError(_NO_PORT) from None
    if scheme not in _PORTS:
        raise UrlError(f"scheme {scheme or '(none)'} instead of http or https")
    username, password = _decoded(parts.username), _decoded(parts.password)
    path = quote(parts.path or "/", safe=_KEPT)
    query = f"?{quote(parts.query, safe=_KEPT)}" if parts.query else ""
    # Thousands of checks ask few hosts, and say the URL as it is sent: one text for all of them.
    url = Url(
        sys.intern(scheme), sys.intern(ascii_host(host)), port or _PORTS[scheme], path + query, username, password
    )
    if url.text == text:
        object.__setattr__(url, "text", text)
    return url


def _decoded(text: str | None) -> str | None:
    decoded = None if text is None else unquote(text)
    if decoded is not None and _CONTROL.search(decoded):
        raise UrlError("control characters in the user name or password")
    return decoded


def ascii_host(host: str) -> str:
    """A host as DNS is asked for it: an address in its plain form, a name in lower-case punycode. Raises UrlError."""
    if not host:
        raise UrlError("no host in the URL")
    address = literal_address(host)
    if address is not None:
        return address
    name = host.lower()
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode()
        except idna.IDNAError as error:
            raise UrlError(f"host {host!r} is no valid international name: {error}") from None
        if (address := literal_address(name)) is not None:
            return address
    if not _HOST.fullmatch(name) or len(name) > 254:
        raise UrlError(f"host {host!r} is not a valid name")
    return name


def split_authority(text: str, default_port: int) -> tuple[str, int]:
    """`host`, `host:port`, `[v6]:port` → host and port. Raises UrlError."""
    url = read_url(f"http://{text}")
    explicit = text.rpartition(":")[2].isdigit() and not text.endswith("]")
    return url.host, url.port if explicit else default_port
