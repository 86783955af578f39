"""What of a text may people see? Control characters out, secrets masked in every spelling, lengths bounded."""

import base64
import json
import logging
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

SHORTEST_SECRET = 6
MASK = "***"
CUT = "…"
_SHORTEST_HEAD, _MOST_CUTS = 4, 50

_SECRET_KEY = re.compile(
    r"(?i)(^|[_-])(password|passwd|passphrase|secret|token|credential|credentials|api[_-]?key|authorization|cookie)$"
)
_PRIVATE_ENDS = (
    "token", "password", "passwd", "passphrase", "pwd", "secret", "credential", "credentials", "apikey", "api_key",
    "api-key", "authorization", "cookie", "csrf", "xsrf", "session", "sessionid", "session_id", "session-id", "sid",
    "jwt", "otp", "pin", "signature", "authenticity", "nonce", "private_key", "access_key",
)  # fmt: skip
_URL_PASSWORD = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30}://[^\s/?#:@]*):([^\s/?#]+)@")
# Direction marks and isolates reorder what stands around them; zero-width characters hide what is written.
_INVISIBLE = frozenset(
    "\u061c\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)


def clean(text: str, limit: int = 500) -> str:
    """Text from outside, fit to be stored and shown: one line, no control or direction characters, cut at `limit`."""
    # Cut first: a body of megabytes is not worth normalising. Composition only ever shortens.
    spaced = "".join(
        " " if char in "\t\n\r\u2028\u2029" else char
        for char in text[: limit * 4]
        if char not in _INVISIBLE and (char in "\t\n\r" or unicodedata.category(char) not in {"Cc", "Cs"})
    )
    plain = unicodedata.normalize("NFC", " ".join(spaced.split()))
    return plain if len(plain) <= limit and len(text) <= limit * 4 else plain[: limit - 1] + CUT


def is_secret_key(name: str) -> bool:
    """Whether a value under this key is a secret by its name: `password`, `smtp_password`, `Authorization`."""
    return _SECRET_KEY.search(name) is not None


def is_private(name: str) -> bool:
    """Whether the value of a field, header or parameter of this name is a secret: `csrf_token`, `sessionId`."""
    return name.lower().rstrip("]").endswith(_PRIVATE_ENDS)


def mask_url(text: str) -> str:
    """The same text with passwords in URLs masked: `redis://user:***@cache:6379`."""
    return _URL_PASSWORD.sub(rf"\1:{MASK}@", text)


def passwords_in(text: str) -> Iterator[str]:
    """Passwords that stand in URLs of a text."""
    return (found[2] for found in _URL_PASSWORD.finditer(text))


class Redactor:
    """Masks known secrets of at least six characters: as they are, JSON-, URL- and base64-encoded."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._spellings = _ordered_spellings(secrets, SHORTEST_SECRET)
        self._pattern = re.compile("|".join(map(re.escape, self._spellings))) if self._spellings else None

    def __repr__(self) -> str:
        return "Redactor()"

    def mask(self, text: str) -> str:
        """The text with every secret replaced by `***`, and the beginning of one where the text was cut amid it."""
        if self._pattern is None:
            return text
        text = self._pattern.sub(MASK, text)
        return self._mask_cuts(text) if CUT in text else text

    def _mask_cuts(self, text: str) -> str:
        pieces = text.split(CUT)
        for index in range(max(0, len(pieces) - 1 - _MOST_CUTS), len(pieces) - 1):
            pieces[index] = self._mask_end(pieces[index])
        return CUT.join(pieces)

    def _mask_end(self, piece: str) -> str:
        for spelling in self._spellings:
            head = spelling[:_SHORTEST_HEAD]
            at = piece.find(head, max(0, len(piece) - len(spelling)))
            while at >= 0:
                if spelling.startswith(piece[at:]):
                    return piece[:at] + MASK
                at = piece.find(head, at + 1)
        return piece

    def mask_all(self, value: Any) -> Any:
        """The same for every text in nested dicts and lists; values under the name of a secret are masked whole."""
        if isinstance(value, Mapping):
            return {
                key: MASK if is_secret_key(str(key)) and isinstance(entry, str | int) else self.mask_all(entry)
                for key, entry in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.mask_all(entry) for entry in value]
        return mask_url(self.mask(value)) if isinstance(value, str) else value


def mask_of_few(secrets: Iterable[str], shortest: int) -> Callable[[str], str]:
    """What a Redactor does, for a few secrets that are only known for a moment: no pattern is compiled for them."""
    ordered = _ordered_spellings(secrets, shortest)

    def mask(text: str) -> str:
        for spelling in ordered:
            text = text.replace(spelling, MASK)
        return text

    return mask


class SecretFilter(logging.Filter):
    """Masks secrets in log records, arguments and tracebacks included; put it on handlers."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrites the record; always keeps it."""
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = self._redactor.mask(record.exc_text)
        record.msg, record.args = self._redactor.mask(record.getMessage()), ()
        for name, value in record.__dict__.items():
            if isinstance(value, str) and name not in {"msg", "exc_text", "name", "levelname", "pathname"}:
                record.__dict__[name] = self._redactor.mask(value)
        return True


def _ordered_spellings(secrets: Iterable[str], shortest: int) -> list[str]:
    """The longest first, so that no part of a longer secret stays behind a masked shorter one."""
    spellings = {spelling for secret in secrets if len(secret) >= shortest for spelling in _spellings(secret)}
    return sorted(spellings, key=lambda spelling: (-len(spelling), spelling))


def _spellings(secret: str) -> Iterator[str]:
    raw = secret.encode()
    yield secret
    yield json.dumps(secret)[1:-1]
    yield repr(secret)[1:-1]
    yield quote(secret, safe="")
    yield quote(secret)
    yield quote_plus(secret)
    for alphabet in (base64.b64encode, base64.urlsafe_b64encode):
        yield alphabet(raw).decode().rstrip("=")
        for before in (1, 2):
            # Behind other bytes ("user:" of basic auth) the same secret has another spelling: what of it is sure.
            middle = alphabet(b"\0" * before + raw).decode().rstrip("=")[before + 1 :]
            yield middle[:-1] if (before + len(raw)) % 3 else middle
        aligned = alphabet(raw).decode().rstrip("=")
        yield aligned[:-1] if len(raw) % 3 else aligned
