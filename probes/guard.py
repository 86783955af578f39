"""Which addresses may be connected to? Never clouds' metadata services and link-local ones, the rest by who asks.

The configuration file may name private addresses, a monitor must reach them; credentials of the machine itself are
never a target, unless that very address is allowed by name (security.md). What others can steer (a receiver's name)
may lead to public addresses only. Addresses that carry another one inside (mapped, 6to4, Teredo, NAT64) are unwrapped.
"""

import socket
from collections.abc import Collection, Iterable, Iterator
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
        "fd00:c1::a9fe:a9fe/128",  # Oracle
        "fd20:ce::254/128",  # GCP
    )
)
# `ipaddress` alone gets several of these wrong (security.md, "block list detail").
_NOT_PUBLIC = tuple(
    ip_network(net)
    for net in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.0.0.0/24", "192.168.0.0/16",
        "198.18.0.0/15", "224.0.0.0/3", "::/128", "::1/128", "fc00::/7", "ff00::/8", "64:ff9b::/96", "2002::/16",
        "::ffff:0:0/96", "2001::/32",
    )
)  # fmt: skip


@lru_cache(maxsize=16384)
def blocked(address: str) -> bool:
    """Whether an address, however it is wrapped, must not be connected to. Raises ValueError for what is none."""
    return any(inner in net for inner in _unwrap(_read(address)) for net in _NEVER)


@lru_cache(maxsize=16384)
def is_public(address: str) -> bool:
    """Whether an address belongs to the public internet, and nothing inside it to another net. Raises ValueError."""
    return not any(inner in net for inner in _unwrap(_read(address)) for net in (*_NEVER, *_NOT_PUBLIC))


def check_addresses(host: str, addresses: Iterable[str], allowed: Collection[str] = ()) -> None:
    """Raise Failure(ssrf_blocked) if any address of a host is blocked: one bad answer among good ones is an attack.

    `allowed` are addresses the user has named one by one; each stands for itself only, in no other wrapping.
    """
    for address in addresses:
        if blocked(address) and not (allowed and str(_read(address)) in allowed):
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


def _read(address: str) -> IPv4Address | IPv6Address:
    return ip_address(address.partition("%")[0])


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
