"""How does a TLS handshake go, and which of the many ways of failing was it?"""

import socket
import ssl
import time
from collections.abc import Sequence
from typing import Any

from probes.dial import CutOff, tcp_failure
from probes.probe import Certificate, Deadline, Failure
from probes.result import NO_PHASES, Phases, Reason

# OpenSSL's X509_V_ERR_* numbers (x509_vfy.h).
_VERIFY = {
    9: (Reason.TLS_NOT_YET, "the certificate is not valid yet"),
    10: (Reason.TLS_EXPIRED, "the certificate has expired"),
    18: (Reason.TLS_UNTRUSTED, "the certificate is self-signed"),
    19: (Reason.TLS_UNTRUSTED, "the chain ends in a self-signed certificate that is not trusted"),
    20: (Reason.TLS_UNTRUSTED, "the issuer is not trusted, or the server sends no intermediate certificate"),
    62: (Reason.TLS_HOSTNAME, "the certificate is for another name"),
    64: (Reason.TLS_HOSTNAME, "the certificate is for another address"),
}
_REASONS = {
    Reason.TLS_CLIENT_CERT: (
        "TLSV13_ALERT_CERTIFICATE_REQUIRED",
        "SSLV3_ALERT_BAD_CERTIFICATE",
        "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        "SSLV3_ALERT_CERTIFICATE_REVOKED",
        "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
        "SSLV3_ALERT_NO_CERTIFICATE",
        "TLSV1_ALERT_UNKNOWN_CA",
        "TLSV1_ALERT_ACCESS_DENIED",
    ),
    Reason.TLS_VERSION: (
        "TLSV1_ALERT_PROTOCOL_VERSION",
        "UNSUPPORTED_PROTOCOL",
        "NO_PROTOCOLS_AVAILABLE",
        "WRONG_SSL_VERSION",
        "VERSION_TOO_LOW",
    ),
    Reason.TLS_CIPHER: (
        "SSLV3_ALERT_HANDSHAKE_FAILURE",
        "TLSV1_ALERT_INSUFFICIENT_SECURITY",
        "NO_SHARED_CIPHER",
        "NO_CIPHERS_AVAILABLE",
        "DH_KEY_TOO_SMALL",
    ),
    Reason.TLS_HOSTNAME: ("TLSV1_UNRECOGNIZED_NAME", "TLSV1_ALERT_UNRECOGNIZED_NAME"),
    Reason.TLS_EOF: ("UNEXPECTED_EOF_WHILE_READING",),
    Reason.TLS_NOT_TLS: (
        "WRONG_VERSION_NUMBER",
        "HTTP_REQUEST",
        "PACKET_LENGTH_TOO_LONG",
        "RECORD_LAYER_FAILURE",
        "BAD_RECORD_TYPE",
        "UNKNOWN_PROTOCOL",
    ),
}
_REASON_OF = {word: reason for reason, words in _REASONS.items() for word in words}
_WORDS = {
    Reason.TLS_CLIENT_CERT: "the server asks for a client certificate, or refuses the one it got",
    Reason.TLS_VERSION: "no TLS version in common",
    Reason.TLS_CIPHER: "no cipher in common",
    Reason.TLS_HOSTNAME: "the server does not know this name",
    Reason.TLS_EOF: "the peer hung up during the handshake",
    Reason.TLS_NOT_TLS: "the peer does not speak TLS",
}


def trusting(ca_file: str | None = None) -> ssl.SSLContext:
    """A context that verifies chain and name, against the system's authorities or only those of a PEM file.

    Raises Failure(internal) for a file that cannot be used: our own fault, so the target stays unknown.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise Failure(Reason.INTERNAL, f"ca_file {ca_file} cannot be used: {error.strerror or error}") from error
    return context


def trusting_all() -> ssl.SSLContext:
    """A context that verifies nothing, for looking at a certificate that was refused; send nothing through it."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def shake(
    sock: socket.socket,
    context: ssl.SSLContext,
    server_name: str,
    deadline: Deadline,
    phases: Phases = NO_PHASES,
) -> tuple[ssl.SSLSocket, Phases]:
    """Does the handshake over an open connection; returns the TLS socket and the phases with `tls_s` added.

    Raises Failure with a tls_* reason, the socket closed.
    """
    started = time.monotonic()
    secured = context.wrap_socket(sock, server_hostname=server_name, do_handshake_on_connect=False)
    try:
        with CutOff(deadline, secured.fileno()):
            secured.settimeout(deadline.remaining_s())
            secured.do_handshake()
    except Failure as failure:
        secured.close()
        raise Failure(
            Reason.TLS_TIMEOUT, f"{server_name}: TLS handshake not done within {deadline.timeout_s:g} s", phases=phases
        ) from failure
    except OSError as error:
        was_agreed = secured.cipher() is not None
        secured.close()
        if was_agreed and getattr(error, "reason", None) == "SSLV3_ALERT_HANDSHAKE_FAILURE":
            # With TLS 1.2 this alert means both "no cipher" and "no client certificate"; only for the second one
            # was a cipher agreed before.
            text = f"{server_name}: {_WORDS[Reason.TLS_CLIENT_CERT]}"
            raise Failure(Reason.TLS_CLIENT_CERT, text, phases=phases) from error
        raise tls_failure(error, server_name, phases) from error
    took = time.monotonic() - started
    return secured, Phases(dns_s=phases.dns_s, connect_s=phases.connect_s, tls_s=took)


def tls_failure(error: OSError, where: str, phases: Phases = NO_PHASES) -> Failure:
    """The Failure that an error during or just after a handshake stands for."""
    if isinstance(error, ssl.SSLCertVerificationError):
        reason, words = _VERIFY.get(
            error.verify_code, (Reason.TLS_UNTRUSTED, f"the certificate was refused: {error.verify_message}")
        )
        return Failure(reason, f"{where}: {words}", phases=phases)
    if isinstance(error, TimeoutError):
        return Failure(Reason.TLS_TIMEOUT, f"{where}: TLS handshake timed out", phases=phases)
    if isinstance(error, ssl.SSLError):
        word = error.reason or "UNEXPECTED_EOF_WHILE_READING"
        known = _REASON_OF.get(word, Reason.TLS_NOT_TLS)
        return Failure(known, f"{where}: {_WORDS[known]} ({word.lower().replace('_', ' ')})", phases=phases)
    return tcp_failure(error, where, phases)


def certificates(secured: ssl.SSLSocket) -> tuple[Certificate, ...]:
    """The certificates the server sent, leaf first; only the leaf where this Python cannot tell the others."""
    leaf = secured.getpeercert(binary_form=True)
    chain = _chain(secured)
    if not chain and leaf:
        chain = (leaf,)
    return tuple(read_certificate(der) for der in chain)


def _chain(secured: ssl.SSLSocket) -> Sequence[bytes]:
    if hasattr(secured, "get_unverified_chain"):  # public from Python 3.13
        return tuple(secured.get_unverified_chain())
    # Python 3.11 and 3.12 have the same call one level down only.
    inner: Any = getattr(secured, "_sslobj", None)
    if not hasattr(inner, "get_unverified_chain"):
        return ()
    return tuple(ssl.PEM_cert_to_DER_cert(entry.public_bytes()) for entry in inner.get_unverified_chain() or ())


def read_certificate(der: bytes) -> Certificate:
    """A DER certificate as our own noun. Raises ValueError for bytes that are none."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    parsed = x509.load_der_x509_certificate(der)
    try:
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        told = tuple(str(name.value) for name in names)
    except x509.ExtensionNotFound:
        told = ()
    return Certificate(
        subject=parsed.subject.rfc4514_string(),
        issuer=parsed.issuer.rfc4514_string(),
        not_before_s=parsed.not_valid_before_utc.timestamp(),
        not_after_s=parsed.not_valid_after_utc.timestamp(),
        fingerprint_sha256=parsed.fingerprint(hashes.SHA256()).hex(),
        names=told,
    )
