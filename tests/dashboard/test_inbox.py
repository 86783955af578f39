"""The demo's inbox keeps what arrives, as it arrives, and says whether a webhook's signature was right."""

import base64
import json
import smtplib
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import pytest
import requests
from standardwebhooks import Webhook

from dashboard.inbox import Drawer, Inbox, is_signed, list_messages

SECRET = "whsec_" + base64.b64encode(b"a secret of some length").decode()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Running:
    """An inbox and its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.smtp_port = free_port()
        self.inbox = Inbox(folder, self.smtp_port, 0, SECRET)
        self.inbox.start()

    def post(self, body: bytes, **headers: str) -> int:
        url = f"http://127.0.0.1:{self.inbox.http_port}/hook"
        return requests.post(url, data=body, headers=headers, timeout=5).status_code


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path / "inbox")
    yield made
    made.inbox.stop()


def signed(body: str) -> dict[str, str]:
    now = datetime.now(UTC)
    signature = Webhook(SECRET).sign("msg_1", now, body)
    return {"webhook-id": "msg_1", "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signature}


def test_a_mail_is_kept_as_it_came(running: Running) -> None:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "backwatch@shop.example", "ops@shop.example", "[DOWN] database shop/db"
    mail.set_content("Größe zählt\n")
    with smtplib.SMTP("127.0.0.1", running.smtp_port, timeout=5) as smtp:
        smtp.send_message(mail)

    (message,) = list_messages(running.folder)

    assert (running.folder / "mail" / "0001.eml").exists()
    assert (message.channel, message.to, message.subject) == ("mail", "ops@shop.example", "[DOWN] database shop/db")
    assert message.text.strip() == "Größe zählt"
    assert abs(message.at_ms / 1000 - time.time()) < 10


def test_a_webhook_is_kept_with_headers_body_and_verdict(running: Running) -> None:
    body = '{"status": "firing", "commonAnnotations": {"summary": "database shop/db is down"}}'
    assert running.post(body.encode(), **signed(body)) == 204

    kept = json.loads((running.folder / "webhook" / "0001.json").read_text())
    (message,) = list_messages(running.folder)

    assert kept["verified"] is True
    assert kept["path"] == "/hook"
    assert kept["headers"]["webhook-id"] == "msg_1"
    assert base64.b64decode(kept["body_base64"]).decode() == kept["body"] == body
    Webhook(SECRET).verify(base64.b64decode(kept["body_base64"]), kept["headers"])
    assert (message.channel, message.verified) == ("webhook", True)
    assert message.subject == "firing: database shop/db is down"


def test_a_webhook_of_somebody_else_is_kept_and_marked(running: Running) -> None:
    headers = signed("another body")
    assert running.post(b"not JSON at all \xff", **headers) == 204
    (message,) = list_messages(running.folder)
    assert message.verified is False


@pytest.mark.parametrize(
    "spoil",
    [
        lambda headers: {**headers, "webhook-timestamp": str(int(time.time()) - 3600)},
        lambda headers: {**headers, "webhook-timestamp": "yesterday"},
        lambda headers: {**headers, "webhook-id": "msg_2"},
        lambda headers: {key: value for key, value in headers.items() if key != "webhook-signature"},
        lambda headers: {**headers, "webhook-signature": "v1,bm9uc2Vuc2U="},
    ],
    ids=["old", "no time", "other id", "no signature", "wrong signature"],
)
def test_a_signature_that_is_not_right_is_refused(spoil: Callable[[dict[str, str]], dict[str, str]]) -> None:
    headers = signed("{}")
    assert is_signed(SECRET, headers, b"{}", time.time())
    assert not is_signed(SECRET, spoil(headers), b"{}", time.time())


def test_a_body_without_end_is_not_taken(running: Running) -> None:
    with socket.create_connection(("127.0.0.1", running.inbox.http_port), timeout=5) as peer:
        peer.sendall(b"POST /hook HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
        assert b" 413 " in peer.recv(200)
    assert list_messages(running.folder) == []


def test_numbers_go_on_after_a_restart(tmp_path: Path) -> None:
    Drawer(tmp_path, ".eml").put(b"one")
    assert Drawer(tmp_path, ".eml").put(b"two").name == "0002.eml"


def test_messages_come_newest_first_and_broken_files_are_left_out(running: Running) -> None:
    for body in ("{}", "[]"):
        running.post(body.encode())
        time.sleep(0.01)
    (running.folder / "webhook" / "0003.json").write_text("{")
    assert [message.path.name for message in list_messages(running.folder)] == ["0002.json", "0001.json"]


def test_an_inbox_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert list_messages(tmp_path / "nowhere") == []
