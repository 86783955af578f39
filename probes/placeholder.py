"""What stands for `{{name}}` in a text? Values a journey has come by, spelt so that they stay one value where they go.

Two braces, because `${env:X}` and `${file:X}` are replaced when the configuration is read, long before a run.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

_PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z0-9_.-]*)\s*\}\}")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
Spell = Callable[[str], str]


class MissingValue(KeyError):
    """A text needs a value that this run has not come by; its argument is the name."""


def is_name(name: str) -> bool:
    """Whether a variable or a step may be called so: letters, digits, underscores."""
    return _NAME.fullmatch(name) is not None


def names_in(value: Any) -> Iterator[str]:
    """The names that stand in a text, or in the texts of nested dicts and lists."""
    if isinstance(value, str):
        yield from (found[1] for found in _PLACEHOLDER.finditer(value))
    elif isinstance(value, Mapping):
        for entry in value.values():
            yield from names_in(entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from names_in(entry)


def fill(text: str, values: Mapping[str, str], spell: Spell = str) -> str:
    """The text with every name replaced by its value, spelt for its place. Raises MissingValue."""

    def replace(found: re.Match[str]) -> str:
        if found[1] not in values:
            raise MissingValue(found[1])
        return spell(values[found[1]])

    return _PLACEHOLDER.sub(replace, text) if "{{" in text else text


def fill_all(value: Any, values: Mapping[str, str]) -> Any:
    """The same in nested dicts and lists, which are spelt as a whole later (JSON)."""
    if isinstance(value, Mapping):
        return {key: fill_all(entry, values) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [fill_all(entry, values) for entry in value]
    return fill(value, values) if isinstance(value, str) else value


def fill_url(text: str, values: Mapping[str, str]) -> str:
    """A value at the very beginning is a URL or path and goes in as it is; elsewhere it is one part of it, escaped."""
    first = _PLACEHOLDER.match(text)
    if first is None:
        return fill(text, values, _in_url)
    return fill(first[0], values) + fill(text[first.end() :], values, _in_url)


def spelling_for(content_type: str) -> Spell:
    """How a value is spelt within a raw body of that type, so that it cannot break out of its quotes or field."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind.endswith("json"):
        return lambda value: json.dumps(value)[1:-1]
    if kind == "application/x-www-form-urlencoded":
        return quote_plus
    return str


def _in_url(value: str) -> str:
    return quote(value, safe="")
