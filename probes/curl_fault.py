"""What a failed transfer means: libcurl's error, the system's errno and OpenSSL's words turned into our Reason."""

import errno
import os
import re
from dataclasses import dataclass

import pycurl

from probes.probe import Failure
from probes.result import Reason

# X509 verification results of OpenSSL (x509_vfy.h).
_VERIFY = {
    9: Reason.TLS_NOT_YET,
    10: Reason.TLS_EXPIRED,
    62: Reason.TLS_HOSTNAME,
    64: Reason.TLS_HOSTNAME,  # IP address mismatch
}

_ERRNO = {
    errno.ECONNREFUSED: (Reason.TCP_REFUSED, "connection refused"),
    errno.ENETUNREACH: (Reason.NET_UNREACHABLE, "network unreachable"),
    errno.EHOSTUNREACH: (Reason.NET_UNREACHABLE, "no route to host"),
    errno.ENETDOWN: (Reason.NET_UNREACHABLE, "network is down"),
    errno.EADDRNOTAVAIL: (Reason.NET_UNREACHABLE, "no local address to connect from"),
    errno.EACCES: (Reason.NET_UNREACHABLE, "refused by this machine's own firewall"),
    errno.EPERM: (Reason.NET_UNREACHABLE, "refused by this machine's own firewall"),
    errno.ETIMEDOUT: (Reason.TCP_TIMEOUT, "connection timed out"),
    errno.ECONNRESET: (Reason.TCP_RESET, "connection reset by peer"),
    errno.EPIPE: (Reason.TCP_RESET, "connection closed by peer while sending"),
    errno.ENOENT: (Reason.TCP_REFUSED, "no such socket"),
}

# OpenSSL's and libcurl's words, first match wins.
_TLS_WORDS = (
    (r"(private key|client certificate)\b.*\bfile|could not load PEM client cert", Reason.INTERNAL),
    (r"wrong version number|packet length too long|http request|https proxy request", Reason.TLS_NOT_TLS),
    (r"record layer failure|bad record type|unexpected message", Reason.TLS_NOT_TLS),
    (r"certificate required|alert bad certificate|alert unknown ca|alert certificate", Reason.TLS_CLIENT_CERT),
    (r"alert protocol version|unsupported protocol|version too low|no protocols available", Reason.TLS_VERSION),
    (r"handshake failure|no shared cipher|no ciphers? |insufficient security|wrong cipher", Reason.TLS_CIPHER),
    (r"unsupported curve|no suitable|dh key too small", Reason.TLS_CIPHER),
    (r"unrecognized name", Reason.TLS_HOSTNAME),
    (r"certificate has expired", Reason.TLS_EXPIRED),
    (r"reset by peer", Reason.TCP_RESET),
    (r"unexpected eof|SSL_ERROR_SYSCALL|SSL_ERROR_ZERO_RETURN|internal error|close notify", Reason.TLS_EOF),
)

_TUNNEL = re.compile(r"CONNECT tunnel failed, response (\d+)")

_TOO_LARGE, _AUTH_ERROR, _HTTP2_FRAMING, _HTTP3, _QUIC_CONNECT, _PROXY = 100, 94, 16, 95, 96, 97  # not in pycurl

_SIMPLE = {
    pycurl.E_PARTIAL_FILE: (Reason.DECODE_ERROR, "the answer was cut short: "),
    pycurl.E_BAD_CONTENT_ENCODING: (Reason.DECODE_ERROR, "the body cannot be decoded: "),
    pycurl.E_WRITE_ERROR: (Reason.DECODE_ERROR, "the body cannot be decoded: "),  # we refuse only what is too big
    pycurl.E_SSL_CERTPROBLEM: (Reason.INTERNAL, "client certificate of the check cannot be used: "),
    pycurl.E_SSL_CACERT_BADFILE: (Reason.INTERNAL, "ca_file of the check cannot be used: "),
    pycurl.E_LOGIN_DENIED: (Reason.AUTH_FAILED, ""),
    pycurl.E_URL_MALFORMAT: (Reason.HTTP_PROTOCOL, "unusable URL: "),
    _AUTH_ERROR: (Reason.AUTH_FAILED, ""),
    _TOO_LARGE: (Reason.HTTP_HEADER_TOO_BIG, ""),
}
_LATE_S = 0.03  # libcurl and the loop are at most 9 ms late when they have the processor, the backstop 20
_TLS_CODES = (pycurl.E_SSL_CONNECT_ERROR, pycurl.E_SSL_CIPHER)
_HTTP_CODES = frozenset(
    {
        pycurl.E_UNSUPPORTED_PROTOCOL,
        pycurl.E_FTP_WEIRD_SERVER_REPLY,
        pycurl.E_GOT_NOTHING,
        pycurl.E_RECV_ERROR,
        pycurl.E_SEND_ERROR,
        pycurl.E_BAD_FUNCTION_ARGUMENT,  # libcurl's parser gave up on the answer
        pycurl.E_HTTP2,
        _HTTP2_FRAMING,
        _HTTP3,
        _PROXY,
    }
)


@dataclass(frozen=True, slots=True)
class Trouble:
    """What libcurl knows about a transfer that failed."""

    code: int
    text: str
    os_errno: int
    verify_result: int
    is_tls: bool
    connected: bool
    secured: bool
    answered: bool
    where: str  # "10.0.0.1:443" or the host, for messages
    timeout_s: float
    received_bytes: int
    late_s: float = 0.0  # how long after the deadline the loop came to look, and found sockets that had news


def failure_of(trouble: Trouble) -> Failure:
    """The Failure that stands for a failed transfer."""
    reason, message = _explain(trouble)
    return Failure(reason, message)


def _explain(trouble: Trouble) -> tuple[Reason, str]:
    code = trouble.code
    if (refusal := _TUNNEL.search(trouble.text)) is not None:
        return _explain_tunnel(refusal[1])
    if (explain := _EXPLAINED.get(code)) is not None:
        return explain(trouble)
    if code in _SIMPLE:
        reason, words = _SIMPLE[code]
        return reason, f"{words}{_plain(trouble.text)}"
    if code in (pycurl.E_COULDNT_CONNECT, _QUIC_CONNECT) and not (trouble.is_tls and trouble.connected):
        return _explain_errno(trouble, Reason.TCP_REFUSED)
    if code in _TLS_CODES or (trouble.is_tls and not trouble.secured):
        return _explain_tls(trouble, Reason.TLS_EOF)
    return _explain_exchange(trouble)


def _explain_tunnel(status: str) -> tuple[Reason, str]:
    if status == "407":
        return Reason.AUTH_FAILED, "the proxy refuses our credentials: status 407"
    return Reason.HTTP_PROTOCOL, f"the proxy opens no tunnel: status {status}"


def _explain_exchange(trouble: Trouble) -> tuple[Reason, str]:
    """Trouble after the connection stood."""
    code = trouble.code
    if code == pycurl.E_GOT_NOTHING and trouble.os_errno not in _ERRNO and "reset" not in trouble.text:
        return Reason.HTTP_PROTOCOL, f"{trouble.where} closed the connection without an answer"
    if code in (pycurl.E_RECV_ERROR, pycurl.E_SEND_ERROR) and trouble.is_tls:
        return _explain_tls(trouble, Reason.HTTP_PROTOCOL)
    if code in _HTTP_CODES:
        return _explain_errno(trouble, Reason.HTTP_PROTOCOL)
    return Reason.INTERNAL, f"libcurl error {code}: {_plain(trouble.text)}"


def _explain_timeout(trouble: Trouble) -> tuple[Reason, str]:
    """Which step the time ran out in."""
    within = f"within {trouble.timeout_s:.3g} s"
    if trouble.late_s > _LATE_S and not trouble.answered:
        # libcurl gives up before it reads its socket: what came while we did not look is not known.
        return Reason.DEADLINE, f"no answer of {trouble.where} {within}; we came {trouble.late_s:.2g} s late to look"
    if not trouble.connected:
        return Reason.TCP_TIMEOUT, f"no connection to {trouble.where} {within}"
    if trouble.is_tls and not trouble.secured:
        return Reason.TLS_TIMEOUT, f"{trouble.where} accepted, but no TLS handshake {within}"
    if not trouble.answered:
        return Reason.DEADLINE, f"{trouble.where} accepted, but gave no answer {within}"
    return Reason.DEADLINE, f"answer of {trouble.where} not complete {within} ({trouble.received_bytes} bytes so far)"


def _explain_verification(trouble: Trouble) -> tuple[Reason, str]:
    text = _plain(trouble.text)
    known = _VERIFY.get(trouble.verify_result)
    if known is None and re.search(r"subject name|does not match|hostname mismatch", text):
        known = Reason.TLS_HOSTNAME
    return known or Reason.TLS_UNTRUSTED, text


def _explain_staple(trouble: Trouble) -> tuple[Reason, str]:
    """The check insists on a stapled OCSP answer (`ocsp_staple`)."""
    text = _plain(trouble.text)
    if "revoked" in text.lower() or "revocation reason" in text.lower():
        return Reason.TLS_REVOKED, f"the certificate is revoked: {text}"
    return Reason.TLS_UNTRUSTED, f"no good OCSP answer is stapled: {text}"


def _explain_errno(trouble: Trouble, otherwise: Reason) -> tuple[Reason, str]:
    if trouble.os_errno in _ERRNO:
        reason, words = _ERRNO[trouble.os_errno]
        return reason, f"{trouble.where}: {words}"
    if otherwise is Reason.TCP_REFUSED and trouble.os_errno == 0 and _is_out_of_descriptors():
        return Reason.INTERNAL, f"{trouble.where} was not asked: no file descriptor is left here"
    if "reset by peer" in trouble.text:
        return Reason.TCP_RESET, f"{trouble.where}: connection reset by peer"
    return otherwise, _plain(trouble.text)


def _explain_tls(trouble: Trouble, otherwise: Reason) -> tuple[Reason, str]:
    for pattern, reason in _TLS_WORDS:
        if re.search(pattern, trouble.text, re.IGNORECASE):
            doubt = " (no cipher in common)" if reason is Reason.TLS_CIPHER else ""
            return reason, _plain(trouble.text) + doubt
    if trouble.os_errno in _ERRNO:
        return _explain_errno(trouble, otherwise)
    return otherwise, _plain(trouble.text)


def _is_out_of_descriptors() -> bool:
    """libcurl says the same, and no errno, when the socket itself could not be had; that is no fault of the target."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return True
    return False


def _plain(text: str) -> str:
    """libcurl's message without OpenSSL's error numbers."""
    return re.sub(r"\berror:[0-9A-F]{8}:|OpenSSL SSL_(connect|read|write): ", "", text).strip() or "no details"


_EXPLAINED = {
    pycurl.E_OPERATION_TIMEDOUT: _explain_timeout,
    pycurl.E_PEER_FAILED_VERIFICATION: _explain_verification,
    pycurl.E_SSL_INVALIDCERTSTATUS: _explain_staple,
}
