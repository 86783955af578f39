"""What the leaf certificate of a TLS server says, from the PEM text that the transfer brought along."""

from functools import lru_cache
from typing import TYPE_CHECKING

from probes.probe import Certificate

if TYPE_CHECKING:  # 8 MiB that a worker without TLS checks does not need
    from cryptography import x509


@lru_cache(maxsize=2048)
def read_certificate(pem: bytes) -> Certificate | None:
    """The certificate in a PEM text; None where it cannot be read. Cached: a server shows the same one for weeks."""
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        leaf = x509.load_pem_x509_certificate(pem)
        return Certificate(
            subject=_name(leaf.subject),
            issuer=_name(leaf.issuer),
            not_before_s=leaf.not_valid_before_utc.timestamp(),
            not_after_s=leaf.not_valid_after_utc.timestamp(),
            fingerprint_sha256=leaf.fingerprint(SHA256()).hex(),
            names=_names(leaf),
        )
    except ValueError:
        return None


def days_left(certificate: Certificate, now_s: float) -> float:
    """Days until a certificate expires; negative once it has."""
    return (certificate.not_after_s - now_s) / 86_400


def _name(name: "x509.Name") -> str:
    return name.rfc4514_string()


def _names(leaf: "x509.Certificate") -> tuple[str, ...]:
    from cryptography import x509

    try:
        alternative = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    dns = alternative.get_values_for_type(x509.DNSName)
    addresses = alternative.get_values_for_type(x509.IPAddress)
    return (*dns, *(str(address) for address in addresses))
