"""What does a failing run leave behind for people? Its exchanges, bounded, with everything secret taken out.

Secrets leave in three ways: those the configuration names and those a journey came by are masked by value, in every
spelling; headers, fields and attributes that bear secrets by their name lose their values, whoever sent them.
"""

import json
import math
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_plus

from probes.body import charset_of, decode_text
from probes.probe import Certificate, Reading, Request, Response
from probes.redact import MASK, is_private, mask_of_few, mask_url
from probes.result import Evidence, EvidenceKind, Phases, Status

MOST_HEADER_CHARS = 8 * 1024
MOST_BODY_CHARS = 16 * 1024
MOST_TEXT_CHARS = 4 * 1024
MOST_EXCHANGES = 6
# More than is kept, so that a secret at the edge is whole when it is looked for.
_LOOKED_AT_BYTES = 3 * MOST_BODY_CHARS
_PAUSE_MS = 60_000
_BURST, _PER_S = 50.0, 10.0

_JSON_PAIR = re.compile(r'("([^"\\]{1,100})"\s{0,9}:\s{0,9})(?:"(?:[^"\\]|\\.)*"?|-?[0-9][0-9.eE+-]{0,40})')
_ESCAPED_PAIR = re.compile(r'(\\{1,7}"([^"\\]{1,100})\\{1,7}"\s{0,9}:\s{0,9}\\{1,7}")[^"\\]{1,4000}')
_FORM_PAIR = re.compile(r"(?<![\w.-])([\w.\[\]%-]{1,100})=([^&\s\"'<>;,]+)")
_TAG = re.compile(r"<(?:input|meta)\b[^<>]{0,2000}>", re.IGNORECASE)
_TAG_VALUE = re.compile(r"(\b(?:value|content)\s{0,9}=\s{0,9})(?:\"[^\"]*\"|'[^']*'|[^\s>\"']+)", re.IGNORECASE)
_TAG_NAME = re.compile(r"\b(?:name|id)\s{0,9}=\s{0,9}[\"']?([^\s\"'>]{1,100})", re.IGNORECASE)
_TAG_PRIVATE = re.compile(r"\btype\s{0,9}=\s{0,9}[\"']?(?:hidden|password)\b", re.IGNORECASE)
_CREDENTIALS = re.compile(r"(?i)\b(bearer|basic|negotiate)\s{1,9}[a-z0-9+/=._~-]{12,}")
_JWT = re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*")
_COOKIE_VALUE = re.compile(r"=[^;]*")
_UNPRINTABLE = dict.fromkeys(
    code
    for first, after in ((0, 9), (11, 32), (0x7F, 0xA0), (0x200B, 0x2010), (0x202A, 0x202F), (0x2060, 0x206A))
    for code in range(first, after)
) | {0x061C: None, 0xFEFF: None}

Mask = Callable[[str], str]


@dataclass(slots=True)
class Streak:
    """How often in a row a check has answered badly, to know which of its runs are worth keeping evidence of."""

    status: Status = Status.UP
    length: int = 0
    kept_ms: dict[EvidenceKind, int] = field(default_factory=dict)

    def then(self, status: Status, fail_after: int, at_ms: int) -> EvidenceKind | None:
        """Take the next status in; the kind of evidence it calls for. Unknown says nothing about the target."""
        if status is Status.UNKNOWN:
            return None
        self.length = self.length + 1 if status is self.status else 1
        self.status = status
        kind = EvidenceKind.CONFIRMED if self.length == fail_after else EvidenceKind.FIRST
        if status is Status.UP or (kind is EvidenceKind.FIRST and self.length != 1):
            return None
        if at_ms - self.kept_ms.get(kind, -_PAUSE_MS) < _PAUSE_MS:  # a check that flaps must not fill the store
            return None
        self.kept_ms[kind] = at_ms
        return kind


@dataclass(slots=True)
class Budget:
    """So much evidence a worker may gather: thousands that fail at once have one cause, and the loop has to go on."""

    left: float = _BURST
    at_ms: int = 0

    def take(self, at_ms: int) -> bool:
        """Whether there is room for one more now: 50 at once, 10 a second."""
        self.left = min(_BURST, self.left + max(0, at_ms - self.at_ms) / 1000 * _PER_S)
        self.at_ms = at_ms
        if self.left < 1:
            return False
        self.left -= 1
        return True


def collect(
    kind: EvidenceKind, reading: Reading, content: Mapping[str, Any], mask: Mask, times: tuple[int, int]
) -> Evidence:
    """The evidence of a failing reading. `times` are when it was made and when it expires, in ms."""
    whole = {
        "status": reading.status.value,
        "reason": reading.reason.value if reading.reason else None,
        "message": reading.message,
        "code": reading.code,
        "duration_s": reading.duration_s,
        "phases": phases_of(reading.phases),
        "metrics": dict(reading.metrics),
        **content,
    }
    return Evidence(kind, *times, lambda: pack(each_text(whole, lambda text: hide(mask(text)))))


def exchange(request: Request, response: Response) -> dict[str, Any]:
    """A request and what came of it, for people."""
    asked = {
        "method": request.method,
        "url": request.url,
        "headers": _headers(request.headers),
        "auth": None if request.auth == "none" else request.auth,
        "connect_to": request.connect_to,
        "body": None if request.body is None else _text(request.body, _header(request.headers, "content-type")),
    }
    found: dict[str, Any] = {
        "request": {name: value for name, value in asked.items() if value},
        "address": response.address,
        "duration_s": response.duration_s,
        "phases": phases_of(response.phases),
        "certificate": None if response.certificate is None else _certificate(response.certificate),
    }
    # A server may tell what it was told, in words of its own.
    mask = mask_of_few(_secrets_of(request), 4)
    if response.hops:
        found["hops"] = each_text([asdict(hop) | {"phases": phases_of(hop.phases)} for hop in response.hops], mask)
    if response.code is not None:
        answered = {
            "url": response.url,
            "code": response.code,
            "http_version": response.http_version,
            "headers": _headers(response.headers),
            "body_bytes": len(response.body),
            "body": _text(response.body, response.header("content-type")),
        }
        found["response"] = each_text(answered, mask)
    if response.failure is not None:
        found["failure"] = {"reason": response.failure.reason.value, "message": response.failure.message}
    return {name: value for name, value in found.items() if value}


def phases_of(phases: Phases) -> dict[str, float]:
    """The steps that happened, in seconds."""
    return {name: value for name, value in asdict(phases).items() if value is not None}


def each_text(value: Any, change: Mask) -> Any:
    """The same structure of dicts and lists with every text in it changed."""
    if isinstance(value, Mapping):
        return {key: each_text(entry, change) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [each_text(entry, change) for entry in value]
    return change(value) if isinstance(value, str) else value


def hide(text: str) -> str:
    """The text without what bears a secret by its name: JSON and form fields, hidden inputs, credentials, URLs."""
    text = _JSON_PAIR.sub(lambda found: f'{found[1]}"{MASK}"' if is_private(found[2]) else found[0], text)
    text = _ESCAPED_PAIR.sub(lambda found: f"{found[1]}{MASK}" if is_private(found[2]) else found[0], text)
    text = _FORM_PAIR.sub(lambda found: f"{found[1]}={MASK}" if is_private(found[1]) else found[0], text)
    text = _TAG.sub(_hide_tag, text)
    text = _JWT.sub(MASK, _CREDENTIALS.sub(rf"\1 {MASK}", text))
    return mask_url(text)


def pack(content: Mapping[str, Any]) -> bytes:
    """Bounded, as compressed JSON."""
    bounded = _bound("", content)
    return zlib.compress(json.dumps(bounded, separators=(",", ":"), ensure_ascii=False, default=str).encode(), 6)


def unpack(data: bytes) -> dict[str, Any]:
    """What was packed. Raises ValueError for damage."""
    try:
        found = json.loads(zlib.decompress(data))
    except zlib.error as error:
        raise ValueError(f"damaged evidence: {error}") from None
    return found if isinstance(found, dict) else {}


def _bound(key: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _bound(str(name), entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        if key == "headers":
            return _bound_headers(value)
        return [_bound("", entry) for entry in value[:100]]
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON knows neither NaN nor infinity
    if not isinstance(value, str):
        return value
    return _cut(value.translate(_UNPRINTABLE), MOST_BODY_CHARS if key == "body" else MOST_TEXT_CHARS)


def _bound_headers(headers: Any) -> list[list[str]]:
    kept: list[list[str]] = []
    room = MOST_HEADER_CHARS
    for name, value in headers:
        room -= len(name) + len(value) + 4
        if room < 0:
            break
        kept.append([name.translate(_UNPRINTABLE), value.translate(_UNPRINTABLE)])
    return kept


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _headers(headers: Sequence[tuple[str, str]]) -> list[list[str]]:
    return [[name, _hide_header(name.lower(), value)] for name, value in headers]


def _hide_header(name: str, value: str) -> str:
    if name == "set-cookie":
        first, semicolon, rest = value.partition(";")
        return _COOKIE_VALUE.sub(f"={MASK}", first, count=1) + semicolon + rest
    if name == "cookie":
        return _COOKIE_VALUE.sub(f"={MASK}", value)
    return MASK if is_private(name) else value


def _secrets_of(request: Request) -> set[str]:
    """What a request says in confidence: by the names of its headers, fields and parameters."""
    secrets = {part for name, value in request.headers if is_private(name) for part in _parts(name.lower(), value)}
    body = "" if request.body is None else _text(request.body, None)
    for found in _JSON_PAIR.finditer(body):
        if is_private(found[2]):
            secrets.add(found[0][len(found[1]) :].strip('"'))
    for found in _FORM_PAIR.finditer(f"{body} {request.url}"):
        if is_private(found[1]):
            secrets |= {found[2], unquote_plus(found[2])}
    return secrets | ({request.password} if request.password else set())


def _parts(name: str, value: str) -> list[str]:
    """Of a header: a cookie's values, what follows the scheme of credentials, else all of it."""
    if name == "cookie":
        return [cookie.partition("=")[2].strip() for cookie in value.split(";")]
    return [value, value.rpartition(" ")[2]]


def _header(headers: tuple[tuple[str, str], ...], wanted: str) -> str | None:
    return next((value for name, value in headers if name.lower() == wanted), None)


def _hide_tag(found: re.Match[str]) -> str:
    name = _TAG_NAME.search(found[0])
    if _TAG_PRIVATE.search(found[0]) or (name is not None and is_private(name[1])):
        return _TAG_VALUE.sub(rf'\1"{MASK}"', found[0])
    return found[0]


def _text(body: bytes, content_type: str | None) -> str:
    piece = body[:_LOOKED_AT_BYTES]
    if b"\0" in piece:
        return f"({len(body)} bytes that are no text)"
    return decode_text(piece, charset_of(content_type))


def _certificate(certificate: Certificate) -> dict[str, Any]:
    return {
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "not_before": datetime.fromtimestamp(certificate.not_before_s, UTC).isoformat(),
        "not_after": datetime.fromtimestamp(certificate.not_after_s, UTC).isoformat(),
        "sha256": certificate.fingerprint_sha256,
        "names": list(certificate.names[:20]),
    }
