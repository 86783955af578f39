"""One HTTP POST to a receiver: a checked address, no redirects, no proxy, one total deadline, a small answer."""

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any, cast
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NewConnectionError

from alerts.cutoff import Cutoff
from alerts.notifier import DeliveryError
from probes.guard import blocked, is_public, literal_address

Network = IPv4Network | IPv6Network
_CONNECT_S = 5.0
_ANSWER_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Answer:
    """What the receiver said: its code, the beginning of its body, and how long it wants to be left alone."""

    code: int
    text: str
    retry_after_s: float | None


def post(
    url: str, body: bytes, headers: dict[str, str], *, deadline_s: float, allow: Sequence[Network], ca_file: str | None
) -> Answer:
    """Send once. Raises DeliveryError where no answer came; its text names the host, not the URL: that is a secret."""
    host = urlsplit(url).hostname or ""
    addresses = resolve(host, urlsplit(url).port or 0, allow)
    with Cutoff(deadline_s) as cutoff, requests.Session() as session:
        session.trust_env = False
        adapter = _Pinned(lambda port: _dial(addresses, port, cutoff))
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        try:
            with session.post(
                url, data=body, headers=headers, timeout=(_CONNECT_S, deadline_s), stream=True, allow_redirects=False,
                verify=ca_file or True,
            ) as response:  # fmt: skip
                text = response.raw.read(_ANSWER_BYTES, decode_content=False).decode("utf-8", "replace")
                return Answer(response.status_code, text, _retry_after_s(response.headers.get("Retry-After")))
        except (requests.RequestException, OSError) as error:
            late = f"no answer within {deadline_s:g} s" if cutoff.expired else _cause(error)
            raise DeliveryError(f"{host}: {late}") from error


def resolve(host: str, port: int, allow: Sequence[Network]) -> list[str]:
    """The addresses of a host, all of them checked. Raises DeliveryError for a name without, or a forbidden address.

    An address or `localhost` written in the configuration is meant; a name that leads into a private net must be
    allowed, for names change hands.
    """
    literal = literal_address(host)
    if literal is not None:
        addresses = [literal]
    else:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise DeliveryError(f"{host} has no address: {error.strerror or error}") from error
        addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
    for address in addresses:
        if any(ip_address(address) in net for net in allow):
            continue
        named = literal is not None or host == "localhost"
        if blocked(address) or (not named and not is_public(address)):
            text = f"{host} leads to {address}, which is not public: allow it with `allow_cidr: [{address}]`"
            raise DeliveryError(text, permanent=True)
    return addresses


def _dial(addresses: Sequence[str], port: int, cutoff: Cutoff) -> socket.socket:
    for last, address in enumerate(addresses, start=1):
        try:
            connected = socket.create_connection((address, port), _CONNECT_S)
        except OSError:
            if last == len(addresses) or cutoff.expired:
                raise
            continue
        cutoff.watch(connected)
        connected.settimeout(cutoff.seconds)
        return connected
    raise OSError("no address to connect to")


class _Pinned(HTTPAdapter):
    """An adapter whose connections go where `dial` takes them; host name and certificate are checked as ever."""

    def __init__(self, dial: Callable[[int], socket.socket]) -> None:
        self._dial = dial
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        dial = self._dial

        class Http(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                return _connect(self, dial)

        class Https(HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                return _connect(self, dial)

        class HttpPool(HTTPConnectionPool):
            ConnectionCls = Http

        class HttpsPool(HTTPSConnectionPool):
            ConnectionCls = Https

        super().init_poolmanager(*args, **kwargs)
        manager = cast(PoolManager, self.poolmanager)
        manager.pool_classes_by_scheme = {"http": HttpPool, "https": HttpsPool}


def _connect(connection: HTTPConnection, dial: Callable[[int], socket.socket]) -> socket.socket:
    try:
        return dial(connection.port)
    except OSError as error:
        raise NewConnectionError(connection, error.strerror or str(error)) from error


def _cause(error: BaseException) -> str:
    """The innermost reason, without the URL that the outer texts carry."""
    seen: BaseException | None = error
    while seen is not None:
        reason = getattr(seen, "reason", None) or seen.__cause__ or seen.__context__
        if not isinstance(reason, BaseException):
            break
        seen = reason
    if isinstance(seen, OSError) and seen.strerror:
        return seen.strerror
    return type(seen).__name__


def _retry_after_s(value: str | None) -> float | None:
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())
