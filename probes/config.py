"""What is configured, and is it right? A document becomes a frozen Config, or all of its mistakes at once."""

import hashlib
import importlib.util
import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from probes.document import ConfigError, Document, Problem, read_document
from probes.estate import EstateReader
from probes.sections import Defaults, RetentionKeys, Section, TopKeys, WorkerKeys
from probes.target import Estate

__all__ = ["Config", "ConfigError", "Retention", "WorkerOptions", "load_config"]

DATABASE_FILE = "backwatch.db"
DATA_FOLDER = "backwatch-data"

WorkerOptions = WorkerKeys
SectionT = TypeVar("SectionT", bound=Section)


@dataclass(frozen=True, slots=True)
class Retention:
    """Ages in seconds after which single results, hourly and daily rollups, and evidence are deleted."""

    raw_s: float = 14 * 86400.0
    hourly_s: float = 90 * 86400.0
    daily_s: float = 730 * 86400.0
    evidence_s: float = 14 * 86400.0


@dataclass(frozen=True, slots=True)
class Config:
    """What is in force. `digest` changes with the content, references replaced, and with nothing else."""

    source: Path
    digest: str
    document: Document = field(repr=False)
    estate: Estate = field(repr=False)
    database: str = field(repr=False)
    data_dir: Path
    retention: Retention = field(default_factory=Retention)
    location: str = "default"
    worker: WorkerOptions = field(default_factory=WorkerOptions)
    defaults: Defaults = field(default_factory=Defaults)

    def slim(self) -> "Config":
        """The same without the text it was read from, for a process that lasts and reads none of it again."""
        return replace(self, document=Document(self.document.source, secrets=self.document.secrets))


def load_config(path: Path, *, data_dir: Path | None = None) -> Config:
    """Read, expand and validate a file or a directory of files. Raises ConfigError with all problems.

    `data_dir` (default: `backwatch-data` beside the configuration) is where an embedded store lies.
    """
    source = path.absolute()
    document = read_document(path)
    problems = list(document.problems)
    top, found = document.validate(TopKeys, ())
    problems += found
    defaults = _section(document, Defaults, "defaults", problems)
    retention = _section(document, RetentionKeys, "retention", problems)
    worker = _section(document, WorkerKeys, "worker", problems)
    if not retention.raw <= retention.hourly <= retention.daily:
        problems.append(document.problem(("retention",), "raw must not be longer than hourly, nor hourly than daily"))
    folder = (data_dir or default_data_dir(source)).absolute()
    database = _database(document, folder, problems)
    estate = EstateReader(document, defaults, problems).read()
    if problems or top is None:
        raise ConfigError(problems)
    return Config(
        source=source,
        digest=digest_of(document),
        document=document,
        estate=estate,
        database=database,
        data_dir=folder,
        retention=Retention(retention.raw, retention.hourly, retention.daily, retention.evidence),
        location=top.location,
        worker=worker,
        defaults=defaults,
    )


def default_data_dir(source: Path) -> Path:
    """`backwatch-data` beside a configuration file, or in the directory of files."""
    return (source if source.is_dir() else source.parent) / DATA_FOLDER


def digest_of(document: Document) -> str:
    """SHA-256 of what the document says, in hex; order of keys and comments do not count."""
    # Lists keep their order, mappings lose it: a check moved within its list is a change.
    return hashlib.sha256(json.dumps(document.value, sort_keys=True).encode()).hexdigest()


def _section(document: Document, model: type[SectionT], name: str, problems: list[Problem]) -> SectionT:
    found, wrong = document.validate(model, (name,))
    problems += wrong
    return found or model()


def _database(document: Document, folder: Path, problems: list[Problem]) -> str:
    given = document.value.get("database")
    if not isinstance(given, str) or document.is_broken(("database",)):
        return f"sqlite:///{folder / DATABASE_FILE}"
    # Here: who reads the configuration ends soon (`probes.config_apart`), who imports this module may last.
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    path = ("database",)
    try:
        url = make_url(given)
    except ArgumentError:
        words = "is no database URL: sqlite:///backwatch.db or postgresql+psycopg://user@host/name"
        problems.append(document.problem(path, words))
        return ""
    if url.get_backend_name() == "sqlite":
        if not url.database or url.database == ":memory:":
            problems.append(document.problem(path, "a database in memory is shared by no other process", "name a file"))
            return ""
        return url.set(database=str(folder / url.database)).render_as_string(hide_password=False)
    if url.get_backend_name() != "postgresql":
        words = f"database {url.get_backend_name()!r} is not supported: sqlite or postgresql+psycopg"
        problems.append(document.problem(path, words))
        return ""
    if importlib.util.find_spec("psycopg") is None:
        words = "the driver of PostgreSQL is missing"
        problems.append(document.problem(path, words, "pip install 'backwatch[postgresql]'"))
    return re.sub(r"^postgres(ql)?(\+[a-z0-9]+)?://", "postgresql+psycopg://", given)
