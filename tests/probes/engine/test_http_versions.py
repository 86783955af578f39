"""HTTP/1.1 and HTTP/2 of a real nginx, HTTP/3 of a real QUIC server, and what nginx does with our credentials."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from probes.kinds.http import Expects, HttpProbe, Options
from probes.probe import Ask, Reading, Response
from probes.result import Reason, Status

Asking = Callable[..., Reading]


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Versed(HttpProbe):
    """Kind http, and it notes the version of the answer."""

    def conclude(self, ask: Ask, response: Response) -> Reading:
        return Reading(message=f"{response.failure or response.http_version} {response.body.decode()}")


@pytest.fixture
def version_of(ask_probe: Asking) -> Callable[..., str]:
    def ask(url: str, **options: Any) -> str:
        return ask_probe(Versed(Options(url=url, **options), Expects())).message

    return ask


@pytest.mark.parametrize(("wanted", "version"), [("auto", "2 HTTP/2.0"), ("2", "2 HTTP/2.0"), ("1.1", "1.1 HTTP/1.1")])
def test_nginx_speaks_the_version_that_is_wanted(
    nginx: Any, ca_file: str, version_of: Any, wanted: str, version: str
) -> None:
    assert version_of(nginx.url("secure"), ca_file=ca_file, http_version=wanted) == version


def test_plain_text_is_http_1_1_by_itself(nginx: Any, version_of: Any) -> None:
    assert version_of(nginx.url("plain")) == "1.1 HTTP/1.1"


def test_http_2_that_the_server_lacks_is_told(nginx: Any, ask: Asking) -> None:
    reading = ask(nginx.url("plain"), http_version="2")
    assert (reading.status, reading.reason) == (Status.DOWN, Reason.HTTP_PROTOCOL)


def test_http_2_has_all_phases_days_and_redirects(nginx: Any, ca_file: str, ask: Asking) -> None:
    reading = ask(nginx.url("secure", "/away"), ca_file=ca_file)
    assert (reading.status, reading.metrics["redirects"]) == (Status.UP, 1)
    assert 8.9 < reading.metrics["certificate_days_left"] < 9.1
    phases = reading.phases
    assert phases.connect_s and phases.tls_s and phases.ttfb_s  # noqa: PT018
    assert reading.duration_s is not None
    assert phases.connect_s + phases.tls_s + phases.ttfb_s <= reading.duration_s


def test_headers_are_read_in_http_2(nginx: Any, ca_file: str, ask: Asking) -> None:
    reading = ask(nginx.url("secure", "/large"), ca_file=ca_file, expect={"headers": {"X-Large": "x" * 3000}})
    assert reading.status is Status.UP, reading


@pytest.mark.parametrize(("password", "reason"), [("secret", None), ("wrong", Reason.AUTH_FAILED)])
def test_basic_credentials(nginx: Any, ask: Asking, password: str, reason: Reason | None) -> None:
    auth = {"scheme": "basic", "username": "ann", "password": password}
    reading = ask(nginx.url("plain", "/private"), auth=auth)
    assert reading.reason is reason, reading
    assert "secret" not in reading.message


def test_credentials_in_the_url(nginx: Any, ask: Asking) -> None:
    url = nginx.url("plain", "/private")
    assert ask(url.replace("//", "//ann:secret@")).status is Status.UP
    assert ask(url.replace("//", "//ann:wrong@")).reason is Reason.AUTH_FAILED
    assert ask(url).reason is Reason.HTTP_STATUS


def test_nginx_without_our_certificate_says_so_in_http(
    nginx: Any, ca_file: str, ask: Asking, authority: trustme.CA, tmp_path: Path
) -> None:
    reading = ask(nginx.url("demanding"), ca_file=ca_file)
    assert (reading.reason, reading.code) == (Reason.TLS_CLIENT_CERT, 400)
    assert 8.9 < reading.metrics["certificate_days_left"] < 9.1
    for issuer, expected in ((authority, None), (trustme.CA(), Reason.TLS_CLIENT_CERT)):
        mine = tmp_path / "mine.pem"
        issuer.issue_cert("ann@example.org", common_name="ann").private_key_and_cert_chain_pem.write_to_path(mine)
        reading = ask(nginx.url("demanding"), ca_file=ca_file, client_cert_file=str(mine))
        assert reading.reason is expected, reading


def test_key_in_a_file_of_its_own(nginx: Any, ca_file: str, ask: Asking, authority: trustme.CA, tmp_path: Path) -> None:
    leaf = authority.issue_cert("ann@example.org")
    certificate, key = tmp_path / "ann.crt", tmp_path / "ann.key"
    leaf.cert_chain_pems[0].write_to_path(certificate)
    leaf.private_key_pem.write_to_path(key)
    options = {"ca_file": ca_file, "client_cert_file": str(certificate)}
    assert ask(nginx.url("demanding"), client_key_file=str(key), **options).status is Status.UP
    assert ask(nginx.url("demanding"), **options).status is Status.UNKNOWN  # no key: our own fault


def test_revoked_certificate_is_told_where_it_is_stapled(nginx: Any, ca_file: str, ask: Asking) -> None:
    good = ask(nginx.url("good"), ca_file=ca_file, ocsp_staple=True)
    assert good.status is Status.UP, good.message
    reading = ask(nginx.url("revoked"), ca_file=ca_file, ocsp_staple=True)
    assert reading.reason is Reason.TLS_REVOKED, reading
    missing = ask(nginx.url("secure"), ca_file=ca_file, ocsp_staple=True)
    assert missing.reason is Reason.TLS_UNTRUSTED
    assert "OCSP" in missing.message
    assert ask(nginx.url("revoked"), ca_file=ca_file).status is Status.UP  # who does not ask is not told


@pytest.fixture
def quic_port(authority: trustme.CA, tmp_path: Path) -> Iterator[int]:
    aioquic = pytest.importorskip("aioquic.asyncio")
    from aioquic.asyncio.protocol import QuicConnectionProtocol
    from aioquic.h3.connection import H3_ALPN, H3Connection
    from aioquic.h3.events import HeadersReceived
    from aioquic.quic.configuration import QuicConfiguration

    class Answerer(QuicConnectionProtocol):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._http = H3Connection(self._quic)

        def quic_event_received(self, event: Any) -> None:
            for heard in self._http.handle_event(event):
                if isinstance(heard, HeadersReceived):
                    self._http.send_headers(heard.stream_id, [(b":status", b"200"), (b"content-length", b"2")])
                    self._http.send_data(heard.stream_id, b"h3", end_stream=True)
                    self.transmit()

    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "quic.pem")
    configuration = QuicConfiguration(is_client=False, alpn_protocols=H3_ALPN)
    configuration.load_cert_chain(str(tmp_path / "quic.pem"), str(tmp_path / "quic.pem"))
    loop, port = asyncio.new_event_loop(), free_udp_port()
    thread = threading.Thread(target=loop.run_forever)  # this thread may have a browser's loop running already
    thread.start()
    serving = aioquic.serve("127.0.0.1", port, configuration=configuration, create_protocol=Answerer)
    server = asyncio.run_coroutine_threadsafe(serving, loop).result(10)
    yield port
    loop.call_soon_threadsafe(server.close)
    loop.call_soon_threadsafe(loop.call_later, 0.05, loop.stop)  # closing takes the loop another turn
    thread.join()
    loop.close()


def test_http_3_over_quic(quic_port: int, ca_file: str, version_of: Any, ask: Asking) -> None:
    url = f"https://127.0.0.1:{quic_port}/"
    assert version_of(url, ca_file=ca_file, http_version="3") == "3 h3"
    reading = ask(url, ca_file=ca_file, http_version="3")
    assert reading.status is Status.UP
    assert reading.metrics["certificate_days_left"] > 0
    untrusted = ask(url, http_version="3")
    assert untrusted.reason is Reason.TLS_UNTRUSTED, untrusted


def test_http_3_where_nobody_listens_is_refused(ask: Asking) -> None:
    reading = ask(f"https://127.0.0.1:{free_udp_port()}/", http_version="3", timeout_s=1.0)
    assert (reading.status, reading.reason) in {(Status.DOWN, Reason.TCP_REFUSED), (Status.DOWN, Reason.TCP_TIMEOUT)}
