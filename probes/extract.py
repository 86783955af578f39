"""What does a journey take from an answer for its later steps? One value: of JSON, a text, header, cookie or form."""

import json
from collections.abc import Sequence
from html.parser import HTMLParser

import re2
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from probes.body import charset_of, decode_text, read_json, read_path
from probes.cookie_jar import RunCookies
from probes.pattern import LONGEST_SEARCHED, read_pattern
from probes.probe import Response

LONGEST_VALUE = 8 * 1024
_TAGS = re2.compile(r"""(?i)<(?:input|meta|button)\b(?:[^>"']|"[^"]*"|'[^']*')*>""")


class NotFound(ValueError):
    """The answer does not hold the value; the text says which, never what was there instead."""


class Extract(BaseModel):
    """Where the value of a variable stands: exactly one of these."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=False)

    json_: str | None = Field(None, alias="json", description="JSON path to one value: `$.token`", max_length=500)
    regex: str | None = Field(None, description="RE2 pattern: its first group, else all of it", max_length=500)
    header: str | None = Field(None, description="response header of the last answer", max_length=200)
    cookie: str | None = Field(None, description="value of a cookie", max_length=200)
    field: str | None = Field(None, description="form field by its name, hidden ones too: a CSRF token", max_length=200)
    meta: str | None = Field(None, description="content of the page's <meta> of that name", max_length=200)

    @model_validator(mode="after")
    def _is_one(self) -> "Extract":
        if len(self.model_fields_set) != 1:
            raise ValueError("say one of json, regex, header, cookie, field, meta")
        return self

    @field_validator("json_")
    @classmethod
    def _is_path(cls, path: str | None) -> str | None:
        if path is not None:
            read_path(path)
        return path

    @field_validator("regex")
    @classmethod
    def _is_pattern(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            read_pattern(pattern)
        return pattern

    def value_from(self, response: Response, cookies: RunCookies) -> str:
        """The value. Raises NotFound."""
        value = self._find(response, cookies)
        if len(value) > LONGEST_VALUE:
            raise NotFound(f"what was found is longer than {LONGEST_VALUE} characters")
        return value

    def _find(self, response: Response, cookies: RunCookies) -> str:
        if self.header is not None:
            return _found(response.header(self.header), f"header {self.header} is missing")
        if self.cookie is not None:
            cookie = cookies.find(self.cookie)
            return _found(cookie.value if cookie else None, f"cookie {self.cookie} is missing")
        if self.json_ is not None:
            return _in_json(response.body, self.json_)
        text = decode_text(response.body[:LONGEST_SEARCHED], charset_of(response.header("content-type")))
        if self.regex is not None:
            found = read_pattern(self.regex).search(text)
            return _found(found[1 if found.re.groups else 0] if found else None, f"{self.regex!r} matches nothing")
        if self.field is not None:
            return _found(_attribute(text, "name", self.field, "value"), f"the page has no field {self.field!r}")
        return _found(_attribute(text, "name", self.meta or "", "content"), f"the page has no <meta> {self.meta!r}")


def _found(value: str | None, words: str) -> str:
    if value is None:
        raise NotFound(words)
    return value


def _in_json(body: bytes, path: str) -> str:
    try:
        found = read_path(path).findall(read_json(body))
    except ValueError as error:
        raise NotFound(f"the body is not JSON: {error}") from None
    if len(found) != 1:
        raise NotFound(f"{path} is missing" if not found else f"{path} matches {len(found)} values, not one")
    return found[0] if isinstance(found[0], str) else json.dumps(found[0], ensure_ascii=False)


class _Tag(HTMLParser):
    """Attributes of the first tag fed."""

    def __init__(self) -> None:
        super().__init__()
        self.attributes: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:  # noqa: ARG002
        self.attributes = self.attributes or {name: value or "" for name, value in attrs}


def _attribute(page: str, key: str, name: str, wanted: str) -> str | None:
    """An attribute of the first tag whose `key` is `name`. Only tags found by a linear pattern are parsed at all."""
    for found in _TAGS.finditer(page):
        if name not in found[0]:
            continue
        tag = _Tag()
        tag.feed(found[0])
        if tag.attributes.get(key) == name and wanted in tag.attributes:
            return tag.attributes[wanted]
    return None
