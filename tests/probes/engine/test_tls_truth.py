"""One table for both kinds that look at certificates: `http` and `tls` give every fault the same reason and days."""

import datetime
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from probes.kinds.tls import TlsExpect, TlsOptions, TlsProbe
from probes.probe import Ask, Deadline, Reading
from probes.result import Reason, Status
from probes.runner import run_blocking

Asking = Callable[..., Reading]
Start = Callable[[Any, trustme.CA, Path], ssl.SSLContext | None]
PLAIN = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"


def days(number: float) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=number)


def serving(leaf: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    return context


def self_signed(folder: Path) -> ssl.SSLContext:
    own = trustme.CA()
    (folder / "own.pem").write_bytes(own.private_key_pem.bytes() + own.cert_pem.bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "own.pem")
    return context


def demanding(authority: trustme.CA, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = serving(authority.issue_cert("127.0.0.1", not_after=days(9)))
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = version
    authority.configure_trust(context)
    return context


def old(authority: trustme.CA) -> ssl.SSLContext:
    context = serving(authority.issue_cert("127.0.0.1"))
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.maximum_version = ssl.TLSVersion.TLSv1
    return context


def weak(authority: trustme.CA) -> ssl.SSLContext:
    context = serving(authority.issue_cert("127.0.0.1"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AECDH-AES128-SHA:@SECLEVEL=0")
    return context


CERTIFICATES: dict[str, tuple[Callable[[trustme.CA, Path], ssl.SSLContext], Reason, float | None]] = {
    "expired": (
        lambda ca, _: serving(ca.issue_cert("127.0.0.1", not_before=days(-9), not_after=days(-2))),
        Reason.TLS_EXPIRED,
        -2,
    ),
    "not yet": (
        lambda ca, _: serving(ca.issue_cert("127.0.0.1", not_before=days(1), not_after=days(9))),
        Reason.TLS_NOT_YET,
        9,
    ),
    "hostname": (lambda ca, _: serving(ca.issue_cert("other.example", not_after=days(9))), Reason.TLS_HOSTNAME, 9),
    "address": (lambda ca, _: serving(ca.issue_cert("127.0.0.2", not_after=days(9))), Reason.TLS_HOSTNAME, 9),
    "untrusted": (
        lambda _, __: serving(trustme.CA().issue_cert("127.0.0.1", not_after=days(9))),
        Reason.TLS_UNTRUSTED,
        9,
    ),
    "self-signed": (lambda _, folder: self_signed(folder), Reason.TLS_UNTRUSTED, None),
    "client certificate, 1.3": (lambda ca, _: demanding(ca, ssl.TLSVersion.TLSv1_3), Reason.TLS_CLIENT_CERT, 9),
    "client certificate, 1.2": (lambda ca, _: demanding(ca, ssl.TLSVersion.TLSv1_2), Reason.TLS_CLIENT_CERT, None),
    "version": (lambda ca, _: old(ca), Reason.TLS_VERSION, None),
    "cipher": (lambda ca, _: weak(ca), Reason.TLS_CIPHER, None),
}


@pytest.fixture
def look(ask: Asking, ca_file: str) -> Callable[..., Reading]:
    def look(kind: str, port: int, timeout_s: float = 2.0) -> Reading:
        url = f"https://127.0.0.1:{port}"
        if kind == "http":
            return ask(url, timeout_s=timeout_s, ca_file=ca_file)
        probe = TlsProbe(TlsOptions(url=url, ca_file=ca_file), TlsExpect())
        question = Ask(Deadline(timeout_s), time.time_ns() // 1_000_000, 10.0)
        return run_blocking(check_of(probe), question)

    return look


@pytest.fixture
def serve(servers: Any, answering: Any, authority: trustme.CA, tmp_path: Path) -> Callable[..., int]:
    return lambda make: int(servers.start(answering(), make(authority, tmp_path)))


def check_of(probe: TlsProbe) -> Any:
    class Named:
        """Enough of a check for the runner: its probe and its name."""

        id, kind = "shop/web/tls", "tls"

    named = Named()
    named.probe = probe  # type: ignore[attr-defined]
    return named


@pytest.mark.parametrize("kind", ["http", "tls"])
@pytest.mark.parametrize("fault", CERTIFICATES)
def test_fault_has_its_reason_and_the_days_are_known(serve: Any, look: Any, fault: str, kind: str) -> None:
    make, reason, left = CERTIFICATES[fault]
    reading = look(kind, serve(make))
    assert (reading.status, reading.reason) == (Status.DOWN, reason), reading
    if left is not None:
        assert reading.metrics["certificate_days_left"] == pytest.approx(left, abs=0.1)
        assert " by " in reading.facts["certificate"]
    elif fault == "self-signed":
        assert reading.metrics["certificate_days_left"] > 0


def hang_up(connection: socket.socket) -> None:
    connection.recv(4096)


PEERS: dict[str, tuple[Callable[[socket.socket], object], Reason]] = {
    "plain HTTP": (lambda connection: connection.sendall(PLAIN), Reason.TLS_NOT_TLS),
    "SSH": (lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"), Reason.TLS_NOT_TLS),
    "hang up": (hang_up, Reason.TLS_EOF),
    "silence": (lambda connection: time.sleep(3), Reason.TLS_TIMEOUT),
}


@pytest.mark.parametrize("kind", ["http", "tls"])
@pytest.mark.parametrize("peer", PEERS)
def test_peer_without_tls_has_its_reason(servers: Any, look: Any, peer: str, kind: str) -> None:
    talk, reason = PEERS[peer]
    started = time.monotonic()
    reading = look(kind, servers.start(talk), timeout_s=1.0)
    assert (reading.status, reading.reason) == (Status.DOWN, reason), reading
    assert time.monotonic() - started < 1.6
