"""What may be shown: text from outside made harmless, secrets masked wherever they turn up."""

import base64
import logging
import re
import unicodedata
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, quote_plus, unquote, urlsplit, urlunsplit

MASK = "***"
LONGEST = 500
# Control characters, and the marks that turn the direction of text around.
_HARMFUL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_SECRET_KEY = re.compile(r"(?i)(password|secret|token|authorization|api_?key|cookie|credential)")
_BLANKS = re.compile(r"[\t\r\n\u2028\u2029]+")


def clean(text: str, limit: int = LONGEST) -> str:
    """One harmless line: control and direction characters out, NFC, cut at `limit` characters."""
    line = _HARMFUL.sub("", _BLANKS.sub(" ", text[: limit * 4]))
    line = unicodedata.normalize("NFC", line).strip()
    return line if len(line) <= limit else line[: limit - 1] + "…"


def without_credentials(url: str) -> str:
    """The URL with its password and query values masked, for people to read."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return MASK
    place = parts.netloc
    if "@" in place:
        credentials, _, host = place.rpartition("@")
        user, colon, _ = credentials.partition(":")
        place = f"{user}{colon}{MASK if colon else ''}@{host}"
    query = re.sub(r"=[^&]*", f"={MASK}", parts.query)
    return urlunsplit((parts.scheme, place, parts.path, query, ""))


class Redactor(logging.Filter):
    """Masks known secrets in text: as they are, URL-encoded and base64-encoded. Also a filter for log handlers."""

    SHORTEST = 6  # masking shorter values would mutilate innocent text

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self._pattern = self._compile(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Replace what is masked, after a reload of the configuration."""
        self._pattern = self._compile(secrets)

    def __call__(self, text: str) -> str:
        """The text with every known secret masked."""
        return self._pattern.sub(MASK, text) if self._pattern else text

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask the finished message and the traceback of a log record."""
        record.msg, record.args = self(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = self(record.exc_text)
        return True

    @classmethod
    def _compile(cls, secrets: Iterable[str]) -> re.Pattern[str] | None:
        forms = {form for secret in secrets if len(secret) >= cls.SHORTEST for form in cls._forms(secret)}
        longest_first = sorted(forms, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    @staticmethod
    def _forms(secret: str) -> set[str]:
        encoded = base64.b64encode(secret.encode()).decode()
        return {secret, quote(secret, safe=""), quote(secret), quote_plus(secret), encoded, encoded.rstrip("=")}


def secrets_in(value: Any, key: str = "") -> set[str]:
    """Secrets that stand in a configuration itself: values under telling keys, passwords in URLs."""
    if isinstance(value, dict):
        return {secret for name, inner in value.items() for secret in secrets_in(inner, name)}
    if isinstance(value, list):
        return {secret for inner in value for secret in secrets_in(inner, key)}
    if not isinstance(value, str) or not value:
        return set()
    if _SECRET_KEY.search(key):
        return {value}
    password = re.match(r"[\w+.-]+://[^/?#@]*?:([^/?#]*)@", value)
    return {password[1], unquote(password[1])} if password else set()


def masked(value: Any, secrets: frozenset[str] = frozenset()) -> Any:
    """A copy for people to read: secrets, and values under keys that name one, are replaced by `***`."""
    redact = Redactor(secrets)

    def mask(inner: Any, key: str) -> Any:
        if isinstance(inner, dict):
            return {name: mask(child, str(name)) for name, child in inner.items()}
        if isinstance(inner, list):
            return [mask(child, key) for child in inner]
        if inner and _SECRET_KEY.search(key):
            return MASK
        if isinstance(inner, str):
            return redact(without_credentials(inner) if "://" in inner else inner)
        return inner

    return mask(value, "")
