"""Does a server staple a good OCSP answer to its handshake? Asked over a connection of its own, by libcurl.

Python's `ssl` cannot ask for one. libcurl asks, and holds the answer to the chain, without sending a byte of HTTP.
"""

from dataclasses import dataclass

import pycurl

from probes.curl_fault import Trouble, failure_of
from probes.curl_transfer import system_ca_file
from probes.dial import place
from probes.probe import Deadline, Failure
from probes.result import Reason
from probes.url import UrlError, ascii_host

_LOWEST = {
    "1.0": pycurl.SSLVERSION_TLSv1_0,
    "1.1": pycurl.SSLVERSION_TLSv1_1,
    "1.2": pycurl.SSLVERSION_TLSv1_2,
    "1.3": pycurl.SSLVERSION_TLSv1_3,
}


@dataclass(frozen=True, slots=True)
class Handshake:
    """The server to shake hands with: the name to verify, and the address and port that were checked and answered."""

    name: str
    address: str
    port: int
    min_version: str = "1.2"
    ca_file: str | None = None
    client_cert_file: str | None = None
    client_key_file: str | None = None


def insist_on_staple(handshake: Handshake, deadline: Deadline) -> None:
    """Return where the stapled answer calls the certificate good.

    Raises Failure: tls_revoked, tls_untrusted where none is stapled or it cannot be relied on, else why the connection
    or the handshake failed.
    """
    where = place(handshake.name, handshake.port)
    curl = pycurl.Curl()
    try:
        _prepare(curl, handshake, deadline.remaining_s())
        curl.perform()
    except UrlError as error:
        raise Failure(Reason.INTERNAL, f"{where}: {error}") from error
    except pycurl.error as error:
        code, text = error.args
        raise failure_of(_trouble(curl, code, text, where, deadline.timeout_s)) from error
    finally:
        curl.close()


def _prepare(curl: pycurl.Curl, handshake: Handshake, left_s: float) -> None:
    name = ascii_host(handshake.name)
    # The name leads nowhere but to the address that was let through.
    curl.setopt(pycurl.URL, f"https://{place(name, handshake.port)}/")
    curl.setopt(pycurl.CONNECT_TO, [f"::{place(handshake.address, handshake.port)}"])
    curl.setopt(pycurl.CONNECT_ONLY, 1)
    curl.setopt(pycurl.PROXY, "")  # empty: whatever https_proxy says
    curl.setopt(pycurl.NOSIGNAL, 1)
    curl.setopt(pycurl.TIMEOUT_MS, max(1, round(left_s * 1000)))
    curl.setopt(pycurl.SSL_ENABLE_ALPN, 0)  # the server may speak anything
    curl.setopt(pycurl.SSL_SESSIONID_CACHE, 0)
    curl.setopt(pycurl.SSLVERSION, _LOWEST[handshake.min_version])
    curl.setopt(pycurl.CAINFO, handshake.ca_file or system_ca_file())
    curl.setopt(pycurl.SSL_VERIFYSTATUS, 1)
    if handshake.client_cert_file:
        curl.setopt(pycurl.SSLCERT, handshake.client_cert_file)
        if handshake.client_key_file:
            curl.setopt(pycurl.SSLKEY, handshake.client_key_file)


def _trouble(curl: pycurl.Curl, code: int, text: str, where: str, timeout_s: float) -> Trouble:
    return Trouble(
        code=code,
        text=text,
        os_errno=curl.getinfo(pycurl.OS_ERRNO),
        verify_result=curl.getinfo(pycurl.SSL_VERIFYRESULT),
        is_tls=True,
        connected=curl.getinfo(pycurl.CONNECT_TIME_T) > 0,
        secured=curl.getinfo(pycurl.APPCONNECT_TIME_T) > 0,
        answered=False,
        where=where,
        timeout_s=timeout_s,
        received_bytes=0,
    )
