"""Which check is meant by a bare URL? Its scheme names the kind, the rest its options."""

from importlib.util import find_spec
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import ValidationError

from probes.probe import kinds
from probes.redact import mask_url
from probes.target import Check, Tier

KINDS = {
    "http": "http",
    "https": "http",
    "tcp": "tcp",
    "tls": "tls",
    "dns": "dns",
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "mysql": "mysql",
    "mariadb": "mysql",
    "redis": "redis",
    "rediss": "redis",
    "valkey": "redis",
    "memcached": "memcached",
    "sqlite": "sqlite",
}
_TIERS = {
    "postgresql": Tier.DATABASE,
    "mysql": Tier.DATABASE,
    "sqlite": Tier.DATABASE,
    "redis": Tier.CACHE,
    "memcached": Tier.CACHE,
}


class AdHocError(ValueError):
    """A URL that no check can be made of; the text says why, without its password."""


def check_of_url(url: str, timeout_s: float = 10.0) -> Check:
    """A check of that URL with no expectations of its own. Raises AdHocError."""
    shown = mask_url(url)
    scheme = url.partition("://")[0].lower()
    word = KINDS.get(scheme)
    if word is None or word not in kinds():
        raise AdHocError(f"{shown}: nothing here asks {scheme}://; known: {', '.join(sorted(KINDS))}")
    kind = kinds()[word]
    if kind.driver and find_spec(kind.driver) is None:
        raise AdHocError(f"{shown}: the driver of {word} is not installed: pip install 'backwatch[{kind.extra}]'")
    try:
        options = kind.Options.model_validate(_options(word, url))
        asked = kind(options, kind.Expect())
    except (ValidationError, ValueError) as error:
        raise AdHocError(f"{shown}: {_say(error)}") from None
    name = urlsplit(url).hostname or urlsplit(url).path.rpartition("/")[2] or word
    return Check(
        id=shown,
        site="",
        target=name,
        name=word,
        tier=_TIERS.get(word, Tier.WEB),
        probe=asked,
        interval_s=max(30.0, timeout_s),
        timeout_s=timeout_s,
        retry_interval_s=5.0,
        fail_after=1,
        recover_after=1,
    )


def _options(word: str, url: str) -> dict[str, Any]:
    if word == "sqlite":
        # As in SQLAlchemy's URLs: three slashes and a relative path, four and an absolute one.
        return {"path": unquote(url.partition("://")[2].removeprefix("/"))}
    if word == "dns":
        return _dns(url)
    if url.lower().startswith(("postgres://", "mariadb://")):
        url = f"{word}://{url.partition('://')[2]}"
    return {"url": url}


def _dns(url: str) -> dict[str, Any]:
    """`dns://name`, or `dns://server[:port]/name`; `?type=MX`."""
    parts = urlsplit(url)
    asked = parts.path.strip("/")
    options: dict[str, Any] = {"name": asked or parts.hostname or ""}
    if asked:
        options["server"] = parts.hostname
        if parts.port:
            options["port"] = parts.port
    if found := parse_qs(parts.query).get("type"):
        options["type"] = found[0].upper()
    return options


def _say(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        details = error.errors(include_url=False, include_input=False)
        return "; ".join(detail["msg"].removeprefix("Value error, ") for detail in details)
    return str(error)
