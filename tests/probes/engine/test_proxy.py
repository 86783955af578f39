"""A check goes through a proxy: a tunnel or plain, with a password, guarded as without."""

import base64
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from probes.probe import Reading
from probes.result import Reason, Status

if TYPE_CHECKING:
    from conftest import Asker, Names

Asking = Callable[..., Reading]
METADATA = "169.254.169.254"


class Proxy:
    """A small HTTP proxy with a password: CONNECT, and plain requests by absolute URL."""

    def __init__(self, servers: Any, read_head: Callable[[socket.socket], bytes], refusal: bytes = b"") -> None:
        self._read_head, self._refusal = read_head, refusal
        self.heard: list[bytes] = []
        self.port = servers.start(self._handle)

    def _handle(self, connection: socket.socket) -> None:
        head = self._read_head(connection)
        self.heard.append(head)
        token = base64.b64encode(b"ann:secret")
        if self._refusal or b"Proxy-Authorization: Basic " + token not in head:
            status = self._refusal or b"407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=p"
            connection.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
            return
        method, target, _ = head.split(b" ", 2)
        place = target if method == b"CONNECT" else target.split(b"/")[2]
        host, _, port = place.decode().rpartition(":")
        with socket.create_connection(("127.0.0.1" if host == "shop.example" else host, int(port)), 2) as onward:
            if method == b"CONNECT":
                connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                onward.sendall(head)
            back = threading.Thread(target=pump, args=(onward, connection), daemon=True)
            back.start()
            pump(connection, onward)
            back.join(2)


def pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def secure_port(servers: Any, answering: Any, authority: trustme.CA) -> int:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("shop.example").configure_cert(context)
    return int(servers.start(answering(b"inside"), context))


@pytest.fixture
def proxy(servers: Any, read_head: Any) -> Proxy:
    return Proxy(servers, read_head)


def test_https_goes_through_a_tunnel_and_the_target_s_certificate_counts(
    names: "Names", asking: "Asker", secure_port: int, proxy: Proxy, ca_file: str
) -> None:
    target = secure_port
    names.zone["proxy.example"] = ["127.0.0.1"]
    way = f"http://ann:secret@proxy.example:{proxy.port}"
    reading = asking(
        f"https://shop.example:{target}/", proxy=way, ca_file=ca_file, expect={"body": {"contains": "inside"}}
    )
    assert reading.status is Status.UP, reading
    assert reading.metrics["certificate_days_left"] > 1
    assert proxy.heard[0].startswith(f"CONNECT shop.example:{target} HTTP/1.1\r\n".encode())
    assert {one.split()[0] for one in names.asked} == {"proxy.example"}  # the target's name is the proxy's to look up
    untrusted = asking(f"https://shop.example:{target}/", proxy=way)
    assert untrusted.reason is Reason.TLS_UNTRUSTED


def test_plain_request_through_a_proxy(servers: Any, answering: Any, read_head: Any, ask: Asking) -> None:
    target, proxy = servers.start(answering(b"inside")), Proxy(servers, read_head)
    reading = ask(f"http://127.0.0.1:{target}/x", proxy=f"http://ann:secret@127.0.0.1:{proxy.port}")
    assert reading.status is Status.UP, reading
    assert proxy.heard[0].startswith(f"GET http://127.0.0.1:{target}/x HTTP/1.1\r\n".encode())


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxy_that_wants_a_password_is_auth_failed(servers: Any, read_head: Any, ask: Asking, scheme: str) -> None:
    proxy = Proxy(servers, read_head)
    reading = ask(f"{scheme}://127.0.0.1:9/", proxy=f"http://ann:wrong@127.0.0.1:{proxy.port}")
    assert reading.reason is Reason.AUTH_FAILED, reading
    assert "proxy" in reading.message.lower()
    assert "wrong" not in reading.message


def test_proxy_that_refuses_the_tunnel_says_its_status(servers: Any, read_head: Any, ask: Asking) -> None:
    proxy = Proxy(servers, read_head, refusal=b"403 Forbidden")
    reading = ask("https://127.0.0.1:9/", proxy=f"http://127.0.0.1:{proxy.port}")
    assert (reading.status, reading.reason) == (Status.DOWN, Reason.HTTP_PROTOCOL), reading
    assert "403" in reading.message


def test_proxy_is_guarded_and_so_is_an_address_behind_it(servers: Any, read_head: Any, ask: Asking) -> None:
    assert ask("http://127.0.0.1:9/", proxy=f"http://{METADATA}:3128").reason is Reason.SSRF_BLOCKED
    proxy = Proxy(servers, read_head)
    behind = ask(f"http://{METADATA}/", proxy=f"http://ann:secret@127.0.0.1:{proxy.port}")
    assert behind.reason is Reason.SSRF_BLOCKED
    assert not proxy.heard


def test_dead_proxy_is_refused(ask: Asking) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert ask("https://127.0.0.1:9/", proxy=f"http://127.0.0.1:{port}").reason is Reason.TCP_REFUSED
