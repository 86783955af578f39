"""What does a YAML text say, and on which line? A safe subset, read event by event so that nothing can explode.

No anchors, aliases, tags or merge keys; no key twice; nesting and size are bounded; only `true` and `false` are
booleans and `12:30:45` is a text (YAML 1.2). Keys are always texts.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

MAX_BYTES = 5 * 1024 * 1024
MAX_DEPTH = 20

Path = tuple[str | int, ...]
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


@dataclass(slots=True)
class Flaw:
    """A mistake in the text itself. Lines count from 1."""

    line: int
    path: Path
    message: str
    suggestion: str = ""


@dataclass(slots=True)
class Reading:
    """A text as values, the line of every key and list entry, and what is wrong with it."""

    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    flaws: list[Flaw] = field(default_factory=list)
    complete: bool = False
    """False where reading had to stop: then `value` is a part, and of no use."""


def read_yaml(data: bytes) -> Reading:
    """Read one document; mistakes are collected as flaws, nothing is raised."""
    reading = Reading()
    if len(data) > MAX_BYTES:
        reading.flaws.append(Flaw(1, (), f"the file is larger than {MAX_BYTES // 1024 // 1024} MB"))
        return reading
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        reading.flaws.append(Flaw(line, (), "the file is not UTF-8 text"))
        return reading
    try:
        _Builder(reading).build(yaml.parse(text, Loader=_Loader))
        reading.complete = True
    except yaml.YAMLError as error:
        reading.flaws.append(_say(error, text))
    except _Stop:
        pass
    return reading


class _Stop(Exception):
    """Reading on would be of no use."""


@dataclass(slots=True)
class _Level:
    """A mapping or list being read."""

    container: dict[str, Any] | list[Any]
    path: Path
    key: str | None = None
    skip: bool = False


class _Builder:
    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._levels: list[_Level] = []
        self._documents = 0

    def build(self, events: Iterator[Any]) -> None:
        for event in events:
            line = event.start_mark.line + 1
            if isinstance(event, yaml.DocumentStartEvent):
                self._documents += 1
                if self._documents > 1:
                    self._flaw(line, (), "a second document ('---') in one file", "put it into a file of its own")
                    raise _Stop
            elif isinstance(event, yaml.AliasEvent):
                self._flaw(line, self._here(), "aliases (*name) are not read", "write the value out")
                self._put(None, line)
            elif isinstance(event, yaml.NodeEvent):
                self._node(event, line)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._levels.pop()

    def _node(self, event: Any, line: int) -> None:
        if event.anchor is not None:
            self._flaw(line, self._here(), "anchors (&name) are not read", "write the value out where it is needed")
        if event.tag is not None and event.tag != "!":
            self._flaw(line, self._here(), "tags (!name) are not read", "leave it out; quote what is a text")
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event, line)
            return
        container: dict[str, Any] | list[Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
        if self._awaits_key():
            self._flaw(line, self._levels[-1].path, "a key must be a plain text")
            raise _Stop
        path = self._put(container, line)
        if len(self._levels) >= MAX_DEPTH:
            self._flaw(line, path, f"nested deeper than {MAX_DEPTH} levels")
            raise _Stop
        self._levels.append(_Level(container, path))

    def _scalar(self, event: Any, line: int) -> None:
        if not self._awaits_key():
            self._put(_resolve(event.value) if event.implicit[0] else event.value, line)
            return
        level, key = self._levels[-1], str(event.value)
        level.key, level.skip = key, False
        if key in level.container:
            first = self._reading.lines.get((*level.path, key))
            self._flaw(line, (*level.path, key), f"key {key!r} stands here twice", f"first on line {first}")
            level.skip = True
        elif key == "<<" and event.implicit[0]:
            self._flaw(line, level.path, "merge keys (<<) are not read", "write the keys out")
            level.skip = True
        else:
            self._reading.lines[(*level.path, key)] = line

    def _awaits_key(self) -> bool:
        return bool(self._levels) and isinstance(self._levels[-1].container, dict) and self._levels[-1].key is None

    def _put(self, value: Any, line: int) -> Path:
        """Place a value where the next one belongs; a value under a key that is not read goes nowhere."""
        if not self._levels:
            self._reading.value = value
            return ()
        level = self._levels[-1]
        if isinstance(level.container, list):
            path: Path = (*level.path, len(level.container))
            level.container.append(value)
            self._reading.lines[path] = line
            return path
        if level.key is None:  # an alias as key
            raise _Stop
        path = (*level.path, level.key)
        if not level.skip:
            level.container[level.key] = value
        level.key = None
        return path

    def _here(self) -> Path:
        if not self._levels:
            return ()
        level = self._levels[-1]
        if isinstance(level.container, list):
            return (*level.path, len(level.container))
        return level.path if level.key is None else (*level.path, level.key)

    def _flaw(self, line: int, path: Path, message: str, suggestion: str = "") -> None:
        self._reading.flaws.append(Flaw(line, path, message, suggestion))


def _resolve(text: str) -> Any:
    """A plain scalar by the core schema of YAML 1.2, without infinities and not-a-numbers."""
    if text in {"", "~", "null", "Null", "NULL"}:
        return None
    if text in {"true", "True", "TRUE", "false", "False", "FALSE"}:
        return text.lower() == "true"
    if len(text) > 300:
        return text
    if _INTEGER.fullmatch(text):
        return int(text, 0) if text.startswith(("0o", "0x")) else int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _say(error: yaml.YAMLError, text: str) -> Flaw:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        words = " ".join(part for part in (error.problem, error.context) if part) or "cannot be read"
        lines = text.splitlines()
        around = lines[max(0, line - 2) : line]
        if any("\t" in row[: len(row) - len(row.lstrip())] for row in around):
            return Flaw(line, (), f"is not YAML: {words}", "indent with spaces, not tabs")
        if any("${" in row for row in around):
            return Flaw(line, (), f"is not YAML: {words}", "put quotes around texts with ${…}")
        return Flaw(line, (), f"is not YAML: {words}", "quote texts with ': ', '#', '{' or '*'" if mark else "")
    position = getattr(error, "position", None)
    line = text[:position].count("\n") + 1 if isinstance(position, int) else 1
    return Flaw(line, (), "the file contains control characters")
