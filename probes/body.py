"""What a body or a header must say: models of the expectations, and pure functions that name the first mismatch."""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from probes.pattern import LONGEST_PATTERN, LONGEST_SEARCHED, read_pattern
from probes.redact import MASK, is_private

_SHOWN = 80
_FROZEN = ConfigDict(frozen=True, extra="forbid", defer_build=True)


def _or_text(schema: dict[str, Any]) -> None:
    """For the schema of a model that may be written as a plain text."""
    whole = dict(schema)
    schema.clear()
    schema["anyOf"] = [whole, {"type": "string"}]


_OR_TEXT = ConfigDict(json_schema_extra=_or_text)


def read_path(path: str) -> Any:
    """A compiled JSONPath (RFC 9535). Raises ValueError."""
    from probes.json_path import compile_path

    return compile_path(path)


def read_json(body: bytes) -> Any:
    """The value of a JSON body. Raises ValueError, for one nested too deep as well."""
    try:
        return json.loads(body)
    except RecursionError:
        raise ValueError("nested too deep") from None


class JsonExpect(BaseModel):
    """One value in a JSON body, chosen by a path; of several matches each must fit."""

    model_config = _FROZEN

    path: str = Field(description="JSON path, such as $.status or $.items[0].name", max_length=500)
    equals: Any = Field(None, description="the value must equal this")
    contains: str | None = Field(None, description="the text, or one element of the list, must contain this")
    above: float | None = Field(None, description="the number must be larger")
    below: float | None = Field(None, description="the number must be smaller")
    exists: bool = Field(True, description="false: the path must lead nowhere")

    @field_validator("path")
    @classmethod
    def _check_path(cls, path: str) -> str:
        read_path(path)
        return path

    def mismatch(self, document: Any) -> str | None:
        """What does not fit, for people; None if all does."""
        found = read_path(self.path).findall(document)
        if not self.exists:
            return f"{self.path} exists" if found else None
        if not found:
            return f"{self.path} is missing"
        return next((words for value in found if (words := self._mismatch_of(value))), None)

    def _mismatch_of(self, value: Any) -> str | None:
        text = MASK if is_private(self.path.rstrip("']\"")) else _shorten(json.dumps(value, ensure_ascii=False))
        shown = f"{self.path} is {text}"
        if "equals" in self.model_fields_set and not _same(value, self.equals):
            return f"{shown} instead of {json.dumps(self.equals, ensure_ascii=False)}"
        if self.contains is not None and not _contains(value, self.contains):
            return f"{shown}, without {self.contains!r}"
        return None if self.above is None and self.below is None else self._mismatch_of_number(value, shown)

    def _mismatch_of_number(self, value: Any, shown: str) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"{shown}, not a number"
        if self.above is not None and not value > self.above:
            return f"{shown}, not above {self.above:g}"
        if self.below is not None and not value < self.below:
            return f"{shown}, not below {self.below:g}"
        return None


class TextExpect(BaseModel):
    """What a text must or must not contain."""

    model_config = _FROZEN

    contains: str | None = Field(None, description="text that must be there")
    not_contains: str | None = Field(None, description="text that must not be there")
    regex: str | None = Field(None, description="RE2 pattern that must be found", max_length=LONGEST_PATTERN)

    @field_validator("regex")
    @classmethod
    def _check_regex(cls, regex: str | None) -> str | None:
        if regex is not None:
            read_pattern(regex)
        return regex

    def mismatch(self, text: str) -> str | None:
        """What does not fit, for people; None if all does."""
        return _mismatch_of_text(self.__dict__, text)


class BodyExpect(TextExpect):
    """What a body must say."""

    model_config = _OR_TEXT

    json_: tuple[JsonExpect, ...] = Field((), alias="json", description="one value of a JSON body, or a list of them")

    @field_validator("json_", mode="before", json_schema_input_type=JsonExpect | list[JsonExpect])
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value

    @model_validator(mode="before")
    @classmethod
    def _plain_text(cls, value: Any) -> Any:
        return {"contains": value} if isinstance(value, str) else value

    def mismatch_of(self, body: bytes, charset: str = "utf-8") -> str | None:
        """What does not fit in a body, for people; None if all does."""
        wanted = self.__dict__  # a model's attributes cost ten times as much, and every answer is looked at
        if wanted["contains"] is not None or wanted["not_contains"] is not None or wanted["regex"] is not None:
            words = _mismatch_of_text(wanted, decode_text(body, charset))
            if words is not None:
                return f"the body {words}"
        if not wanted["json_"]:
            return None
        try:
            document = read_json(body)
        except ValueError as error:
            return f"the body is not JSON: {error}"
        return next((words for expect in self.json_ if (words := expect.mismatch(document))), None)


class HeaderExpect(TextExpect):
    """What a response header must say; plain text in the configuration means `equals`."""

    model_config = _OR_TEXT

    equals: str | None = Field(None, description="the header must have exactly this value")
    exists: bool = Field(True, description="false: the header must be absent")

    @model_validator(mode="before")
    @classmethod
    def _plain_text(cls, value: Any) -> Any:
        return {"equals": value} if isinstance(value, str) else value

    def mismatch_of(self, name: str, values: Sequence[str]) -> str | None:
        """What does not fit in the values of a header, for people; None if one of them fits."""
        if not self.exists:
            return f"header {name} is there" if values else None
        if not values:
            return f"header {name} is missing"
        words = [self._mismatch_of_value(value) for value in values]
        if None in words:
            return None
        return f"header {name} is not as expected" if is_private(name) else f"header {name} {words[0]}"

    def _mismatch_of_value(self, value: str) -> str | None:
        if self.equals is not None and value != self.equals:
            return f"is {_shorten(value)!r} instead of {self.equals!r}"
        return self.mismatch(value)


@lru_cache(maxsize=256)
def charset_of(content_type: str | None) -> str:
    """The character set a Content-Type names, else UTF-8."""
    for part in (content_type or "").split(";")[1:]:
        name, _, value = part.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip("\"'") or "utf-8"
    return "utf-8"


def decode_text(body: bytes, charset: str) -> str:
    """A body as text; what is no text in that character set is replaced."""
    try:
        return body.decode(charset, errors="replace")
    except LookupError:  # a charset nobody knows
        return body.decode("utf-8", errors="replace")


def _mismatch_of_text(wanted: Mapping[str, Any], text: str) -> str | None:
    contains, not_contains, regex = wanted["contains"], wanted["not_contains"], wanted["regex"]
    if contains is not None and contains not in text:
        return f"lacks {contains!r}"
    if not_contains is not None and not_contains in text:
        return f"contains {not_contains!r}"
    if regex is not None and read_pattern(regex).search(text[:LONGEST_SEARCHED]) is None:
        return f"does not match {regex!r}"
    return None


def _same(value: Any, wanted: Any) -> bool:
    # In Python True == 1; in JSON it is not.
    return isinstance(value, bool) is isinstance(wanted, bool) and bool(value == wanted)


def _contains(value: Any, wanted: str) -> bool:
    if isinstance(value, list):
        return any(str(element) == wanted for element in value)
    return wanted in (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _shorten(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
