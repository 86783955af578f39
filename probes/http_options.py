"""What a user says about an HTTP request: the options that every HTTP-shaped kind shares."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from probes.address import NamedAddresses
from probes.probe import Options, Request
from probes.url import Url, UrlError, read_url, split_authority

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_PROXIES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")


def _check_url(text: str) -> str:
    _read(text)
    return text


def _check_headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a valid header name")
        if not _VALUE.fullmatch(value):
            raise ValueError(f"the value of header {name} contains control characters")
    return headers


def _check_plain(value: str | None) -> str | None:
    if value is not None and not _VALUE.fullmatch(value):
        raise ValueError("control characters are not allowed here (a line break at its end?)")
    return value


def _check_secret(value: SecretStr | None) -> SecretStr | None:
    if value is not None:
        _check_plain(value.get_secret_value())
    return value


def _check_proxy(text: str | None) -> str | None:
    """The port must be there: libcurl's own default (1080) is not what the address check would look at."""
    if text is None:
        return None
    scheme, colon, rest = text.rpartition("://")
    if colon and scheme not in _PROXIES:
        raise ValueError(f"a proxy begins with one of {', '.join(_PROXIES)}")
    url = _read(f"http://{rest}")
    if not re.search(r":[0-9]+/?$", rest) or url.rest != "/":
        raise ValueError("a proxy is written as http://host:port")
    return text


def _check_authority(text: str | None) -> str | None:
    if text is not None:
        if "/" in text or "@" in text:
            raise ValueError("write address:port")
        try:
            split_authority(text, 80)
        except UrlError as error:
            raise ValueError(str(error)) from None
    return text


def _read(text: str) -> Url:
    try:
        return read_url(text)
    except UrlError as error:
        raise ValueError(str(error)) from None


def _check_file(path: str) -> str:
    if not Path(path).is_file():
        raise ValueError(f"there is no file {path}")
    return path


HttpUrl = Annotated[str, AfterValidator(_check_url)]
Headers = Annotated[dict[str, str], AfterValidator(_check_headers)]
File = Annotated[str, AfterValidator(_check_file)]
Plain = Annotated[str | None, AfterValidator(_check_plain)]
Secret = Annotated[SecretStr | None, AfterValidator(_check_secret)]
Proxy = Annotated[str | None, AfterValidator(_check_proxy)]
Authority = Annotated[str | None, AfterValidator(_check_authority)]


class Auth(BaseModel):
    """Credentials for a request."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    scheme: Literal["basic", "digest", "bearer"] = Field("basic", description="how they are sent")
    username: Plain = Field(None, description="for basic and digest")
    password: Secret = Field(None, description="for basic and digest")
    token: Secret = Field(None, description="for bearer")

    @model_validator(mode="after")
    def _fits_scheme(self) -> "Auth":
        if self.scheme == "bearer" and self.token is None:
            raise ValueError("scheme bearer needs a token")
        if self.scheme != "bearer" and (self.username is None or self.password is None):
            raise ValueError(f"scheme {self.scheme} needs username and password")
        return self


class HttpOptions(Options):
    """How a URL is asked for."""

    url: HttpUrl = Field(description="http or https URL")
    method: str = Field("GET", description="request method", pattern=r"^[A-Z]{1,20}$")
    headers: Headers = Field(default_factory=dict, description="request headers")
    auth: Auth | None = Field(None, description="credentials: scheme basic, digest or bearer")
    ca_file: File | None = Field(None, description="PEM file of the authorities to trust instead of the system's")
    client_cert_file: File | None = Field(None, description="PEM file of a client certificate (mTLS)")
    client_key_file: File | None = Field(None, description="PEM file of its key, where it is not in the same file")
    verify: bool = Field(True, description="false: accept any certificate")
    http_version: Literal["auto", "1.1", "2", "3"] = Field("auto", description="protocol version to insist on")
    family: Literal["any", "ipv4", "ipv6"] = Field("any", description="address family to use")
    proxy: Proxy = Field(
        None, description="http://host:port of an HTTP or SOCKS proxy; the environment's is never used"
    )
    connect_to: Authority = Field(None, description="address:port to connect to instead of the URL's own")
    unix_socket: Plain = Field(None, description="path of a Unix socket to connect to")
    allow_addresses: NamedAddresses = Field(
        (), description="metadata or link-local addresses that may be connected to all the same, each named exactly"
    )
    ocsp_staple: bool = Field(
        False, description="true: the server must staple an OCSP answer that calls its certificate good"
    )
    max_body: int = Field(1 << 20, description="largest body that is read, in bytes", ge=0, le=10 << 20)
    max_redirects: int = Field(5, description="redirects that are followed; 0: the redirect is the answer", ge=0, le=20)

    def request(self, *, body: bytes | None = None, max_redirects: int | None = None) -> Request:
        """The request these options stand for."""
        auth = self.auth
        secret = None if auth is None else auth.token or auth.password
        return Request(
            url=self.url,
            method=self.method,
            headers=tuple(self.headers.items()),
            body=body,
            max_redirects=self.max_redirects if max_redirects is None else max_redirects,
            max_body_bytes=self.max_body,
            http_version=self.http_version,
            family=self.family,
            verify=self.verify,
            ca_file=self.ca_file,
            client_cert_file=self.client_cert_file,
            client_key_file=self.client_key_file,
            username=None if auth is None else auth.username,
            password=None if secret is None else secret.get_secret_value(),
            auth="none" if auth is None else auth.scheme,
            proxy=self.proxy,
            unix_socket=self.unix_socket,
            connect_to=self.connect_to,
            allow_addresses=self.allow_addresses,
            ocsp_staple=self.ocsp_staple,
        )

    @property
    def has_credentials(self) -> bool:
        """Whether a 401 or 403 means that our credentials were refused."""
        named = {name.lower() for name in self.headers}
        return self.auth is not None or "authorization" in named or read_url(self.url).username is not None
