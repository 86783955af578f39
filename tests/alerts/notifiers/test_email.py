"""Mail as servers meet it: a real sink, and servers that misbehave."""

import email
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.message import EmailMessage
from email.policy import default
from typing import Any

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from pydantic import ValidationError

from alerts.message import Message
from alerts.notifier import DeliveryError
from alerts.notifiers.email import EmailNotifier, EmailOptions


class Sink:
    """Takes mail, or answers as it is told."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.answers: dict[str, str] = {}

    async def handle_RCPT(  # noqa: N802 - the name aiosmtpd calls
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.answers:
            return self.answers[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if "DATA" in self.answers:
            return self.answers["DATA"]
        content = envelope.content
        self.mails.append(email.message_from_bytes(content if isinstance(content, bytes) else b"", policy=default))
        return "250 OK"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Any) -> str:
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(file)
    return str(file)


@pytest.fixture
def sink(authority: trustme.CA) -> Iterator[tuple[Sink, int]]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    sink = Sink()
    controller = Controller(sink, hostname="127.0.0.1", port=free_port(), tls_context=context, require_starttls=True)
    controller.start()
    yield sink, controller.port
    controller.stop()


@pytest.fixture
def plain_sink() -> Iterator[tuple[Sink, int]]:
    sink = Sink()
    controller = Controller(sink, hostname="127.0.0.1", port=free_port())
    controller.start()
    yield sink, controller.port
    controller.stop()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def mailer(port: int, security: str = "none", **smtp: Any) -> EmailNotifier:
    keys = {
        "to": ["ops@example.org", "Night <night@example.org>"],
        "from": "Backwatch <bw@example.org>",
        "smtp": {"host": "127.0.0.1", "port": port, "security": security, **smtp},
    }
    return EmailNotifier("ops", EmailOptions.model_validate(keys))


def refused(notifier: EmailNotifier, message: Message) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        notifier.send(message)
    return caught.value


def test_mail_goes_over_starttls_with_a_checked_certificate(sink: Any, ca_file: str, message: Message) -> None:
    box, port = sink
    mailer(port, "starttls", ca_file=ca_file).send(message)
    (mail,) = box.mails
    assert mail["Subject"] == "[DOWN] shop: database shop/db refuses connections — app and web affected"
    assert mail["Message-ID"] == f"<{message.id}@example.org>"
    assert mail["In-Reply-To"] == mail["References"] == f"<incident-{message.incident_id}@example.org>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]


def test_untrusted_certificate_is_refused(sink: Any, message: Message) -> None:
    box, port = sink
    assert "CERTIFICATE_VERIFY_FAILED" in refused(mailer(port, "starttls"), message).text
    assert box.mails == []


def test_stripped_starttls_sends_nothing_in_the_clear(plain_sink: Any, message: Message) -> None:
    box, port = plain_sink
    error = refused(mailer(port, "starttls"), message)
    assert "not sent in the clear" in error.text
    assert box.mails == []


def test_text_and_html_say_what_happened_and_escape_it(plain_sink: Any, message: Message) -> None:
    box, port = plain_sink
    mailer(port).send(message)
    text, page = (part.get_content() for part in box.mails[0].iter_parts())
    assert "shop/app (app) down" in text
    assert f"backwatch incident ack {message.incident_id}" in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>" not in page
    assert "<b>refused" not in page


def test_resolved_mail_says_how_long(plain_sink: Any, message: Message) -> None:
    box, port = plain_sink
    ended = replace(
        message, kind="resolve", status="resolved", resolved_ms=message.opened_ms + 125_000, closed_as="recovered"
    )
    mailer(port).send(ended)
    assert box.mails[0]["Subject"].startswith("[RESOLVED] shop: ")
    assert "recovered, after 2 min 5 s" in box.mails[0].get_body(("plain",)).get_content()


@pytest.mark.parametrize("bad", ["a\r\nBcc: all@example.org", "a\nb"])
def test_line_breaks_never_reach_a_header(plain_sink: Any, message: Message, bad: str) -> None:
    box, port = plain_sink
    mailer(port).send(replace(message, title=bad))
    assert "Bcc" not in box.mails[0]
    assert "\n" not in box.mails[0]["Subject"]


@pytest.mark.parametrize(
    ("answer", "permanent"),
    [("451 try later", False), ("452 full", False), ("550 no such user", True), ("554 no", True)],
)
def test_answer_to_data_decides(plain_sink: Any, message: Message, answer: str, permanent: bool) -> None:
    box, port = plain_sink
    box.answers["DATA"] = answer
    error = refused(mailer(port), message)
    assert (error.permanent, error.code) == (permanent, int(answer[:3]))


def test_every_recipient_refused_is_told_with_names(plain_sink: Any, message: Message) -> None:
    box, port = plain_sink
    box.answers = {"ops@example.org": "550 unknown", "night@example.org": "551 gone"}
    error = refused(mailer(port), message)
    assert error.permanent
    assert "ops@example.org: 550 unknown" in error.text


def test_one_good_recipient_is_enough(plain_sink: Any, message: Message) -> None:
    box, port = plain_sink
    box.answers = {"ops@example.org": "550 unknown"}
    mailer(port).send(message)
    assert len(box.mails) == 1


@pytest.fixture
def misbehaving() -> Iterator[Callable[[bytes, float], int]]:
    """A server that says something at once and then drips a byte at each interval."""
    servers: list[socket.socket] = []
    threads: list[threading.Thread] = []
    stop = threading.Event()

    def start(first: bytes, every_s: float) -> int:
        server = socket.create_server(("127.0.0.1", 0))

        def serve() -> None:
            taken, _ = server.accept()
            with taken:
                taken.sendall(first)
                while not stop.wait(every_s):
                    try:
                        taken.send(b"2")
                    except OSError:
                        return

        servers.append(server)
        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        port: int = server.getsockname()[1]
        return port

    yield start
    stop.set()
    for thread in threads:
        thread.join()
    for server in servers:
        server.close()


@pytest.mark.parametrize("first", [b"", b"220 hello\r\n"], ids=["hangs at banner", "hangs at EHLO"])
def test_hanging_server_meets_the_total_deadline(misbehaving: Any, message: Message, first: bytes) -> None:
    notifier = mailer(misbehaving(first, 0.05))
    notifier.deadline_s = 0.5
    started = time.monotonic()
    error = refused(notifier, message)
    assert time.monotonic() - started < 2
    assert not error.permanent
    assert "no answer within 0.5 s" in error.text


def test_refused_connection_is_retried(message: Message) -> None:
    assert not refused(mailer(free_port()), message).permanent


@pytest.mark.parametrize("address", ["ops", "a@b\r\nBcc: x@y.z", "@example.org"])
def test_bad_address_is_refused(address: str) -> None:
    with pytest.raises(ValidationError):
        EmailOptions.model_validate({"to": [address], "smtp": {"host": "mail"}})


def test_starttls_is_the_default() -> None:
    options = EmailOptions.model_validate({"to": ["ops@example.org"], "smtp": {"host": "mail"}})
    assert options.smtp.security == "starttls"
