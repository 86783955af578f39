"""Where the demo's mails and webhooks arrive: an SMTP and an HTTP server on loopback that keep every message as a file.

    python -m dashboard.inbox FOLDER SMTP_PORT HTTP_PORT

Mails become FOLDER/mail/NNNN.eml, webhooks FOLDER/webhook/NNNN.json. $BACKWATCH_HOOK_SECRET, a Standard Webhooks
secret, lets the file say whether the signature was right.
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

HOST = "127.0.0.1"
SECRET = "BACKWATCH_HOOK_SECRET"  # noqa: S105 - the name of the variable
FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"
_LARGEST_BYTES = 1 << 20
_TOLERANCE_S = 300
_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it arrived. `verified` says of a webhook whether its signature was right; None for a mail."""

    at_ms: int
    channel: Literal["mail", "webhook"]
    to: str
    subject: str
    text: str
    path: Path
    verified: bool | None = None


def list_messages(folder: Path, limit: int = 200) -> list[Message]:
    """The messages in an inbox, the newest first; a file that cannot be read is left out."""
    messages = []
    for pattern, read in (("mail/*.eml", _read_mail), ("webhook/*.json", _read_webhook)):
        for path in sorted(folder.glob(pattern))[-limit:]:
            try:
                messages.append(read(path))
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue
    return sorted(messages, key=lambda message: (message.at_ms, str(message.path)), reverse=True)[:limit]


def _read_mail(path: Path) -> Message:
    mail = message_from_bytes(path.read_bytes(), policy=policy.default)
    body = mail.get_body(("plain", "html")) if isinstance(mail, EmailMessage) else None
    text = body.get_content() if body else ""
    return Message(
        path.stat().st_mtime_ns // 1_000_000, "mail", str(mail["To"] or ""), str(mail["Subject"] or ""), text, path
    )


def _read_webhook(path: Path) -> Message:
    kept = json.loads(path.read_text(encoding="utf-8"))
    at_ms = int(datetime.strptime(kept["received"], FORMAT).replace(tzinfo=UTC).timestamp() * 1000)
    try:
        body = json.loads(kept["body"])
    except ValueError:
        body = {}
    return Message(at_ms, "webhook", kept["path"], _title(body), kept["body"], path, bool(kept["verified"]))


def _title(body: Any) -> str:
    """What an Alertmanager body is about: its status and the summary of its first alert."""
    if not isinstance(body, dict):
        return ""
    notes = body.get("commonAnnotations") or next(
        (alert.get("annotations") for alert in body.get("alerts") or [] if isinstance(alert, dict)), None
    )
    summary = (notes or {}).get("summary") or body.get("title") or ""
    status = body.get("status") or ""
    return f"{status}: {summary}" if status and summary else str(status or summary)


def is_signed(secret: str, headers: Mapping[str, str], body: bytes, now_s: float) -> bool:
    """Whether a webhook carries a right signature, as Standard Webhooks says: HMAC-SHA256 over `id.timestamp.body`."""
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        stamp = headers["webhook-timestamp"]
        if abs(now_s - int(stamp)) > _TOLERANCE_S:
            return False
        signed = f"{headers['webhook-id']}.{stamp}.".encode() + body
        given = headers["webhook-signature"].split()
    except (KeyError, ValueError):
        return False
    wanted = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return any(hmac.compare_digest(wanted.encode(), one.encode()) for one in given)


class Drawer:
    """A folder that takes numbered files, whole or not at all."""

    def __init__(self, folder: Path, ending: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._ending = folder, ending
        self._lock = threading.Lock()
        self._last = max((int(path.stem) for path in folder.glob(f"*{ending}") if path.stem.isdecimal()), default=0)

    def put(self, content: bytes) -> Path:
        """Keep one more; readers see it once it is whole."""
        with self._lock:
            self._last += 1
            path = self._folder / f"{self._last:04d}{self._ending}"
        draft = path.with_name(f".{path.name}.part")
        draft.write_bytes(content)
        draft.replace(path)
        return path


class MailHandler:
    """What the SMTP server does with a mail: keep it as it came."""

    def __init__(self, drawer: Drawer) -> None:
        self._drawer = drawer

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        """Called when a mail is complete."""
        self._drawer.put(bytes(envelope.original_content))
        return "250 kept"


class HookHandler(BaseHTTPRequestHandler):
    """Keeps the body and headers of every POST."""

    drawer: Drawer
    secret: str
    timeout = _PATIENCE_S

    def do_POST(self) -> None:
        """Any path."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > _LARGEST_BYTES:
            self._answer(411 if not length.isdecimal() else 413)
            return
        body = self.rfile.read(int(length))
        headers = {name.lower(): value for name, value in self.headers.items()}
        kept = {
            "received": datetime.now(UTC).strftime(FORMAT),
            "path": self.path,
            "headers": headers,
            "body_base64": base64.b64encode(body).decode(),
            "body": body.decode("utf-8", "replace"),
            "verified": is_signed(self.secret, headers, body, time.time()),
        }
        self.drawer.put(json.dumps(kept, indent=1).encode())
        self._answer(204)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing: the file is the record."""

    def _answer(self, code: int) -> None:
        self.send_response(code)
        self.send_header("Content-Length", "0")
        self.end_headers()


class Inbox:
    """Both servers, in threads of their own, from `start` to `stop`. Ports of 0 are chosen by the system."""

    def __init__(self, folder: Path, smtp_port: int, http_port: int, secret: str = "") -> None:
        from aiosmtpd.controller import Controller

        mail, webhook = Drawer(folder / "mail", ".eml"), Drawer(folder / "webhook", ".json")
        handler = type("Handler", (HookHandler,), {"drawer": webhook, "secret": secret})
        self._http = ThreadingHTTPServer((HOST, http_port), handler)
        self._http.daemon_threads = True
        self._smtp = Controller(MailHandler(mail), hostname=HOST, port=smtp_port, data_size_limit=_LARGEST_BYTES)

    @property
    def http_port(self) -> int:
        """Where webhooks are taken."""
        return int(self._http.server_port)

    def start(self) -> None:
        """Take messages. Raises OSError where a port is taken."""
        self._smtp.start()
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True).start()

    def stop(self) -> None:
        """Take no more."""
        self._http.shutdown()
        self._http.server_close()
        self._smtp.stop()


def main(arguments: Sequence[str]) -> None:
    """Run until SIGTERM or SIGINT."""
    import signal

    folder, smtp_port, http_port = Path(arguments[0]), int(arguments[1]), int(arguments[2])
    inbox = Inbox(folder, smtp_port, http_port, os.environ.get(SECRET, ""))
    inbox.start()
    # Threads inherit the mask: a blocked signal is only taken by sigwait.
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    inbox.stop()


if __name__ == "__main__":
    import signal as signals

    signals.pthread_sigmask(signals.SIG_BLOCK, {signals.SIGTERM, signals.SIGINT})
    main(sys.argv[1:])
