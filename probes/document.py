"""What a configuration file says and where: YAML read safely, with a line number for every key."""

import difflib
import os
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from probes.redact import secrets_in

LARGEST_BYTES = 5 * 1024 * 1024
DEEPEST = 20
Key = tuple[str | int, ...]
ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a configuration file, where it stands, and what to write instead."""

    file: str
    line: int
    path: str
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        hint = f" ({self.suggestion})" if self.suggestion else ""
        return f"{where}: {self.path}: {self.message}{hint}" if self.path else f"{where}: {self.message}{hint}"


class ConfigError(Exception):
    """The configuration cannot be used; `problems` holds every mistake that was found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands."""

    file: str
    line: int


class _Refusal(yaml.YAMLError):
    """Something YAML allows and a configuration file must not hold."""

    def __init__(self, mark: yaml.Mark, message: str, suggestion: str = "") -> None:
        super().__init__(message)
        self.line, self.message, self.suggestion = mark.line + 1, message, suggestion


class _Loader(yaml.SafeLoader):
    """SafeLoader that composes no aliases, no deep nesting and no duplicate keys, with the scalars of YAML 1.2."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _Refusal(event.start_mark, "anchors and aliases (& and *) are not read", "write the value out")
        self.depth += 1
        if self.depth > DEEPEST:
            raise _Refusal(event.start_mark, f"nested deeper than {DEEPEST} levels")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


# YAML 1.1 reads `on` as true and `12:30:45` as 45045; a configuration file means what it says.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag in {"tag:yaml.org,2002:null", "tag:yaml.org,2002:merge"}]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(0|[1-9][0-9]*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?$"),
    list("-+.0123456789"),
)

_REFERENCE = re.compile(r"\$\{(env|file):([^}]*)\}")


class Document:
    """A configuration as it was written: its values with references filled in, and the place of each of them."""

    def __init__(
        self, value: dict[str, Any], places: Mapping[Key, Place], secrets: frozenset[str], source: Path
    ) -> None:
        self.value = value
        self.secrets = secrets
        self.source = source
        self._places = places

    @property
    def digest(self) -> str:
        """Changes when anything that the configuration says changes, files and environment it refers to included."""
        return sha256(repr(self.value).encode()).hexdigest()[:16]

    def at(self, path: Key) -> Any:
        """The value under a key path; None where there is none."""
        value: Any = self.value
        for key in path:
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def place(self, path: Key) -> Place:
        """Where a key path stands, or the nearest thing above it that stands anywhere."""
        for end in range(len(path), -1, -1):
            if place := self._places.get(path[:end]):
                return place
        return Place(str(self.source), 0)

    def problem(self, path: Key, message: str, suggestion: str = "") -> Problem:
        """A mistake at a key path."""
        place = self.place(path)
        return Problem(place.file, place.line, dotted(path), message, suggestion)

    def validate(self, model: type[ModelT], path: Key) -> tuple[ModelT | None, list[Problem]]:
        """The value under a key path as a model, or the problems it has."""
        return self.validate_value(model, self.at(path), path)

    def validate_value(
        self, model: type[ModelT], value: Any, path: Key, also_known: Sequence[str] = ()
    ) -> tuple[ModelT | None, list[Problem]]:
        """Like `validate`, for a part of the value under the path; `also_known` keys are suggested for unknown ones."""
        try:
            return model.model_validate(value), []
        except ValidationError as error:
            details = error.errors(include_url=False, include_input=False)
            return None, [self._problem_of(model, path, detail, also_known) for detail in details]

    def _problem_of(
        self, model: type[BaseModel], path: Key, detail: ErrorDetails, also_known: Sequence[str]
    ) -> Problem:
        where = (*path, *self._real_part(path, detail["loc"]))
        if detail["type"] == "extra_forbidden":
            key = str(detail["loc"][-1])
            known = [*_known_keys(model, detail["loc"][:-1]), *also_known]
            return self.problem(where, f"unknown key {key!r}", did_you_mean(key, known))
        if detail["type"] == "missing":
            return self.problem(where[:-1], f"{detail['loc'][-1]!r} is missing")
        if detail["type"] in {"enum", "literal_error"}:
            word = str(self.at(where))
            return self.problem(
                where, f"unknown word {word!r}", did_you_mean(word, re.findall(r"'([^']*)'", detail["msg"]))
            )
        message = detail["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
        return self.problem(where, message)

    def _real_part(self, path: Key, loc: Key) -> Key:
        """Pydantic names the members of a union in its locations; only keys that were written are kept."""
        real: Key = ()
        for position, key in enumerate(loc):
            last = position == len(loc) - 1
            if (
                (*path, *real, key) in self._places
                or (last and not real)
                or (last and self.at((*path, *real)) is not None)
            ):
                real = (*real, key)
        while real and (*path, *real) not in self._places and not isinstance(self.at((*path, *real[:-1])), dict):
            real = real[:-1]
        return real


def dotted(path: Key) -> str:
    """`sites.shop.targets.web.checks[0].url`."""
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else str(key)
    return text


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """A suggestion for a mistyped word: the nearest known one, or all of them where they are few."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known: {', '.join(sorted(set(known)))}" if 0 < len(known) <= 40 else ""


def _known_keys(model: type[BaseModel], loc: Key) -> list[str]:
    fields: Any = model
    for key in loc:
        if isinstance(fields, type) and issubclass(fields, BaseModel) and key in fields.model_fields:
            inner = fields.model_fields[str(key)].annotation
            candidates = [inner, *getattr(inner, "__args__", ())]
            fields = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
    if not (isinstance(fields, type) and issubclass(fields, BaseModel)):
        return []
    return [field.alias or name for name, field in fields.model_fields.items()]


def read_document(path: Path, environ: Mapping[str, str] = os.environ) -> Document:
    """Read a file, or a folder of `*.yaml` files merged by site. Raises ConfigError with every problem found."""
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in {".yaml", ".yml"} and file.is_file())
    else:
        files = [path]
    if not files:
        raise ConfigError([Problem(str(path), 0, "", "the folder holds no *.yaml file", "backwatch init writes one")])
    problems: list[Problem] = []
    merged: dict[str, Any] = {}
    places: dict[Key, Place] = {}
    secrets: set[str] = set()
    for file in files:
        try:
            value, found = _read_file(file)
        except ConfigError as error:
            problems += error.problems
            continue
        value = _Filler(file, environ, found, problems, secrets).fill(value, ())
        problems += _merge(merged, places, value, found)
    if problems:
        raise ConfigError(problems)
    return Document(merged, places, frozenset(secrets | secrets_in(merged)), path)


def _read_file(path: Path) -> tuple[dict[str, Any], dict[Key, Place]]:
    def refuse(message: str, line: int = 0, suggestion: str = "") -> ConfigError:
        return ConfigError([Problem(str(path), line, "", message, suggestion)])

    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise refuse(f"larger than {LARGEST_BYTES >> 20} MB")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise refuse(f"cannot be read: {error.strerror}", suggestion="backwatch init writes a first one") from None
    except UnicodeDecodeError:
        raise refuse("is not UTF-8 text") from None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        places: dict[Key, Place] = {}
        value = _construct(loader, node, (), places, str(path)) if node else {}
    except _Refusal as error:
        raise refuse(error.message, error.line, error.suggestion) from None
    except RecursionError:
        raise refuse(f"nested deeper than {DEEPEST} levels") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise refuse(f"is not YAML: {error.problem}", line, "text with : or # or { wants quotes") from None
    except yaml.YAMLError as error:
        raise refuse(f"is not YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(value, dict):
        raise refuse("a mapping with the key 'sites' is wanted", 1)
    return value, places


def _construct(loader: _Loader, node: yaml.Node, path: Key, places: dict[Key, Place], file: str) -> Any:
    places[path] = Place(file, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [_construct(loader, child, (*path, index), places, file) for index, child in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return loader.construct_object(node)
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node)
        if not isinstance(key, Hashable) or isinstance(key, dict | list) or key is None:
            raise _Refusal(key_node.start_mark, "a key must be plain text")
        name = str(key)
        if name == "<<":
            raise _Refusal(key_node.start_mark, "merge keys (<<) are not read", "write the keys out")
        if name in mapping:
            raise _Refusal(key_node.start_mark, f"key {name!r} stands twice", "the second one would win silently")
        mapping[name] = _construct(loader, value_node, (*path, name), places, file)
        places[*path, name] = Place(file, key_node.start_mark.line + 1)
    return mapping


class _Filler:
    """Replaces `${env:NAME}`, `${env:NAME:-default}` and `${file:/path}` in every text, noting secrets."""

    def __init__(
        self,
        file: Path,
        environ: Mapping[str, str],
        places: Mapping[Key, Place],
        problems: list[Problem],
        secrets: set[str],
    ) -> None:
        self._file, self._environ, self._places = file, environ, places
        self._problems, self._secrets = problems, secrets

    def fill(self, value: Any, path: Key) -> Any:
        """The value with every reference in it filled in."""
        if isinstance(value, dict):
            return {key: self.fill(inner, (*path, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.fill(inner, (*path, index)) for index, inner in enumerate(value)]
        if isinstance(value, str) and "${" in value:
            return _REFERENCE.sub(lambda match: self._resolve(match[1], match[2], path), value)
        return value

    def _resolve(self, source: str, name: str, path: Key) -> str:
        if source == "env":
            name, has_default, default = name.partition(":-")
            found = self._environ.get(name)
            if found is None and has_default:
                return default  # stands in the file for all to read: no secret
            if found is None:
                return self._missing(path, f"environment variable {name} is not set", f"export {name}=…")
            value = found
        else:
            try:
                value = (self._file.parent / name).read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                return self._missing(path, f"file {name} cannot be read: {getattr(error, 'strerror', 'not text')}", "")
        self._secrets.add(value)
        return value

    def _missing(self, path: Key, message: str, suggestion: str) -> str:
        place = self._places.get(path, Place(str(self._file), 0))
        self._problems.append(Problem(place.file, place.line, dotted(path), message, suggestion))
        return ""


def _merge(
    merged: dict[str, Any], places: dict[Key, Place], value: dict[str, Any], found: Mapping[Key, Place]
) -> list[Problem]:
    """Add a file to what was read: sections of named things are joined, a name or another key may stand once."""
    problems = []
    for key, inner in value.items():
        if key not in merged:
            merged[key] = inner
        elif isinstance(inner, dict) and isinstance(merged[key], dict):
            for name in inner.keys() & merged[key].keys():
                place = found[key, name]
                first = places[key, name]
                problems.append(
                    Problem(place.file, place.line, f"{key}.{name}", f"stands in {first.file}:{first.line} already")
                )
            merged[key] = {**inner, **merged[key]}
        elif isinstance(inner, list) and isinstance(merged[key], list):
            found = _shifted(found, key, len(merged[key]))
            merged[key] = merged[key] + inner
        else:
            place = found[(key,)]
            problems.append(Problem(place.file, place.line, key, f"stands in {places[(key,)].file} already"))
    for path, place in found.items():
        places.setdefault(path, place)
    return problems


def _shifted(found: Mapping[Key, Place], key: str, offset: int) -> dict[Key, Place]:
    """The places of a list's items after it was appended to another of `offset` items."""
    shifted: dict[Key, Place] = {}
    for path, place in found.items():
        index = path[1] if path[:1] == (key,) and len(path) > 1 else None
        shifted[(key, index + offset, *path[2:]) if isinstance(index, int) else path] = place
    return shifted
