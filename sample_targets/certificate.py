"""The shop's certificates: an authority of its own, a leaf for the HTTPS front, and the same leaf long expired."""

import datetime as dt
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = dt.timedelta(days=1)
LEAF_LIFE = 90 * DAY
RENEW_BEFORE = 30 * DAY
EXPIRED_SINCE = 3 * DAY


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files in one directory: `ca.pem` to trust, a good and an expired chain with one key."""

    folder: Path

    @property
    def ca(self) -> Path:
        """The authority's certificate."""
        return self.folder / "ca.pem"

    @property
    def key(self) -> Path:
        """The private key of both leaves."""
        return self.folder / "leaf.key"

    @property
    def good(self) -> Path:
        """Leaf and authority, valid."""
        return self.folder / "leaf.pem"

    @property
    def expired(self) -> Path:
        """Leaf and authority, the leaf no longer valid."""
        return self.folder / "leaf-expired.pem"

    def ensure(self) -> None:
        """Make them all, unless there are good ones from an earlier run: a new chain each start would look like an
        exchange of certificates to whoever watches."""
        now = dt.datetime.now(dt.UTC)
        if self._are_fresh(now):
            return
        ca_key = ec.generate_private_key(ec.SECP256R1())
        ca = _issue_authority(ca_key, now)
        leaf_key = ec.generate_private_key(ec.SECP256R1())
        good = _issue_leaf(ca, ca_key, leaf_key, now - DAY, now + LEAF_LIFE)
        expired = _issue_leaf(ca, ca_key, leaf_key, now - EXPIRED_SINCE - LEAF_LIFE, now - EXPIRED_SINCE)
        self._write_key(leaf_key)
        self.ca.write_bytes(_pem(ca))
        self.expired.write_bytes(_pem(expired) + _pem(ca))
        self.good.write_bytes(_pem(good) + _pem(ca))

    def _are_fresh(self, now: dt.datetime) -> bool:
        if not all(path.exists() for path in (self.ca, self.key, self.good, self.expired)):
            return False
        leaf = x509.load_pem_x509_certificate(self.good.read_bytes())
        return leaf.not_valid_after_utc - now > RENEW_BEFORE

    def _write_key(self, key: ec.EllipticCurvePrivateKey) -> None:
        self.key.touch(mode=0o600)
        self.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )


def _issue_authority(key: ec.EllipticCurvePrivateKey, now: dt.datetime) -> x509.Certificate:
    name = _name("Sample Shop Root CA")
    # Its life starts before that of the expired leaf, so that the leaf's age is all that is wrong with it.
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 365 * DAY)
        .not_valid_after(now + 10 * 365 * DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _issue_leaf(
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePrivateKey,
    start: dt.datetime,
    end: dt.datetime,
) -> x509.Certificate:
    names = [x509.DNSName("localhost"), x509.DNSName("shop.example"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    return (
        x509.CertificateBuilder()
        .subject_name(_name("shop.example"))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Sample Shop"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
