"""Which addresses has a host name, within a deadline and with a reason of its own for each way of failing?"""

import ipaddress
import time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import dns.exception

from probes.probe import Deadline, Failure
from probes.result import Reason

if TYPE_CHECKING:  # up to 13 MiB (it brings HTTP/3 along) that a worker without lookups in threads does not need
    import dns.resolver

HOSTS_FILE = Path("/etc/hosts")


def resolve(host: str, deadline: Deadline, resolver: "dns.resolver.Resolver | None" = None) -> tuple[str, ...]:
    """Addresses of a host name, IPv6 first and interleaved as RFC 8305 asks; an address stands for itself.

    Asks /etc/hosts, then the system's DNS resolvers, with no cache of ours. libc's getaddrinfo is not used because
    a lookup in it can neither be timed out nor cancelled. Raises Failure with a dns_* reason.
    """
    if literal := _literal(host):
        return (literal,)
    if known := _from_hosts_file(host):
        return known
    labels = host.rstrip(".").lower().rsplit(".", 1)
    if labels[-1] == "localhost":  # RFC 6761 6.3: never sent to a resolver
        return ("127.0.0.1", "::1")
    if labels[-1] == "invalid":  # RFC 6761 6.4
        raise Failure(Reason.DNS_NXDOMAIN, f"{host}: no such name")
    return _from_dns(host, deadline, resolver or _system_resolver())


def _literal(host: str) -> str | None:
    try:
        ipaddress.ip_address(host.split("%", 1)[0])
    except ValueError:
        return None
    return host


def _from_hosts_file(host: str) -> tuple[str, ...]:
    wanted = host.rstrip(".").lower()
    try:
        stamp = HOSTS_FILE.stat().st_mtime_ns
    except OSError:
        return ()
    return _hosts(stamp).get(wanted, ())


@lru_cache(maxsize=1)
def _hosts(_stamp: int) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for line in HOSTS_FILE.read_text(errors="replace").splitlines():
        address, *names = line.split("#", 1)[0].split() or [""]
        if _literal(address):
            for name in names:
                found[name.lower()] = (*found.get(name.lower(), ()), address)
    return found


def _system_resolver() -> "dns.resolver.Resolver":
    import dns.resolver

    try:
        return dns.resolver.Resolver()
    except dns.resolver.NoResolverConfiguration as error:
        raise Failure(Reason.SELF_DNS, "this machine has no DNS resolver configured") from error


def _from_dns(host: str, deadline: Deadline, resolver: "dns.resolver.Resolver") -> tuple[str, ...]:
    try:
        answers = resolver.resolve_name(host, lifetime=deadline.remaining_s(), search=True)
    except dns.exception.DNSException as error:
        raise dns_failure(error, host) from error
    addresses = [str(address) for address in answers.addresses()]
    sixes = [address for address in addresses if ":" in address]
    fours = [address for address in addresses if ":" not in address]
    interleaved = [pair[i] for i in range(max(len(sixes), len(fours))) for pair in (sixes, fours) if i < len(pair)]
    return tuple(interleaved)


def dns_failure(error: dns.exception.DNSException, name: str) -> Failure:
    """The Failure that an exception of dnspython stands for."""
    import dns.resolver

    match error:
        case dns.resolver.NXDOMAIN():
            return Failure(Reason.DNS_NXDOMAIN, f"{name}: no such name")
        case dns.resolver.NoAnswer():
            return Failure(Reason.DNS_NXDOMAIN, f"{name}: the name exists but has no such record")
        case dns.exception.Timeout():
            return Failure(Reason.DNS_TIMEOUT, f"{name}: no answer from the resolver")
        case dns.resolver.NoNameservers():
            return Failure(Reason.DNS_SERVFAIL, f"{name}: {_said(error)}")
        case dns.resolver.YXDOMAIN():
            return Failure(Reason.DNS_SERVFAIL, f"{name}: the name grew too long while following DNAME")
        case _:
            return Failure(Reason.DNS_SERVFAIL, f"{name}: {type(error).__name__}")


def _said(error: "dns.resolver.NoNameservers") -> str:
    """What each resolver answered: `SERVFAIL from 10.0.0.2`."""
    told = []
    for attempt in error.kwargs.get("errors", ()):
        server, problem = attempt[0], attempt[3]
        told.append(f"{problem or 'no usable answer'} from {server}")
    return "; ".join(dict.fromkeys(told)) or "no resolver gave a usable answer"


def timed_resolve(host: str, deadline: Deadline) -> tuple[tuple[str, ...], float | None]:
    """Addresses and the seconds it took; None for an address, where there was nothing to ask."""
    if _literal(host):
        return (host,), None
    started = time.monotonic()
    return resolve(host, deadline), time.monotonic() - started
