"""Which addresses a probe may connect to: everything but clouds' metadata services and link-local ones.

The configuration file may name private addresses, a monitor must reach them; credentials of the machine itself are
never a target (security.md). Addresses that carry another one inside (mapped, 6to4, Teredo, NAT64) are unwrapped.
"""

import socket
from collections.abc import Iterable, Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from probes.probe import Failure
from probes.result import Reason

_NAT64 = ip_network("64:ff9b::/96")
_LOCAL_NAT64 = ip_network("64:ff9b:1::/48")
_COMPATIBLE = ip_network("::/96")

_NEVER = tuple(
    ip_network(net)
    for net in (
        "169.254.0.0/16",  # link-local; AWS, GCP, Azure, DigitalOcean, OpenStack metadata
        "168.63.129.16/32",  # Azure's host agent
        "100.100.100.200/32",  # Alibaba
        "192.0.0.192/32",  # Oracle
        "fe80::/10",
        "fd00:ec2::254/128",  # AWS
        "fd20:ce::254/128",  # GCP
    )
)


@lru_cache(maxsize=16384)
def blocked(address: str) -> bool:
    """Whether an address, however it is wrapped, must not be connected to. Raises ValueError for what is none."""
    return any(inner in net for inner in _unwrap(ip_address(address.partition("%")[0])) for net in _NEVER)


def check_addresses(host: str, addresses: Iterable[str]) -> None:
    """Raise Failure(ssrf_blocked) if any address of a host is blocked: one bad answer among good ones is an attack."""
    for address in addresses:
        if blocked(address):
            shown = address if host == address else f"{host} ({address})"
            raise Failure(Reason.SSRF_BLOCKED, f"refused to connect to {shown}: metadata or link-local address")


@lru_cache(maxsize=16384)
def literal_address(host: str) -> str | None:
    """The address that a URL's host spells, in any form a resolver takes (`127.1`, `0x7f000001`); None for a name."""
    bare = host.strip("[]").partition("%")[0].rstrip(".")
    try:
        return str(ip_address(bare))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(bare)) if bare and not bare[0].isspace() else None
    except (OSError, UnicodeEncodeError):
        return None


def _unwrap(address: IPv4Address | IPv6Address) -> Iterator[IPv4Address | IPv6Address]:
    yield address
    if isinstance(address, IPv4Address):
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if address in _NAT64 or address in _LOCAL_NAT64 or address in _COMPATIBLE:
        yield IPv4Address(int(address) & 0xFFFFFFFF)
