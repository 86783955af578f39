"""Every way TLS can fail has its own reason, and the expiry date is read all the same."""

import datetime
import socket
import ssl
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from probes.probe import Reading
from probes.result import Reason, Status

Asking = Callable[..., Reading]
DAY = datetime.timedelta(days=1)


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def context_of(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@pytest.fixture
def secure(servers: Any, answering: Any) -> Callable[[ssl.SSLContext], str]:
    def start(context: ssl.SSLContext) -> str:
        return f"https://127.0.0.1:{servers.start(answering(), context)}/"

    return start


def test_valid_certificate_is_up_and_its_days_are_counted(
    secure: Any, authority: trustme.CA, ca_file: str, ask: Asking
) -> None:
    leaf = authority.issue_cert("127.0.0.1", not_after=now() + 30 * DAY)
    reading = ask(secure(context_of(leaf)), ca_file=ca_file)
    assert reading.status is Status.UP
    assert 29.9 < reading.metrics["certificate_days_left"] <= 30
    assert reading.phases.tls_s is not None
    assert reading.phases.tls_s > 0


def test_expired_certificate(secure: Any, authority: trustme.CA, ca_file: str, ask: Asking) -> None:
    leaf = authority.issue_cert("127.0.0.1", not_before=now() - 30 * DAY, not_after=now() - 2 * DAY)
    reading = ask(secure(context_of(leaf)), ca_file=ca_file)
    assert (reading.status, reading.reason) == (Status.DOWN, Reason.TLS_EXPIRED)
    assert -2.1 < reading.metrics["certificate_days_left"] < -1.9


def test_certificate_of_the_future(secure: Any, authority: trustme.CA, ca_file: str, ask: Asking) -> None:
    leaf = authority.issue_cert("127.0.0.1", not_before=now() + 2 * DAY, not_after=now() + 30 * DAY)
    assert ask(secure(context_of(leaf)), ca_file=ca_file).reason is Reason.TLS_NOT_YET


def test_certificate_for_another_host(secure: Any, authority: trustme.CA, ca_file: str, ask: Asking) -> None:
    url = secure(context_of(authority.issue_cert("other.example.org", not_after=now() + 30 * DAY)))
    for asked in (url, url.replace("127.0.0.1", "localhost")):
        reading = ask(asked, ca_file=ca_file)
        assert reading.reason is Reason.TLS_HOSTNAME
        assert reading.metrics["certificate_days_left"] > 29


def test_certificate_of_an_unknown_authority(secure: Any, ca_file: str, ask: Asking) -> None:
    stranger = trustme.CA().issue_cert("127.0.0.1", not_after=now() + 30 * DAY)
    reading = ask(secure(context_of(stranger)), ca_file=ca_file)
    assert reading.reason is Reason.TLS_UNTRUSTED
    assert reading.metrics["certificate_days_left"] > 29


def test_system_authorities_do_not_trust_a_private_one(secure: Any, authority: trustme.CA, ask: Asking) -> None:
    assert ask(secure(context_of(authority.issue_cert("127.0.0.1")))).reason is Reason.TLS_UNTRUSTED


def test_self_signed_certificate(secure: Any, ask: Asking, ca_file: str, tmp_path: Path) -> None:
    # A root shown as the server's own certificate.
    own = trustme.CA()
    pem = tmp_path / "own.pem"
    pem.write_bytes(own.private_key_pem.bytes() + own.cert_pem.bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    assert ask(secure(context), ca_file=ca_file).reason is Reason.TLS_UNTRUSTED


def test_any_certificate_will_do_without_verification(secure: Any, ask: Asking) -> None:
    stranger = trustme.CA().issue_cert("other.example.org", not_after=now() + 30 * DAY)
    reading = ask(secure(context_of(stranger)), verify=False)
    assert reading.status is Status.UP
    assert reading.metrics["certificate_days_left"] > 29


def test_old_tls_version(secure: Any, authority: trustme.CA, ca_file: str, ask: Asking) -> None:
    context = context_of(authority.issue_cert("127.0.0.1"))
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.maximum_version = ssl.TLSVersion.TLSv1
    assert ask(secure(context), ca_file=ca_file).reason is Reason.TLS_VERSION


def test_no_common_cipher(secure: Any, authority: trustme.CA, ca_file: str, ask: Asking) -> None:
    context = context_of(authority.issue_cert("127.0.0.1"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AECDH-AES128-SHA:@SECLEVEL=0")
    assert ask(secure(context), ca_file=ca_file).reason is Reason.TLS_CIPHER


@pytest.fixture
def demanding(secure: Any, authority: trustme.CA) -> Callable[[ssl.TLSVersion], str]:
    def start(version: ssl.TLSVersion) -> str:
        context = context_of(authority.issue_cert("127.0.0.1"))
        context.verify_mode = ssl.CERT_REQUIRED
        context.maximum_version = version
        authority.configure_trust(context)
        return str(secure(context))

    return start


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_client_certificate_is_asked_for(demanding: Any, ca_file: str, ask: Asking, version: ssl.TLSVersion) -> None:
    reading = ask(demanding(version), ca_file=ca_file)
    assert reading.reason is Reason.TLS_CLIENT_CERT, reading


def test_alert_that_is_lost_in_a_reset_is_told_by_the_handshake(
    servers: Any, authority: trustme.CA, ca_file: str, ask: Asking
) -> None:
    context = context_of(authority.issue_cert("127.0.0.1"))
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)

    def hang_up(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        try:
            context.wrap_socket(connection, server_side=True).recv(1)
        except OSError:
            connection.close()

    reading = ask(f"https://127.0.0.1:{servers.start(hang_up)}/", ca_file=ca_file)
    assert reading.reason is Reason.TLS_CLIENT_CERT, reading


def test_reset_of_a_server_that_wants_no_certificate_stays_a_reset(
    servers: Any, authority: trustme.CA, ca_file: str, ask: Asking
) -> None:
    def hang_up(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    port = servers.start(hang_up, context_of(authority.issue_cert("127.0.0.1")))
    reading = ask(f"https://127.0.0.1:{port}/", ca_file=ca_file)
    assert reading.reason is Reason.TCP_RESET, reading
    assert servers.accepted == 2  # a second look, for the handshake's messages


def test_client_certificate_is_shown(
    demanding: Any, authority: trustme.CA, ca_file: str, ask: Asking, tmp_path: Path
) -> None:
    mine = tmp_path / "client.pem"
    authority.issue_cert("ann@example.org").private_key_and_cert_chain_pem.write_to_path(mine)
    url = demanding(ssl.TLSVersion.TLSv1_3)
    assert ask(url, ca_file=ca_file, client_cert_file=str(mine)).status is Status.UP


def test_server_without_our_preferred_curve_is_up(
    secure: Any, authority: trustme.CA, ca_file: str, ask: Asking
) -> None:
    context = context_of(authority.issue_cert("127.0.0.1"))
    context.set_ecdh_curve("secp384r1")
    assert ask(secure(context), ca_file=ca_file).status is Status.UP


def test_plain_http_on_a_tls_port(servers: Any, ask: Asking) -> None:
    plain = servers.start(lambda c: c.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"))
    assert ask(f"https://127.0.0.1:{plain}/").reason is Reason.TLS_NOT_TLS


def test_tls_on_a_plain_port_is_http_protocol(secure: Any, authority: trustme.CA, ask: Asking) -> None:
    url = secure(context_of(authority.issue_cert("127.0.0.1"))).replace("https:", "http:")
    assert ask(url).reason in (Reason.HTTP_PROTOCOL, Reason.TCP_RESET)


def test_connection_closed_amid_the_handshake(servers: Any, ask: Asking) -> None:
    port = servers.start(lambda c: c.recv(4096) and None)
    assert ask(f"https://127.0.0.1:{port}/").reason is Reason.TLS_EOF


def test_handshake_that_hangs(servers: Any, ask: Asking) -> None:
    started = time.monotonic()
    reading = ask(f"https://127.0.0.1:{servers.start(lambda c: time.sleep(5))}/", timeout_s=0.5)
    assert reading.reason is Reason.TLS_TIMEOUT
    assert time.monotonic() - started < 0.7


def test_redirect_that_gives_up_encryption_is_refused(
    servers: Any, answering: Any, authority: trustme.CA, ca_file: str, ask: Asking
) -> None:
    plain = servers.start(answering())
    away = answering(status="302 Found", headers=f"Location: http://127.0.0.1:{plain}/\r\n")
    port = servers.start(away, context_of(authority.issue_cert("127.0.0.1")))
    reading = ask(f"https://127.0.0.1:{port}/", ca_file=ca_file)
    assert reading.reason is Reason.SSRF_BLOCKED
    assert "encryption" in reading.message


def test_sessions_are_not_resumed(
    servers: Any, authority: trustme.CA, ca_file: str, read_head: Any, ask: Asking
) -> None:
    resumed: list[bool] = []

    def note(connection: socket.socket) -> None:
        read_head(connection)
        assert isinstance(connection, ssl.SSLSocket)
        resumed.append(bool(connection.session_reused))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    port = servers.start(note, context_of(authority.issue_cert("127.0.0.1")))
    for _ in range(3):
        assert ask(f"https://127.0.0.1:{port}/", ca_file=ca_file).status is Status.UP
    assert resumed == [False, False, False]
