"""One request and its answer on one easy handle of libcurl: set-up, bounded reading, and what came of it."""

import ssl
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import pycurl

from probes.certificate import read_certificate
from probes.curl_fault import Trouble
from probes.handle import Handle, Shape
from probes.probe import Certificate, Request
from probes.result import Phases
from probes.transfer import Transfer
from probes.url import Url

if TYPE_CHECKING:
    from probes.engine import Engine

DEFAULT_CURVES = "X25519:P-256:P-384:P-521"
"""One key share instead of two saves 6-14 % CPU a handshake; a server without X25519 picks another from the list."""

_SYSTEM_CA_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_HTTP_VERSIONS = {
    "auto": pycurl.CURL_HTTP_VERSION_2TLS,
    "1.1": pycurl.CURL_HTTP_VERSION_1_1,
    "2": pycurl.CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE,
    "3": pycurl.CURL_HTTP_VERSION_3ONLY,
}
_HTTP_NAMES = {
    pycurl.CURL_HTTP_VERSION_1_0: "1.0",
    pycurl.CURL_HTTP_VERSION_1_1: "1.1",
    pycurl.CURL_HTTP_VERSION_2_0: "2",
    pycurl.CURL_HTTP_VERSION_3: "3",
}
_FAMILIES = {"any": pycurl.IPRESOLVE_WHATEVER, "ipv4": pycurl.IPRESOLVE_V4, "ipv6": pycurl.IPRESOLVE_V6}
_AUTH = {"basic": pycurl.HTTPAUTH_BASIC, "digest": pycurl.HTTPAUTH_DIGEST}
_NAMELOOKUP, _CONNECT, _APPCONNECT = pycurl.NAMELOOKUP_TIME_T, pycurl.CONNECT_TIME_T, pycurl.APPCONNECT_TIME_T
_PRETRANSFER, _STARTTRANSFER, _TOTAL = pycurl.PRETRANSFER_TIME_T, pycurl.STARTTRANSFER_TIME_T, pycurl.TOTAL_TIME_T
_NONE: dict[str, str] = {}
_PROTOCOLS = pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS


@cache
def system_ca_file() -> str:
    """The machine's bundle of trusted authorities, else the one of certifi."""
    named = ssl.get_default_verify_paths().cafile
    for path in filter(None, (named, *_SYSTEM_CA_FILES)):
        if Path(path).is_file():
            return path
    import certifi

    return certifi.where()


@cache
def user_agent() -> str:
    """How we introduce ourselves."""
    try:
        return f"Backwatch/{version('backwatch')}"
    except PackageNotFoundError:
        return "Backwatch"


class CurlTransfer(Transfer):
    """One exchange on an easy handle from the engine's pool. Used once."""

    __slots__ = ("_engine", "curl", "handle")

    def __init__(self, engine: "Engine", handle: Handle, request: Request, url: Url, timeout_s: float) -> None:
        super().__init__(request, url, timeout_s)
        self._engine, self.handle, self.curl = engine, handle, handle.curl

    def prepare(
        self, shape: Shape | None, resolved: str | None, connect_to: str | None, certificate: bool = True
    ) -> None:
        """Set every option that does not stand already. `resolved` pins the name ("host:port:address,…").

        `certificate`: have libcurl keep what the server shows. It prints the whole chain for that, a tenth of what
        a TLS connection costs us.
        """
        handle = self.handle
        if shape is None or handle.shape != shape:
            self._prepare_anew(connect_to, certificate)
            handle.shape = shape
        handle.ready(self.url.text, self.timeout_s, resolved)

    def _prepare_anew(self, connect_to: str | None, certificate: bool) -> None:
        curl, request, url = self.curl, self._request, self.url
        self.handle.reset()
        self.handle.collect(request.max_body_bytes)
        curl.setopt(pycurl.PROTOCOLS, _PROTOCOLS)
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.PROXY, request.proxy or "")  # empty: whatever http_proxy says
        curl.setopt(pycurl.FRESH_CONNECT, 1)
        curl.setopt(pycurl.FORBID_REUSE, 1)
        curl.setopt(pycurl.USERAGENT, user_agent())
        if connect_to is not None:
            curl.setopt(pycurl.CONNECT_TO, [f"::{connect_to}"])
        if request.unix_socket is not None:
            curl.setopt(pycurl.UNIX_SOCKET_PATH, request.unix_socket)
        if request.family != "any":
            curl.setopt(pycurl.IPRESOLVE, _FAMILIES[request.family])
        self._prepare_request()
        if url.is_tls or (request.proxy or "").startswith("https:"):
            self._prepare_tls()
            curl.setopt(pycurl.OPT_CERTINFO, 1 if certificate else 0)

    def listen(self) -> None:
        """Note while the handshake runs whether the server asks for a client certificate."""
        self.curl.setopt(pycurl.DEBUGFUNCTION, self._hear)
        self.curl.setopt(pycurl.VERBOSE, 1)

    def _hear(self, kind: int, text: bytes) -> None:
        if kind == pycurl.INFOTYPE_TEXT and b"(IN), TLS handshake, Request CERT" in text:
            self.asked_for_certificate = True

    def _prepare_request(self) -> None:
        curl, request = self.curl, self._request
        headers = [f"{name}: {value}" if value else f"{name};" for name, value in request.headers]
        given = {name.lower(): value for name, value in request.headers} if headers else _NONE
        curl.setopt(pycurl.ACCEPT_ENCODING, given.get("accept-encoding", "gzip"))
        curl.setopt(pycurl.HTTP_VERSION, self._http_version())
        if request.auth == "bearer" and "authorization" not in given:
            headers.append(f"Authorization: Bearer {request.password or ''}")
        if request.method == "HEAD":
            curl.setopt(pycurl.NOBODY, 1)
        elif request.body is not None:
            curl.setopt(pycurl.POSTFIELDS, request.body)
            headers.append("Expect:")
            if "content-type" not in given:
                headers.append("Content-Type:")
        if request.method not in ("GET", "HEAD") or request.body is not None:
            curl.setopt(pycurl.CUSTOMREQUEST, request.method)
        if headers:
            curl.setopt(pycurl.HTTPHEADER, headers)
        self._prepare_auth()

    def _prepare_auth(self) -> None:
        curl, request, url = self.curl, self._request, self.url
        if request.auth == "bearer":
            return
        username = request.username if request.username is not None else url.username
        password = request.password if request.username is not None else url.password
        if username is not None:
            curl.setopt(pycurl.HTTPAUTH, _AUTH.get(request.auth, pycurl.HTTPAUTH_BASIC))
            curl.setopt(pycurl.USERNAME, username)
            curl.setopt(pycurl.PASSWORD, password or "")

    def _http_version(self) -> int:
        return int(_HTTP_VERSIONS[self._request.http_version])

    def _prepare_tls(self) -> None:
        curl, request = self.curl, self._request
        curl.setopt(pycurl.CAINFO, request.ca_file or system_ca_file())
        curl.setopt(pycurl.SSL_VERIFYPEER, 1 if request.verify else 0)
        curl.setopt(pycurl.SSL_VERIFYHOST, 2 if request.verify else 0)
        curl.setopt(pycurl.SSL_SESSIONID_CACHE, 0)  # FRESH_CONNECT alone does not stop session reuse
        curl.setopt(pycurl.SSL_EC_CURVES, DEFAULT_CURVES)
        if request.ocsp_staple:
            curl.setopt(pycurl.SSL_VERIFYSTATUS, 1)
        if request.client_cert_file:
            curl.setopt(pycurl.SSLCERT, request.client_cert_file)
            if request.client_key_file:
                curl.setopt(pycurl.SSLKEY, request.client_key_file)

    @property
    def body(self) -> bytes:
        """The decoded body so far."""
        return self.handle.body

    @property
    def lines(self) -> Sequence[bytes]:
        """The header lines so far."""
        return self.handle.lines

    def address(self) -> str | None:
        """The peer's address."""
        return self.curl.getinfo(pycurl.PRIMARY_IP) or None

    def phases(self) -> tuple[Phases, float]:
        """By libcurl's clock."""
        return phases_of(self.curl, None, self.answered)

    def certificate(self) -> Certificate | None:
        """See `certificate_of`."""
        return certificate_of(self.curl)

    def http_version(self) -> str | None:
        """The version the server answered with."""
        return http_version_of(self.curl)

    def late_s(self, end_s: float) -> float:
        """libcurl looks at its clock first: sockets that have news in that same turn came too late to be read."""
        return self._engine.loop.time() - end_s if self._engine.has_ready else 0.0

    def release(self, ended_well: bool) -> None:
        """Give the handle back."""
        self._engine.give_back(self.handle, ended_well)

    def _status(self) -> int | None:
        return self.curl.getinfo(pycurl.RESPONSE_CODE) or None

    def _body_is_too_big(self) -> bool:
        return self.handle.too_big

    def _trouble(self, code: int, text: str, where: str, late_s: float) -> Trouble:
        """What libcurl knows about the failed transfer."""
        get = self.curl.getinfo
        return Trouble(
            code=code,
            text=text,
            os_errno=get(pycurl.OS_ERRNO),
            verify_result=get(pycurl.SSL_VERIFYRESULT),
            is_tls=self.url.is_tls,
            connected=get(pycurl.CONNECT_TIME_T) > 0,
            secured=get(pycurl.APPCONNECT_TIME_T) > 0,
            answered=self.answered,
            where=where,
            timeout_s=self.timeout_s,
            received_bytes=self.handle.received_bytes,
            late_s=late_s,
        )


def phases_of(curl: pycurl.Curl, dns_s: float | None, answered: bool) -> tuple[Phases, float]:
    """The steps of a transfer by libcurl's clock, and its total without the lookup, in seconds."""
    get = curl.getinfo
    looked, connected, secured = get(_NAMELOOKUP), get(_CONNECT), get(_APPCONNECT)
    sent, first, total = get(_PRETRANSFER), get(_STARTTRANSFER), get(_TOTAL)
    phases = Phases(
        dns_s,
        (connected - looked) / 1e6 if connected >= looked and connected > 0 else None,
        (secured - connected) / 1e6 if secured >= connected and secured > 0 else None,
        (first - sent) / 1e6 if answered and first >= sent and first > 0 else None,
        (total - first) / 1e6 if answered and total >= first and total > 0 else None,
    )
    return phases, total / 1e6


def certificate_of(curl: pycurl.Curl) -> Certificate | None:
    """The leaf the server showed, even to a handshake that failed; None without TLS."""
    for chain in curl.getinfo_raw(pycurl.INFO_CERTINFO)[:1]:
        for name, value in chain:
            if name == b"Cert":
                return read_certificate(value)
    return None


def http_version_of(curl: pycurl.Curl) -> str | None:
    """The version the server answered with."""
    return _HTTP_NAMES.get(curl.getinfo(pycurl.INFO_HTTP_VERSION))
