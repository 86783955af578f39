"""Is a server's certificate valid, for how long still, and what was agreed in the handshake?"""

import select
import ssl
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from probes.address import Address, Endpoint
from probes.dial import dial
from probes.handshake import certificates, shake, tls_failure, trusting, trusting_all
from probes.probe import Ask, BlockingProbe, Certificate, Deadline, Expect, Failure, Metric, Reading, probe
from probes.redact import clean
from probes.result import Phases, Reason, Status

DAY_S = 86400.0
_MIN_VERSIONS = {
    "1.0": ssl.TLSVersion.TLSv1,
    "1.1": ssl.TLSVersion.TLSv1_1,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}
_VERSIONS = {"TLSv1": 1.0, "TLSv1.1": 1.1, "TLSv1.2": 1.2, "TLSv1.3": 1.3}
# A server that wants a client certificate says so only after a TLS 1.3 handshake; its alert, or its session
# tickets, arrive within a round trip.
SETTLE_S = 0.05


class TlsOptions(Endpoint):
    """Where the server is, and which name and authority to hold it to."""

    ports: ClassVar = {"tls": 443, "https": 443}

    server_name: str | None = Field(None, description="Name to ask for (SNI) and verify, where it is not the host")
    ca_file: str | None = Field(None, description="PEM file of the authorities to trust, instead of the system's")
    client_cert_file: str | None = Field(None, description="PEM file of our own certificate, where one is asked for")
    client_key_file: str | None = Field(None, description="PEM file of its key, where it is not in the same file")
    min_version: Literal["1.0", "1.1", "1.2", "1.3"] = Field("1.2", description="Lowest TLS version to accept")
    ocsp_staple: bool = Field(
        False,
        description="true: the server must staple an OCSP answer that calls its certificate good (a second handshake)",
    )


class TlsExpect(Expect):
    """What the certificate must be."""

    fingerprint_sha256: str | None = Field(
        None, pattern=r"^[0-9A-Fa-f:]{64,95}$", description="SHA-256 of the certificate, in hex: any other is down"
    )
    issuer: str | None = Field(None, max_length=200, description="Text that the issuer's name must contain")


@probe("tls")
class TlsProbe(BlockingProbe):
    """Does one verified TLS handshake. The days left are told even for a certificate that was refused."""

    Options = TlsOptions
    Expect = TlsExpect
    metrics: ClassVar = {
        "certificate_days_left": Metric("Days until the server's own certificate expires", "below"),
        "chain_days_left": Metric("Days until the first of all certificates sent expires", "below"),
        "chain_length": Metric("Certificates the server sent"),
        "tls_version": Metric("TLS version agreed: 1.2 or 1.3", "below"),
        "cipher_bits": Metric("Secret bits of the cipher agreed", "below"),
        "certificate_changed": Metric("1 when the certificate is another one than at the previous run"),
    }

    options: TlsOptions
    expect: TlsExpect

    def describe(self) -> str:
        """`TLS handshake with host:port`."""
        return f"TLS handshake with {self.options.where().place}"

    def run(self, ask: Ask) -> Reading:
        """One handshake; a second one to read a certificate that was refused, or to ask for a stapled OCSP answer."""
        where = self.options.where()
        name = self.options.server_name or where.host
        context = self._context()
        line = dial(where.host, where.port, ask.deadline, self.options.allow_addresses)
        try:
            secured, phases = shake(line.sock, context, name, ask.deadline, line.phases)
        except Failure as failure:
            raise self._with_certificate(failure, where, name, ask) from failure
        with secured:
            chain = certificates(secured)
            metrics = _describe(secured, chain, ask)
            try:
                _hear_afterwards(secured, name, phases, metrics, ask.deadline)
            except Failure as failure:
                failure.facts = {"certificate": chain[0].fact}
                raise
        leaf = chain[0]
        last = ask.last.carry if ask.last else None
        if isinstance(last, str):
            metrics["certificate_changed"] = float(last != leaf.fingerprint_sha256)
        self._check(leaf, phases, metrics)
        if self.options.ocsp_staple:
            try:
                self._insist_on_staple(name, line.address, where.port, ask.deadline)
            except Failure as failure:
                failure.phases, failure.metrics, failure.facts = phases, metrics, {"certificate": leaf.fact}
                raise
        return Reading(
            status=Status.UP,
            message=clean(f"certificate {leaf.fingerprint_sha256[:16]} by {leaf.issuer}"),
            duration_s=sum(filter(None, (phases.dns_s, phases.connect_s, phases.tls_s))),
            phases=phases,
            metrics=metrics,
            carry=leaf.fingerprint_sha256,
            facts={"certificate": leaf.fact},
        )

    def _context(self) -> ssl.SSLContext:
        context = trusting(self.options.ca_file)
        context.minimum_version = _MIN_VERSIONS[self.options.min_version]
        if self.options.client_cert_file:
            try:
                context.load_cert_chain(self.options.client_cert_file, self.options.client_key_file)
            except OSError as error:
                raise Failure(
                    Reason.INTERNAL,
                    f"client_cert_file {self.options.client_cert_file} cannot be used: {error.strerror}",
                ) from error
        return context

    def _with_certificate(self, failure: Failure, where: Address, name: str, ask: Ask) -> Failure:
        """The failure with the days left added, where the certificate was what was refused."""
        if failure.reason not in {Reason.TLS_EXPIRED, Reason.TLS_NOT_YET, Reason.TLS_HOSTNAME, Reason.TLS_UNTRUSTED}:
            return failure
        metrics: dict[str, float] = {}
        facts: dict[str, str] | None = None
        words = failure.message
        try:
            line = dial(where.host, where.port, ask.deadline, self.options.allow_addresses)
            secured, _ = shake(line.sock, trusting_all(), name, ask.deadline, line.phases)
            with secured:
                chain = certificates(secured)
                metrics = _describe(secured, chain, ask)
            facts = {"certificate": chain[0].fact}
            names = ", ".join(chain[0].names[:4]) or chain[0].subject
            words = clean(f"{words} (certificate of {names}, by {chain[0].issuer})")
        except Failure:
            pass  # the refusal itself is the news; that the second look failed adds nothing
        return Failure(failure.reason, words, phases=failure.phases, metrics=metrics, facts=facts)

    def _insist_on_staple(self, name: str, address: str, port: int, deadline: Deadline) -> None:
        from probes.staple import Handshake, insist_on_staple

        options = self.options
        certificates = (options.ca_file, options.client_cert_file, options.client_key_file)
        insist_on_staple(Handshake(name, address, port, options.min_version, *certificates), deadline)

    def _check(self, leaf: Certificate, phases: Phases, metrics: dict[str, float]) -> None:
        wanted = (self.expect.fingerprint_sha256 or leaf.fingerprint_sha256).replace(":", "").lower()
        if wanted != leaf.fingerprint_sha256:
            raise Failure(
                Reason.TLS_UNTRUSTED,
                f"another certificate than expected: {leaf.fingerprint_sha256}",
                phases=phases,
                metrics=metrics,
                facts={"certificate": leaf.fact},
            )
        if self.expect.issuer and self.expect.issuer.lower() not in leaf.issuer.lower():
            raise Failure(
                Reason.TLS_UNTRUSTED,
                clean(f"issued by {leaf.issuer}, expected {self.expect.issuer}"),
                phases=phases,
                metrics=metrics,
                facts={"certificate": leaf.fact},
            )


def _describe(secured: ssl.SSLSocket, chain: Sequence[Certificate], ask: Ask) -> dict[str, float]:
    now_s = ask.now_ms / 1000
    cipher = secured.cipher()
    return {
        "certificate_days_left": (chain[0].not_after_s - now_s) / DAY_S,
        "chain_days_left": min((entry.not_after_s - now_s) / DAY_S for entry in chain),
        "chain_length": float(len(chain)),
        "tls_version": _VERSIONS.get(secured.version() or "", 0.0),
        "cipher_bits": float(cipher[2] if cipher else 0),
    }


def _hear_afterwards(
    secured: ssl.SSLSocket, name: str, phases: Phases, metrics: dict[str, float], deadline: Deadline
) -> None:
    wait_s = min(SETTLE_S + 2 * (phases.connect_s or 0.0), deadline.remaining_s())
    secured.setblocking(False)
    poller = select.poll()
    poller.register(secured, select.POLLIN)
    if not poller.poll(wait_s * 1000):
        return
    try:
        secured.recv(1)
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return  # session tickets: the server is content
    except ssl.SSLError as error:
        failure = tls_failure(error, name, phases)
        raise Failure(failure.reason, failure.message, phases=phases, metrics=metrics) from error
    except OSError:
        return  # closed after a complete handshake: nothing wrong with TLS
