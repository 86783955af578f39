"""Credentials and Unix sockets: what else a check can ask for, against real servers."""

import hashlib
import re
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from probes.probe import Reading
from probes.result import Reason, Status

Asking = Callable[..., Reading]


def test_netrc_is_never_read(
    servers: Any, read_head: Any, ask: Asking, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login ann password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    heard: list[bytes] = []

    def listen(connection: socket.socket) -> None:
        heard.append(read_head(connection))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    assert ask(f"http://127.0.0.1:{servers.start(listen)}/").status is Status.UP
    assert b"Authorization" not in heard[0]


# Unix sockets


def test_unix_socket_is_asked(ask: Asking, tmp_path: Path, read_head: Any) -> None:
    path = str(tmp_path / "app.sock")
    assert ask("http://app/health", unix_socket=path).reason is Reason.TCP_REFUSED
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            head = read_head(connection)
            body = head.split(b"\r\n")[0] + b" " + head.split(b"Host: ")[1].split(b"\r\n")[0]
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            connection.close()

        threading.Thread(target=serve, daemon=True).start()
        reading = ask("http://app/health", unix_socket=path, expect={"body": "GET /health HTTP/1.1 app"})
        assert reading.status is Status.UP, reading
    assert ask("http://app/health", unix_socket=path).reason is Reason.TCP_REFUSED


# Credentials


def digest_server(password: str) -> Callable[[socket.socket], None]:
    """RFC 7616 with SHA-256 and qop=auth, checked by our own arithmetic."""

    def sha(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    def holds(head: str) -> bool:
        given = dict(
            re.findall(r'(\w+)="?([^",]+)"?', head.partition("Authorization: Digest ")[2].partition("\r\n")[0])
        )
        if "response" not in given:
            return False
        one, two = sha(f"ann:shop:{password}"), sha(f"GET:{given['uri']}")
        return given["response"] == sha(f"{one}:n0nce:{given['nc']}:{given['cnonce']}:auth:{two}")

    def handle(connection: socket.socket) -> None:
        data = b""
        while piece := connection.recv(65536):
            data += piece
            if not data.endswith(b"\r\n\r\n"):
                continue
            fine, data = holds(data.decode()), b""
            status = "200 OK" if fine else "401 Unauthorized"
            challenge = 'WWW-Authenticate: Digest realm="shop", nonce="n0nce", qop="auth", algorithm=SHA-256\r\n'
            connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n{challenge}\r\n".encode())

    return handle


@pytest.mark.parametrize(("password", "reason"), [("secret", None), ("wrong", Reason.AUTH_FAILED)])
def test_digest_credentials(servers: Any, ask: Asking, password: str, reason: Reason | None) -> None:
    port = servers.start(digest_server("secret"))
    reading = ask(f"http://127.0.0.1:{port}/a?b=c", auth={"scheme": "digest", "username": "ann", "password": password})
    assert reading.reason is reason, reading
    assert password not in reading.message
