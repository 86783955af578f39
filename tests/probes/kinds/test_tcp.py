import errno
import socket

import pytest
import trustme

from probes import dial as dialling
from probes.dial import dial, tcp_failure
from probes.probe import Deadline, Failure
from probes.result import Reason, Status


def test_an_open_port_is_up_with_its_connect_time(asker, silent_port):
    reading = asker("tcp", {"url": f"tcp://localhost:{silent_port}"})()
    assert reading.status is Status.UP
    assert reading.phases.connect_s > 0
    assert reading.phases.dns_s > 0
    assert reading.duration_s == pytest.approx(reading.phases.connect_s + reading.phases.dns_s)


def test_a_closed_port_is_refused(asker, closed_port):
    reading = asker("tcp", {"host": "127.0.0.1", "port": closed_port})()
    assert (reading.status, reading.reason) == (Status.DOWN, Reason.TCP_REFUSED)
    assert str(closed_port) in reading.message


def test_an_unknown_host_is_nxdomain(asker):
    assert asker("tcp", {"url": "nobody.invalid:1"})().reason is Reason.DNS_NXDOMAIN


def test_a_banner(asker, ssh_port):
    reading = asker("tcp", {"url": f"127.0.0.1:{ssh_port}"}, {"answer": "SSH-2.0"})()
    assert reading.status is Status.UP
    assert reading.metrics["answer_s"] > 0


def test_a_dialogue(asker, peer):
    port = peer(lambda connection: connection.sendall(connection.recv(100).upper()))
    assert asker("tcp", {"url": f"127.0.0.1:{port}", "send": "hello\r\n"}, {"answer": "HELLO"})().status is Status.UP


def test_another_answer_is_a_mismatch_and_is_cleaned(asker, peer):
    def talk(connection):
        connection.sendall(b"\x1b[31mgo away\x07\r\n")
        connection.shutdown(socket.SHUT_RDWR)

    reading = asker("tcp", {"url": f"127.0.0.1:{peer(talk)}"}, {"answer": "SSH-2.0"})()
    assert reading.reason is Reason.BODY_MISMATCH
    assert "go away" in reading.message
    assert reading.message.isprintable()


def test_no_answer_is_deadline(asker, silent_port):
    reading = asker("tcp", {"url": f"127.0.0.1:{silent_port}"}, {"answer": "x"}, timeout_s=0.5)()
    assert reading.reason is Reason.DEADLINE


def test_a_dripping_answer_is_deadline(asker, dripping_port):
    url = f"127.0.0.1:{dripping_port(b'')}"
    assert asker("tcp", {"url": url}, {"answer": "x"}, timeout_s=0.7)().reason is Reason.DEADLINE


def test_a_banner_behind_tls(asker, peer, tmp_path):
    import ssl

    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)

    def talk(connection):
        with context.wrap_socket(connection, server_side=True) as secured:
            secured.sendall(b"220 ready\r\n")
            secured.recv(1)

    options = {"url": f"tls://localhost:{peer(talk)}", "ca_file": str(tmp_path / "ca.pem")}
    reading = asker("tcp", options, {"answer": "220"})()
    assert reading.status is Status.UP
    assert reading.phases.tls_s > 0


def test_an_address_that_does_not_answer_gives_way_to_the_next(monkeypatch, silent_port, black_hole):
    monkeypatch.setattr(dialling, "timed_resolve", lambda host, deadline: (("::1", "127.0.0.1"), 0.001))
    with black_hole(socket.AF_INET6, "::1", silent_port):
        line = dial("two.example", silent_port, Deadline(3))
    with line.sock:
        assert line.address == "127.0.0.1"
        assert 0.2 < line.phases.connect_s < 1  # its head start was waited for, its timeout was not


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.ECONNREFUSED, Reason.TCP_REFUSED),
        (errno.ECONNRESET, Reason.TCP_RESET),
        (errno.ETIMEDOUT, Reason.TCP_TIMEOUT),
        (errno.EHOSTUNREACH, Reason.NET_UNREACHABLE),
        (errno.ENETUNREACH, Reason.NET_UNREACHABLE),
        (errno.EMFILE, Reason.INTERNAL),
    ],
)
def test_every_error_of_the_system_has_its_reason(code, reason):
    assert tcp_failure(OSError(code, "x"), "a:1").reason is reason


def test_a_deadline_that_is_over_never_connects(silent_port):
    deadline = Deadline(0)
    with pytest.raises(Failure) as caught:
        dial("127.0.0.1", silent_port, deadline)
    assert caught.value.reason is Reason.DEADLINE
