import datetime
import socket
import ssl
import time

import pytest
import trustme

from probes.handshake import tls_failure
from probes.result import Reason, Status

AUTHORITY = trustme.CA()


@pytest.fixture
def ca_file(tmp_path):
    AUTHORITY.cert_pem.write_to_path(tmp_path / "ca.pem")
    return str(tmp_path / "ca.pem")


@pytest.fixture
def tls_port(peer):
    """Starts a TLS server with the certificate and the settings of the test."""

    def start(cert: trustme.LeafCert | None = None, **settings) -> int:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        (cert or AUTHORITY.issue_cert("localhost")).configure_cert(context)
        for name, value in settings.items():
            setattr(context, name, value)
        if settings.get("verify_mode"):
            AUTHORITY.configure_trust(context)
        if settings.get("maximum_version") == ssl.TLSVersion.TLSv1_2:
            context.set_ciphers("ECDHE+AESGCM")

        def talk(connection: socket.socket) -> None:
            with context.wrap_socket(connection, server_side=True) as secured:
                secured.recv(1)

        return peer(talk)

    return start


def days_from_now(days: float) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)


def test_a_good_certificate(asker, tls_port, ca_file):
    cert = AUTHORITY.issue_cert("localhost", not_after=days_from_now(30))
    ask = asker("tls", {"url": f"https://localhost:{tls_port(cert)}", "ca_file": ca_file})
    ask()
    reading = ask()
    assert reading.status is Status.UP
    assert reading.metrics.keys() == ask.probe.metrics.keys()
    assert reading.metrics["certificate_days_left"] == pytest.approx(30, abs=0.1)
    assert reading.metrics["tls_version"] == 1.3
    assert reading.metrics["cipher_bits"] >= 128
    assert reading.metrics["certificate_changed"] == 0
    assert reading.phases.tls_s > 0


def test_an_intermediate_that_expires_first_shows(asker, tls_port, ca_file):
    middle = AUTHORITY.create_child_ca()
    reading = asker("tls", {"url": f"localhost:{tls_port(middle.issue_cert('localhost'))}", "ca_file": ca_file})()
    assert reading.status is Status.UP
    assert reading.metrics["chain_length"] >= 2
    assert reading.metrics["chain_days_left"] <= reading.metrics["certificate_days_left"]


@pytest.mark.parametrize(
    ("name", "valid", "reason"),
    [
        ("localhost", (-9, -2), Reason.TLS_EXPIRED),
        ("localhost", (1, 9), Reason.TLS_NOT_YET),
        ("other.example", (-1, 9), Reason.TLS_HOSTNAME),
        ("untrusted", (-1, 9), Reason.TLS_UNTRUSTED),
    ],
)
def test_a_refused_certificate_still_tells_its_days(asker, tls_port, ca_file, *, name, valid, reason):
    authority, subject = (trustme.CA(), "localhost") if name == "untrusted" else (AUTHORITY, name)
    cert = authority.issue_cert(subject, not_before=days_from_now(valid[0]), not_after=days_from_now(valid[1]))
    reading = asker("tls", {"host": "localhost", "port": tls_port(cert), "ca_file": ca_file})()
    assert (reading.status, reading.reason) == (Status.DOWN, reason)
    assert reading.metrics["certificate_days_left"] == pytest.approx(valid[1], abs=0.1)
    assert "certificate of" in reading.message


def test_server_name_is_what_is_verified(asker, tls_port, ca_file):
    port = tls_port(AUTHORITY.issue_cert("shop.example"))
    options = {"host": "127.0.0.1", "port": port, "ca_file": ca_file}
    assert asker("tls", {**options, "server_name": "shop.example"})().status is Status.UP
    assert asker("tls", options)().reason is Reason.TLS_HOSTNAME


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_a_server_that_wants_our_certificate(asker, tls_port, ca_file, tmp_path, version):
    port = tls_port(verify_mode=ssl.CERT_REQUIRED, maximum_version=version)
    options = {"host": "localhost", "port": port, "ca_file": ca_file}
    assert asker("tls", options)().reason is Reason.TLS_CLIENT_CERT
    AUTHORITY.issue_cert("client@example.org").private_key_and_cert_chain_pem.write_to_path(tmp_path / "mine.pem")
    assert asker("tls", {**options, "client_cert_file": str(tmp_path / "mine.pem")})().status is Status.UP


def test_no_version_in_common(asker, tls_port, ca_file):
    port = tls_port(maximum_version=ssl.TLSVersion.TLSv1_2)
    options = {"host": "localhost", "port": port, "ca_file": ca_file}
    assert asker("tls", {**options, "min_version": "1.3"})().reason is Reason.TLS_VERSION
    assert asker("tls", options)().metrics["tls_version"] == 1.2


def test_no_cipher_in_common(asker, peer, ca_file):
    """The server's own alert, as a TLS record: handshake_failure (40)."""
    port = peer(lambda connection: (connection.recv(2000), connection.sendall(b"\x15\x03\x03\x00\x02\x02\x28")))
    assert asker("tls", {"host": "localhost", "port": port, "ca_file": ca_file})().reason is Reason.TLS_CIPHER


@pytest.mark.parametrize("fixture", ["http_port", "ssh_port"])
def test_a_peer_without_tls(asker, request, fixture):
    assert asker("tls", {"host": "localhost", "port": request.getfixturevalue(fixture)})().reason is Reason.TLS_NOT_TLS


def test_a_peer_that_hangs_up(asker, peer):
    port = peer(lambda connection: (connection.recv(2000), connection.shutdown(socket.SHUT_RDWR)))
    assert asker("tls", {"host": "localhost", "port": port})().reason is Reason.TLS_EOF


def test_a_peer_that_hangs(asker, silent_port):
    assert asker("tls", {"host": "localhost", "port": silent_port}, timeout_s=0.5)().reason is Reason.TLS_TIMEOUT


def test_a_peer_that_drips(asker, dripping_port):
    port = dripping_port(b"\x16\x03\x03\x20\x00" + b"\x02\x00\x1f\xfc\x03\x03" + b"\x00" * 100)
    assert asker("tls", {"host": "localhost", "port": port}, timeout_s=0.7)().reason is Reason.TLS_TIMEOUT


def test_a_closed_port(asker, closed_port):
    assert asker("tls", {"host": "localhost", "port": closed_port})().reason is Reason.TCP_REFUSED


def test_a_changed_certificate_is_noticed_and_can_be_forbidden(asker, tls_port, ca_file):
    ask = asker("tls", {"host": "localhost", "port": tls_port(), "ca_file": ca_file})
    first = ask()
    other = asker("tls", {"host": "localhost", "port": tls_port(), "ca_file": ca_file})
    other.last = first
    assert other().metrics["certificate_changed"] == 1
    options = {"host": "localhost", "port": tls_port(), "ca_file": ca_file}
    pinned = asker("tls", options, {"fingerprint_sha256": first.carry})()
    assert (pinned.status, pinned.reason) == (Status.DOWN, Reason.TLS_UNTRUSTED)
    assert asker("tls", options, {"issuer": "Let's Encrypt"})().status is Status.DOWN


def test_names_in_a_certificate_are_cleaned(asker, tls_port, ca_file):
    cert = AUTHORITY.issue_cert("other.example", organization_name="evil\x1b[31m\u202e", not_after=days_from_now(9))
    reading = asker("tls", {"host": "localhost", "port": tls_port(cert), "ca_file": ca_file})()
    assert reading.message.isprintable()


def test_an_authority_file_that_is_missing_is_our_own_fault(asker, tls_port):
    reading = asker("tls", {"host": "localhost", "port": tls_port(), "ca_file": "/not/there.pem"})()
    assert (reading.status, reading.reason) == (Status.UNKNOWN, Reason.INTERNAL)
    assert "/not/there.pem" in reading.message


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", Reason.TLS_CLIENT_CERT),
        ("TLSV1_ALERT_PROTOCOL_VERSION", Reason.TLS_VERSION),
        ("SSLV3_ALERT_HANDSHAKE_FAILURE", Reason.TLS_CIPHER),
        ("WRONG_VERSION_NUMBER", Reason.TLS_NOT_TLS),
        ("UNEXPECTED_EOF_WHILE_READING", Reason.TLS_EOF),
        ("TLSV1_UNRECOGNIZED_NAME", Reason.TLS_HOSTNAME),
    ],
)
def test_words_of_openssl_have_their_reason(word, reason):
    error = ssl.SSLError(1, "x")
    error.reason = word
    assert tls_failure(error, "host").reason is reason


def test_waiting_for_a_late_alert_is_no_part_of_the_times(asker, tls_port, ca_file):
    ask = asker("tls", {"host": "localhost", "port": tls_port(), "ca_file": ca_file})
    started = time.monotonic()
    reading = ask()
    assert reading.duration_s < time.monotonic() - started
    assert reading.duration_s == pytest.approx(reading.phases.dns_s + reading.phases.connect_s + reading.phases.tls_s)


@pytest.mark.parametrize(
    ("server", "reason", "words"),
    [
        ("good", None, ""),
        ("revoked", Reason.TLS_REVOKED, "revoked"),
        ("secure", Reason.TLS_UNTRUSTED, "no good OCSP answer is stapled"),
    ],
)
def test_a_stapled_answer_is_insisted_on_where_that_is_wanted(asker, nginx, server, reason, words):
    options = {"url": nginx.url(server), "ca_file": nginx.ca_file}
    assert asker("tls", options)().status is Status.UP  # who does not ask is not told
    reading = asker("tls", {**options, "ocsp_staple": True})()
    assert (reading.status, reading.reason) == (Status.DOWN if reason else Status.UP, reason), reading.message
    assert words in reading.message
    assert reading.metrics["certificate_days_left"] == pytest.approx(9, abs=0.1)
    assert reading.phases.tls_s > 0


def test_a_stapled_answer_that_is_too_old_is_none(asker, nginx):
    reading = asker("tls", {"url": nginx.url("stale"), "ca_file": nginx.ca_file, "ocsp_staple": True})()
    assert reading.reason is Reason.TLS_UNTRUSTED
    assert "OCSP" in reading.message


def test_the_question_for_a_staple_goes_to_the_address_that_was_let_through(asker, nginx, monkeypatch):
    """The name verified is another than the host, no proxy of the environment is used, and no name is looked up."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    where = {"host": "localhost", "port": nginx.ports["good"], "server_name": "shop.example"}
    assert asker("tls", {**where, "ca_file": nginx.ca_file, "ocsp_staple": True})().status is Status.UP


def test_a_server_that_hangs_when_asked_for_a_staple(asker, peer, ca_file):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("localhost").configure_cert(context)
    talked = []

    def talk(connection):
        talked.append(connection)
        if len(talked) == 1:
            with context.wrap_socket(connection, server_side=True) as secured:
                secured.recv(1)

    ask = asker("tls", {"url": f"localhost:{peer(talk)}", "ca_file": ca_file, "ocsp_staple": True}, timeout_s=0.7)
    assert ask().reason is Reason.TLS_TIMEOUT
    assert len(talked) == 2
