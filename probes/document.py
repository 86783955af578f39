"""What does the configuration say, and where does it say so? Files read and merged, references replaced, lines kept."""

import os
import re
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from probes.redact import SHORTEST_SECRET, Redactor, clean, is_secret_key, mask_url, passwords_in
from probes.reference import BrokenReference, expand

KeyPath = tuple[str | int, ...]
ModelT = TypeVar("ModelT", bound=BaseModel)

_MERGED_BY_NAME = ("sites", "notifiers", "slos")
_MERGED_AS_LIST = ("routes", "maintenance")
_MISSING = object()
# Pydantic speaks Python; who writes YAML knows lists, not tuples.
_WORDS = {
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be keys and values",
    "model_type": "must be keys and values",
    "string_type": "must be a text: put it in quotes",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: where (lines count from 1, 0 where there is no line), what, and what to do about it."""

    file: str
    line: int
    path: str
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        words = f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"
        return f"{words} ({self.suggestion})" if self.suggestion else words


class ConfigError(Exception):
    """The configuration cannot be used; `problems` are all its mistakes, in the order of files and lines."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        unique = dict.fromkeys(problems)
        self.problems: tuple[Problem, ...] = tuple(sorted(unique, key=lambda problem: (problem.file, problem.line)))
        super().__init__(str(self))

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))

    def __reduce__(self) -> tuple[type["ConfigError"], tuple[tuple[Problem, ...]]]:
        return ConfigError, (self.problems,)  # not the text: another process tells the same


@dataclass(frozen=True, slots=True)
class Document:
    """The configuration as plain values with references replaced; `problems` are mistakes found so far."""

    source: Path
    value: dict[str, Any] = field(default_factory=dict, repr=False)
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    problems: tuple[Problem, ...] = ()
    _lines: Mapping[KeyPath, tuple[str, int]] = field(default_factory=dict, repr=False)
    _broken: frozenset[KeyPath] = field(default=frozenset(), repr=False)

    def get(self, path: KeyPath, default: Any = None) -> Any:
        """The value at a path."""
        value: Any = self.value
        for key in path:
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                return default
        return value

    def problem(self, path: KeyPath, message: str, suggestion: str = "") -> Problem:
        """A problem at a path; where the path does not exist, its nearest parent gives the line. Secrets are masked."""
        file, line = self._place(path)
        redactor = Redactor(self.secrets)
        # Masked before it is cut: half a secret is still one.
        words = clean(mask_url(redactor.mask(message)), 400)
        return Problem(file, line, write_path(path), words, clean(redactor.mask(suggestion), 200))

    def is_broken(self, path: KeyPath) -> bool:
        """Whether something at or below the path has been reported already."""
        return any(broken[: len(path)] == path for broken in self._broken)

    def validate(
        self, model: type[ModelT], path: KeyPath, value: Any = _MISSING, also_known: Iterable[str] = ()
    ) -> tuple[ModelT | None, list[Problem]]:
        """A section as a frozen model, or its problems; `value` stands in for what the document has at the path.

        `also_known` are keys of the section that are read elsewhere: they are suggested for unknown ones.
        """
        given = self.get(path, {}) if value is _MISSING else value
        try:
            return model.model_validate({} if given is None else given), []
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False)
            problems = [self._translate(model, path, details, also_known) for details in found]
            return None, [problem for problem in problems if problem is not None]

    def _translate(
        self, model: type[BaseModel], path: KeyPath, error: ErrorDetails, also_known: Iterable[str]
    ) -> Problem | None:
        at = self._real_path(path, error)
        if at in self._broken:
            return None
        key = str(at[-1]) if at else ""
        if error["type"] == "extra_forbidden":
            known = [*fields_at(model, at[len(path) : -1]), *(also_known if len(at) == len(path) + 1 else ())]
            return self.problem(at, f"unknown key {key!r}", suggest(key, known))
        if error["type"] == "missing":
            description = _description_of(model, at[len(path) :])
            return self.problem(at[:-1], f"{key!r} is missing" + (f": {description}" if description else ""))
        if error["type"] in {"enum", "literal_error"} and isinstance(word := self.get(at), str | int | float):
            known = re.findall(r"'([^']*)'", error.get("ctx", {}).get("expected", ""))
            return self.problem(at, f"{str(word)!r} is none of {', '.join(known)}", suggest(str(word), known, few=0))
        if error["type"] in _WORDS:
            return self.problem(at, _WORDS[error["type"]])
        message = error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
        message = message[0].lower() + message[1:] if message.startswith(("Input should", "String should")) else message
        message = message.replace("input should", "should").replace("string should", "should")
        return self.problem(at, message)

    def _real_path(self, path: KeyPath, error: ErrorDetails) -> KeyPath:
        """The place in the document: pydantic puts names of union members and validators into its locations."""
        at, last = path, len(error["loc"]) - 1
        for number, key in enumerate(error["loc"]):
            here = (*at, key)
            if here in self._lines or (number == last and error["type"] in {"missing", "extra_forbidden"}):
                at = here
        return at

    def _place(self, path: KeyPath) -> tuple[str, int]:
        for length in range(len(path), 0, -1):
            if place := self._lines.get(path[:length]):
                return place
        files = {file for file, _ in self._lines.values()}
        return (files.pop() if len(files) == 1 else str(self.source)), 1


def read_document(path: Path, environ: Mapping[str, str] = os.environ) -> Document:
    """A file, or a directory of `*.yaml` files merged by site.

    Raises ConfigError where a file is missing or is no YAML at all. Other mistakes are `problems` of the document.
    """
    reader = _Reader(environ)
    files = _files(path)
    for file in files:
        reader.read(file)
    if reader.fatal:
        raise ConfigError(reader.problems)
    return Document(
        source=path,
        value=reader.value,
        secrets=frozenset(secret for secret in reader.secrets if len(secret) >= SHORTEST_SECRET),
        problems=tuple(reader.problems),
        _lines=reader.lines,
        _broken=frozenset(reader.broken),
    )


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix in {".yaml", ".yml"} and file.is_file())
    if not files:
        raise ConfigError([Problem(str(path), 0, "", "the directory has no *.yaml files")])
    return files


class _Reader:
    """Reads file after file into one value."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.value: dict[str, Any] = {}
        self.lines: dict[KeyPath, tuple[str, int]] = {}
        self.problems: list[Problem] = []
        self.broken: set[KeyPath] = set()
        self.secrets: set[str] = set()
        self.fatal = False
        self._environ = environ

    def read(self, file: Path) -> None:
        """One file. A mistake in its syntax is fatal, a broken reference is not."""
        from probes.yaml_text import read_yaml  # a worker has another process read

        try:
            reading = read_yaml(file.read_bytes())
        except OSError as error:
            self._fail(Problem(str(file), 0, "", f"cannot be read: {error.strerror}"))
            return
        for flaw in reading.flaws:
            self.broken.add(flaw.path)
            self.problems.append(Problem(str(file), flaw.line, write_path(flaw.path), flaw.message, flaw.suggestion))
        self.fatal = self.fatal or not reading.complete
        if reading.complete and reading.value is not None and not isinstance(reading.value, dict):
            self._fail(Problem(str(file), 1, "", "must be keys and values, such as 'sites:'"))
        if self.fatal:
            return
        expanded = self._expand(reading.value or {}, (), file, reading.lines)
        self._merge(expanded, file, reading.lines)

    def _fail(self, problem: Problem) -> None:
        self.problems.append(problem)
        self.fatal = True

    def _expand(self, value: Any, path: KeyPath, file: Path, lines: Mapping[KeyPath, int]) -> Any:
        if isinstance(value, dict):
            return {key: self._expand(entry, (*path, key), file, lines) for key, entry in value.items()}
        if isinstance(value, list):
            return [self._expand(entry, (*path, number), file, lines) for number, entry in enumerate(value)]
        if not isinstance(value, str):
            return value
        try:
            text, outside = expand(value, self._environ, file.parent)
        except BrokenReference as broken:
            line = lines.get(path, 1)
            self.problems.append(Problem(str(file), line, write_path(path), broken.message, broken.suggestion))
            self.broken.add(path)
            return value
        self._keep_secrets(text, outside, path)
        return text

    def _keep_secrets(self, text: str, outside: set[str], path: KeyPath) -> None:
        self.secrets.update(passwords_in(text))
        # Plain paths and port numbers come from the environment too; masking them would only blind messages.
        self.secrets.update(value for value in outside if not _is_path(value))
        if path and is_secret_key(str(path[-1])):
            self.secrets.add(text)
            self.secrets.add(text.rpartition(" ")[2])  # "Bearer x": the scheme is none

    def _merge(self, value: dict[str, Any], file: Path, lines: Mapping[KeyPath, int]) -> None:
        for key, section in value.items():
            shift = 0
            if key not in self.value:
                self.value[key] = section
            elif key in _MERGED_BY_NAME and isinstance(section, dict) and isinstance(self.value[key], dict):
                self._merge_names(key, section, file, lines)
            elif key in _MERGED_AS_LIST and isinstance(section, list) and isinstance(self.value[key], list):
                shift = len(self.value[key])
                self.value[key] = [*self.value[key], *section]
            else:
                self._say_twice((key,), file, lines)
            for path, line in lines.items():
                if path[0] == key:
                    place: KeyPath = path
                    if shift and len(path) > 1 and isinstance(path[1], int):
                        place = (key, path[1] + shift, *path[2:])
                    self.lines.setdefault(place, (str(file), line))

    def _merge_names(self, key: str, section: dict[str, Any], file: Path, lines: Mapping[KeyPath, int]) -> None:
        for name, entry in section.items():
            if name in self.value[key]:
                self._say_twice((key, name), file, lines)
            else:
                self.value[key] = {**self.value[key], name: entry}

    def _say_twice(self, path: KeyPath, file: Path, lines: Mapping[KeyPath, int]) -> None:
        first_file, first_line = self.lines[path]
        noun = "site" if path[0] == "sites" and len(path) == 2 else "key"
        message = f"{noun} {path[-1]!r} stands in two files"
        self.problems.append(
            Problem(str(file), lines.get(path, 1), write_path(path), message, f"first in {first_file}:{first_line}")
        )


def _is_path(value: str) -> bool:
    try:
        return value.startswith("/") and Path(value).exists()
    except (OSError, ValueError):
        return False


def write_path(path: KeyPath) -> str:
    """`sites.shop.targets.web.checks[0].url`."""
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text


def suggest(word: str, known: Iterable[str], few: int = 16) -> str:
    """`did you mean 'url'?`, or all that there is where that is at most `few` words, or nothing."""
    import difflib  # only where there is a mistake: who reads none, and lasts, does without

    names = sorted(set(known))
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if not close:
        lowered = {name.lower(): name for name in names}
        close = [lowered[name] for name in difflib.get_close_matches(word.lower(), lowered, n=1, cutoff=0.6)]
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(names)}" if 0 < len(names) <= few else ""


def fields_at(model: type[BaseModel], path: KeyPath) -> list[str]:
    """The keys that users may write in the model that stands at a path below `model`."""
    return [name for found in _models_at([model], path) for name in _keys(found)]


def _description_of(model: type[BaseModel], path: KeyPath) -> str:
    for found in _models_at([model], path[:-1]):
        for name, info in found.model_fields.items():
            if path and path[-1] in {name, info.alias}:
                return info.description or ""
    return ""


def _models_at(models: list[type[BaseModel]], path: KeyPath) -> list[type[BaseModel]]:
    for key in path:
        inner: list[type[BaseModel]] = []
        for model in models:
            infos = {info.alias or name: info for name, info in model.model_fields.items()}
            if isinstance(key, str) and key in infos:
                inner += _models_in(infos[key].annotation)
        # A list entry or a key of a dict: the models found at its container are those of its entries.
        models = inner or models
    return models


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in {Union, types.UnionType, list, tuple, dict, Mapping} or get_args(annotation):
        return [model for argument in get_args(annotation) for model in _models_in(argument)]
    return []


def _keys(model: type[BaseModel]) -> list[str]:
    return [info.alias or name for name, info in model.model_fields.items()]
