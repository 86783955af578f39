"""How this machine finds names: its /etc/hosts and /etc/resolv.conf, read again when they change."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

import dns.exception
import dns.name

HOSTS = Path("/etc/hosts")
RESOLV_CONF = Path("/etc/resolv.conf")
_MOST_NDOTS = 15  # as in glibc


@dataclass(frozen=True, slots=True)
class NameService:
    """Name servers as (address, port), the search list, and the names the machine knows by itself."""

    servers: tuple[tuple[str, int], ...] = (("127.0.0.1", 53),)
    search: tuple[str, ...] = ()
    ndots: int = 1
    hosts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def known(self, host: str) -> tuple[str, ...]:
        """Addresses that need no question: from the hosts file, and localhost always (RFC 6761)."""
        name = host.rstrip(".").lower()
        if name in self.hosts:
            return self.hosts[name]
        return ("::1", "127.0.0.1") if name == "localhost" or name.endswith(".localhost") else ()

    def candidates(self, host: str) -> tuple[str, ...]:
        """The absolute names to ask for, in order: resolv.conf's search list and ndots, as resolvers do it."""
        if host.endswith("."):
            return (host,)
        searched = tuple(f"{host}.{domain}" for domain in self.search)
        return (f"{host}.", *searched) if host.count(".") >= self.ndots else (*searched, f"{host}.")


class SystemNameService:
    """The machine's own NameService, reloaded when one of its files has changed."""

    def __init__(self, hosts: Path = HOSTS, resolv_conf: Path = RESOLV_CONF) -> None:
        self._paths = (hosts, resolv_conf)
        self._stamp: tuple[int, ...] = ()
        self._service = NameService()

    def current(self) -> NameService:
        """What is in force now."""
        stamp = tuple(_modified_ns(path) for path in self._paths)
        if stamp != self._stamp:
            self._stamp, self._service = stamp, read_name_service(*self._paths)
        return self._service


def read_name_service(hosts: Path = HOSTS, resolv_conf: Path = RESOLV_CONF) -> NameService:
    """Read both files; what is missing or broken is left at its default.

    Not by `dns.resolver`: importing it brings HTTP/3 along where that is installed, 13 MiB.
    """
    servers: list[tuple[str, int]] = []
    search: tuple[str, ...] = ()
    ndots = 1
    for word, *values in _lines(resolv_conf):
        if word == "nameserver" and _is_address(values[0]):
            servers.append((values[0], 53))
        elif word in {"search", "domain"}:  # the last one counts
            search = tuple(filter(None, map(_absolute, values)))
        elif word == "options":
            for value in values:
                name, _, number = value.partition(":")
                ndots = int(number) if name == "ndots" and number.isdecimal() else ndots
    if not servers:
        return NameService(hosts=read_hosts(hosts))
    return NameService(tuple(servers), search, min(ndots, _MOST_NDOTS) or 1, read_hosts(hosts))


def _lines(resolv_conf: Path) -> Iterator[list[str]]:
    try:
        text = resolv_conf.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and line[0] not in "#;":
            yield words


def _absolute(domain: str) -> str:
    """Without its last dot; empty for the root, and for what is no name."""
    try:
        return dns.name.from_text(domain).to_text(omit_final_dot=True).removesuffix(".")
    except dns.exception.DNSException:
        return ""


def _is_address(text: str) -> bool:
    try:
        ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


def read_hosts(path: Path) -> dict[str, tuple[str, ...]]:
    """Name → addresses in the order of the file; lines that are none are skipped."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for line in lines:
        address, *names = line.partition("#")[0].split() or [""]
        if not _is_address(address):
            continue
        for name in names:
            key = name.rstrip(".").lower()
            found[key] = (*found.get(key, ()), address)
    return found


def _modified_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
