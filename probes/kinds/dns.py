"""Does a name resolve, at which server, to what, and did that change?"""

import time
from hashlib import sha256
from typing import ClassVar, Literal

import dns.exception
import dns.rdatatype
import dns.resolver
from pydantic import Field, field_validator

from probes.guard import check_addresses
from probes.lookup import dns_failure, timed_resolve
from probes.probe import Ask, BlockingProbe, Deadline, Expect, Failure, Metric, Options, Reading, probe
from probes.redact import clean
from probes.result import Phases, Reason
from probes.url import UrlError, ascii_host

RecordType = Literal["A", "AAAA", "CNAME", "MX", "NS", "TXT", "SOA", "CAA", "SRV", "PTR"]


class DnsOptions(Options):
    """What to ask whom."""

    name: str = Field(description="Name to look up", min_length=1, max_length=253)
    type: RecordType = Field("A", description="Record type to ask for")
    server: str | None = Field(
        None, description="Address or name of the DNS server to ask, instead of this machine's own"
    )
    port: int = Field(53, ge=1, le=65535, description="Its port")
    tcp: bool = Field(False, description="Ask over TCP instead of UDP")

    @field_validator("server")
    @classmethod
    def _is_a_host(cls, server: str | None) -> str | None:
        """A URL dnspython would fetch, past our guard."""
        if server is not None:
            try:
                ascii_host(server)
            except UrlError:
                raise ValueError("server must be an address or a name, as 192.0.2.53 or ns.example.org") from None
        return server


class DnsExpect(Expect):
    """What must be answered."""

    answers: tuple[str, ...] = Field((), description="Records that must all be in the answer, as `192.0.2.1`")
    only: bool = Field(False, description="No other records than `answers` may be in the answer")


@probe("dns")
class DnsProbe(BlockingProbe):
    """Asks one DNS question, past every cache of ours, and compares the records with those expected."""

    Options = DnsOptions
    Expect = DnsExpect
    metrics: ClassVar = {
        "records": Metric("Records in the answer", "below"),
        "ttl_s": Metric("Time to live of the answer", "below"),
        "records_changed": Metric("1 when the records are others than at the previous run"),
    }

    options: DnsOptions
    expect: DnsExpect

    def describe(self) -> str:
        """`A of example.org at 192.0.2.53`."""
        return f"{self.options.type} of {self.options.name}" + (
            f" at {self.options.server}" if self.options.server else ""
        )

    def run(self, ask: Ask) -> Reading:
        """Asks once; a server that stays silent is asked again within the deadline, as UDP may lose a packet."""
        resolver = self._resolver(ask.deadline)
        started = time.monotonic()
        try:
            answer = resolver.resolve(
                self.options.name,
                self.options.type,
                tcp=self.options.tcp,
                lifetime=ask.deadline.remaining_s(),
                search=False,
                raise_on_no_answer=True,
            )
        except dns.exception.DNSException as error:
            raise self._failure(error) from error
        took = time.monotonic() - started
        records = frozenset(record.to_text().rstrip(".") or "." for record in answer)
        metrics = {"records": float(len(records)), "ttl_s": float(answer.rrset.ttl if answer.rrset else 0)}
        last = ask.last.carry if ask.last else None
        if isinstance(last, frozenset):
            metrics["records_changed"] = float(last != records)
        phases = Phases(dns_s=took)
        self._check(records, phases, metrics)
        shown = clean(", ".join(sorted(records)), 200)
        return Reading(
            message=shown, duration_s=took, phases=phases, metrics=metrics, carry=records, facts=_facts(records)
        )

    def _resolver(self, deadline: Deadline) -> dns.resolver.Resolver:
        server = self.options.server
        if server is None:
            try:
                return dns.resolver.Resolver()
            except dns.resolver.NoResolverConfiguration as error:
                raise Failure(Reason.SELF_DNS, "this machine has no DNS resolver configured") from error
        resolver = dns.resolver.Resolver(configure=False)
        addresses, _ = timed_resolve(server, deadline)
        check_addresses(server, addresses, (server,))
        resolver.nameservers = list(addresses)
        resolver.port = self.options.port
        return resolver

    def _failure(self, error: dns.exception.DNSException) -> Failure:
        failure = dns_failure(error, f"{self.options.type} of {self.options.name}")
        if isinstance(error, dns.resolver.NoNameservers) and "REFUSED" in failure.message:
            return Failure(Reason.DNS_SERVFAIL, f"{failure.message}: the server does not answer for this name")
        return failure

    def _check(self, records: frozenset[str], phases: Phases, metrics: dict[str, float]) -> None:
        wanted = frozenset(record.rstrip(".").lower() for record in self.expect.answers)
        heard = frozenset(record.lower().strip('"') for record in records)
        missing = wanted - heard
        extra = heard - wanted if self.expect.only and wanted else frozenset()
        if missing or extra:
            parts = [f"missing {', '.join(sorted(missing))}"] if missing else []
            parts += [f"unexpected {', '.join(sorted(extra))}"] if extra else []
            text = clean(f"{self.describe()}: {'; '.join(parts)}")
            raise Failure(Reason.BODY_MISMATCH, text, phases=phases, metrics=metrics, facts=_facts(records))


def _facts(records: frozenset[str]) -> dict[str, str]:
    text = ", ".join(sorted(records))
    # Cut off, two long answers could look the same.
    return {"DNS answer": text if len(text) <= 400 else f"{text[:380]}… {sha256(text.encode()).hexdigest()[:16]}"}
