"""Where is a target, as users write it: a URL, or a host and a port?"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Annotated, ClassVar, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import AfterValidator, ConfigDict, Field, SecretStr, field_validator, model_validator

from probes.counters import MIN_OPERATIONS, WINDOW_S
from probes.dial import place
from probes.duration import Duration
from probes.probe import Options
from probes.redact import clean


@dataclass(frozen=True, slots=True)
class Address:
    """The parts of a URL, decoded. `password` never appears in repr."""

    scheme: str
    host: str
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    path: str = ""
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """`host:port` for people."""
        return place(self.host, self.port)


def parse_address(text: str, ports: Mapping[str, int | None]) -> Address:
    """A URL with one of the schemes that are the keys of `ports`; its value is the port where the URL names none.

    A driver's name as SQLAlchemy writes it (`postgresql+psycopg`) is passed over. Raises ValueError with words that
    never repeat the URL, because it may hold a password.
    """
    wanted = " or ".join(f"{scheme}://" for scheme in ports)
    parts = urlsplit(text.strip())
    scheme = parts.scheme.split("+", 1)[0]
    if scheme not in ports:
        raise ValueError(f"the address must begin with {wanted}")
    try:
        port = parts.port or ports[scheme]
    except ValueError:
        raise ValueError("the port must be from 1 to 65535; write / : @ in a password as %2F %3A %40") from None
    if not port:
        raise ValueError("the address must end in a port, as in host:5432")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    if not parts.hostname and not query.get("host"):
        raise ValueError("the address names no host")
    return Address(
        scheme=scheme,
        host=parts.hostname or "",
        port=port,
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        path=unquote(parts.path.strip("/")),
        query=query,
    )


def safe(text: str, password: str | None) -> str:
    """Text from a target or driver made fit for a message: control characters gone, cut, the password masked."""
    return clean(text.replace(password, "***") if password else text)


def _plain(addresses: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(str(ip_address(address)) for address in addresses)


NamedAddresses = Annotated[tuple[str, ...], AfterValidator(_plain)]
"""Metadata or link-local addresses that a check may connect to all the same, each named exactly (see `guard`)."""


class Counted(Options):
    """Options of a kind that makes ratios of the server's counters."""

    window: Duration = Field(WINDOW_S, ge=10, le=3600, description="Time over which ratios are counted")
    min_operations: int = Field(
        MIN_OPERATIONS, ge=1, description="Fewer operations than this within the window give no ratio"
    )


class Account(Options):
    """Options of a kind that logs in to a server; `url` says where and as whom."""

    model_config = ConfigDict(hide_input_in_errors=True)  # the url may hold a password
    schemes: ClassVar[Mapping[str, int]] = {}

    url: SecretStr
    password: SecretStr | None = Field(None, description="The password, where it does not stand in the url")

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: SecretStr) -> SecretStr:
        parse_address(url.get_secret_value(), cls.schemes)
        return url

    def where(self) -> Address:
        """The address, with the password."""
        where = parse_address(self.url.get_secret_value(), self.schemes)
        return replace(where, password=self.password.get_secret_value()) if self.password else where


class Endpoint(Options):
    """Options of a kind that needs no more than a host and a port."""

    ports: ClassVar[Mapping[str, int | None]] = {}

    url: str | None = Field(None, description="Where to connect, as in `tcp://host:port` or just `host:port`")
    host: str | None = Field(None, description="Host name or address, instead of `url`")
    port: int | None = Field(None, ge=1, le=65535, description="Port, with `host`")
    allow_addresses: NamedAddresses = Field(
        (), description="Metadata or link-local addresses that may be connected to all the same, each named exactly"
    )

    @model_validator(mode="after")
    def _is_one_place(self) -> Self:
        if (self.url is None) == (self.host is None):
            raise ValueError("write either url or host")
        if self.url is not None and self.port is not None:
            raise ValueError("the port belongs into the url")
        self.where()
        return self

    def where(self) -> Address:
        """The address. Raises ValueError with words for users."""
        scheme = next(iter(self.ports))
        if self.url is not None:
            return parse_address(self.url if "://" in self.url else f"{scheme}://{self.url}", self.ports)
        port = self.port or self.ports[scheme]
        if not port:
            raise ValueError("host needs a port beside it")
        return Address(scheme, self.host or "", port)
