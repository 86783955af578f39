"""Mail: multipart, threaded by incident, over STARTTLS unless told otherwise."""

import html
import smtplib
import socket
import ssl
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from alerts.cutoff import Cutoff
from alerts.message import Affected, Message, lines, utc
from alerts.notifier import DeliveryError, Notifier, NotifierOptions, notifier

_DEADLINE_S = 30.0
_PORTS = {"starttls": 587, "tls": 465, "none": 25}
_COLOURS = {"DOWN": "#b3261e", "DEGRADED": "#8a5300", "NO DATA": "#4a4a6a", "RESOLVED": "#1b6e3c", "TEST": "#1f5fa8"}


def _address(text: str) -> str:
    name, address = parseaddr(text)
    local, at, domain = address.rpartition("@")
    if not (local and at and domain) or any(c in text for c in "\r\n"):
        raise ValueError("an address looks like ops@example.org or Ops <ops@example.org>")
    Address(display_name=name, addr_spec=address)
    return text


MailAddress = Annotated[str, AfterValidator(_address)]


class Smtp(BaseModel):
    """The server that takes the mail."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(description="name or address of the mail server")
    port: int | None = Field(default=None, ge=1, le=65535, description="587 with starttls, 465 with tls, 25 with none")
    security: Literal["starttls", "tls", "none"] = Field(default="starttls", description="how the way there is guarded")
    username: str | None = None
    password: SecretStr | None = None
    ca_file: str | None = Field(default=None, description="certificates to trust instead of the system's")


class EmailOptions(NotifierOptions):
    """Keys of an email notifier."""

    to: tuple[MailAddress, ...] = Field(min_length=1, description="who is told")
    sender: MailAddress | None = Field(default=None, alias="from", description="address the mail comes from")
    smtp: Smtp


@notifier("email")
class EmailNotifier(Notifier):
    """One mail to all addresses; mails about one incident form a thread."""

    Options = EmailOptions
    options: EmailOptions
    deadline_s = _DEADLINE_S

    def describe(self) -> str:
        """Whom and over what."""
        return f"email to {', '.join(self.options.to)} over {self.options.smtp.host}"

    def send(self, message: Message) -> int | None:
        """See `Notifier.send`. Whatever the server said after it took the mail does not matter."""
        mail = self.compose(message)
        with Cutoff(self.deadline_s) as cutoff:
            try:
                return self._deliver(mail, cutoff)
            except smtplib.SMTPRecipientsRefused as error:
                raise _refused(error) from error
            except smtplib.SMTPResponseException as error:
                if cutoff.expired:
                    raise DeliveryError(f"no answer within {self.deadline_s:g} s") from error
                raise _answered(error.smtp_code, error.smtp_error) from error
            except smtplib.SMTPNotSupportedError as error:
                text = "the server does not offer STARTTLS; mail is not sent in the clear (security: starttls)"
                raise DeliveryError(f"{text}: {error}") from error
            except (OSError, smtplib.SMTPException) as error:
                late = f"no answer within {self.deadline_s:g} s: " if cutoff.expired else ""
                raise DeliveryError(f"{late}{type(error).__name__}: {error}") from error

    def compose(self, message: Message) -> EmailMessage:
        """The mail itself."""
        sender = self.options.sender or f"backwatch@{socket.getfqdn() or 'localhost'}"
        domain = parseaddr(sender)[1].rpartition("@")[2]
        mail = EmailMessage(policy=SMTP)
        mail["From"] = sender
        mail["To"] = ", ".join(self.options.to)
        mail["Subject"] = message.subject
        mail["Date"] = format_datetime(datetime.now(UTC))
        mail["Message-ID"] = f"<{message.id}@{domain}>"
        if message.incident_id:
            thread = f"<incident-{message.incident_id}@{domain}>"
            mail["In-Reply-To"] = thread
            mail["References"] = thread
        mail["Auto-Submitted"] = "auto-generated"
        mail["X-Auto-Response-Suppress"] = "All"
        if message.severity == "page" and message.status == "firing":
            mail["Importance"] = "high"
        mail.set_content("\n".join(lines(message)) + "\n")
        mail.add_alternative(_html(message), subtype="html")
        return mail

    def _deliver(self, mail: EmailMessage, cutoff: Cutoff) -> int:
        smtp = self.options.smtp
        port = smtp.port or _PORTS[smtp.security]
        context = ssl.create_default_context(cafile=smtp.ca_file) if smtp.security != "none" else None
        implicit = context if smtp.security == "tls" else None
        client = _Client(smtp.host, port, self.deadline_s, cutoff, implicit)
        try:
            client.ehlo_or_helo_if_needed()
            if smtp.security == "starttls":
                client.starttls(context=context)
                client.ehlo()
            if smtp.username is not None:
                client.login(smtp.username, smtp.password.get_secret_value() if smtp.password else "")
            client.send_message(mail)
        finally:
            client.close()  # QUIT is a courtesy, and one more place to hang
        return 250


class _Client(smtplib.SMTP):
    """An SMTP client whose socket is watched from the first byte on."""

    def __init__(self, host: str, port: int, timeout: float, cutoff: Cutoff, implicit: ssl.SSLContext | None) -> None:
        self._cutoff = cutoff
        self._implicit = implicit
        super().__init__(host, port, timeout=timeout)

    def _get_socket(self, host: str, port: int, timeout: float) -> Any:
        connected = socket.create_connection((host, port), timeout)
        self._cutoff.watch(connected)
        if self._implicit is not None:
            return self._implicit.wrap_socket(connected, server_hostname=host)
        return connected


def _refused(error: smtplib.SMTPRecipientsRefused) -> DeliveryError:
    answers = [f"{who}: {code} {_text(said)}" for who, (code, said) in error.recipients.items()]
    codes = [code for code, _ in error.recipients.values()]
    permanent = all(500 <= code < 600 for code in codes)
    return DeliveryError(f"refused {'; '.join(answers)}", permanent=permanent, code=max(codes, default=None))


def _answered(code: int, said: bytes | str) -> DeliveryError:
    # 421 and other 4xx mean "later"; -1 is what smtplib says when the connection broke.
    return DeliveryError(f"the server said {code} {_text(said)}", permanent=500 <= code < 600, code=code)


def _text(said: bytes | str) -> str:
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else said


def _html(message: Message) -> str:
    e = html.escape
    rows = "".join(_row(member) for member in message.members)
    cause = f"<p style='margin:0 0 12px'>{e(message.cause)}</p>" if message.cause else ""
    ended = f" &middot; resolved {e(utc(message.resolved_ms))}" if message.resolved_ms is not None else ""
    rest = "<br>".join(e(line) for line in lines(message)[-2:]) if message.incident_id else ""
    return (
        "<!doctype html><html><body style='font:15px/1.45 system-ui,sans-serif;color:#1a1a1a;margin:24px'>"
        f"<p style='margin:0 0 8px;color:{_COLOURS[message.word]};font-weight:700'>{e(message.word)}</p>"
        f"<h1 style='font-size:18px;margin:0 0 12px'>{e(message.title)}</h1>{cause}"
        f"<p style='margin:0 0 12px;color:#555'>since {e(utc(message.opened_ms))}{ended}</p>"
        f"<table style='border-collapse:collapse;margin:0 0 12px'>{rows}</table>"
        f"<p style='color:#555'>{rest}</p></body></html>"
    )


def _row(member: Affected) -> str:
    cells = (member.target, member.tier.replace("_", " "), member.level.replace("_", " "), member.message)
    return "<tr>" + "".join(f"<td style='padding:2px 12px 2px 0'>{html.escape(cell)}</td>" for cell in cells) + "</tr>"
