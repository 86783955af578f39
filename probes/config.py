"""The configuration in force: what the file says, validated as a whole, every mistake reported at once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from probes.check_config import SLUG, SLUG_WORDS, CheckReader, Timing
from probes.document import ConfigError, Document, Key, Problem, did_you_mean, read_document
from probes.duration import Duration
from probes.needs import find_cycle, resolve
from probes.target import Check, Estate, Site, Target, Tier

__all__ = ["Config", "ConfigError", "Retention", "WorkerOptions", "load_config"]

DAY_S = 86400.0
# Read by alerts.config from the same document.
ALERT_SECTIONS = ("notifiers", "routes", "slos", "maintenance", "alerts")


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RetentionKeys(_File):
    """How long results are kept."""

    raw: Duration = Field(14 * DAY_S, description="Single results (14d)")
    hourly: Duration = Field(90 * DAY_S, description="Hourly figures (90d)")
    daily: Duration = Field(730 * DAY_S, description="Daily figures (2y)")


class WorkerOptions(_File):
    """How much a worker takes on at a time."""

    location: str = Field("local", min_length=1, max_length=100, description="Where this worker stands")
    threads: int = Field(16, ge=1, le=256, description="Threads for kinds whose driver blocks")
    max_in_flight: int = Field(500, ge=1, le=20000, description="HTTP conversations at the same time")
    max_starts_per_turn: int = Field(32, ge=1, le=1000, description="Conversations started in one turn of the loop")


class TargetKeys(_File):
    """One target of a site."""

    tier: Tier = Field(description="Layer of the back end")
    title: str | None = Field(None, max_length=120, description="Name for people")
    needs: tuple[str, ...] = Field((), description="Targets to blame when both fail")
    soft_needs: tuple[str, ...] = Field((), description="Targets that matter and never take the blame")
    tags: tuple[str, ...] = Field((), description="Words to filter and route by")
    checks: list[Any] = Field(default_factory=list, description="The questions put to it")


class SiteKeys(_File):
    """One site."""

    title: str | None = Field(None, max_length=120, description="Name for people")
    targets: dict[str, Any] = Field(default_factory=dict, description="What of it can break, by name")


class FileKeys(_File):
    """The top of the file."""

    database: str | None = Field(None, description="sqlite:///backwatch.db (in the data folder) or postgresql://…")
    defaults: Timing = Field(default_factory=Timing, description="For checks that do not say it themselves")
    sites: dict[str, Any] = Field(default_factory=dict, description="What is watched, by name")
    retention: RetentionKeys = Field(default_factory=RetentionKeys)
    worker: WorkerOptions = Field(default_factory=WorkerOptions)
    notifiers: Any = Field(None, description="Ways to tell people, by name")
    routes: Any = Field(None, description="Who hears of what")
    slos: Any = Field(None, description="Goals over a window")
    maintenance: Any = Field(None, description="Windows planned in advance")
    alerts: Any = Field(None, description="Timings of alerting")


@dataclass(frozen=True, slots=True)
class Retention:
    """How long single results and rollups are kept, in seconds."""

    raw_s: float
    hourly_s: float
    daily_s: float


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration without mistakes. `digest` changes with anything it says."""

    source: Path
    digest: str
    document: Document = field(repr=False)
    estate: Estate = field(repr=False)
    database: str = field(repr=False)
    data_dir: Path
    retention: Retention
    worker: WorkerOptions
    defaults: Timing

    @property
    def location(self) -> str:
        """Where the worker of this configuration stands."""
        return self.worker.location


def load_config(path: Path, *, data_dir: Path | None = None) -> Config:
    """Read and validate a file or folder. Raises ConfigError with every problem.

    Without `data_dir` the store lies in `backwatch-data` beside the configuration.
    """
    document = read_document(path)
    folder = data_dir or (path if path.is_dir() else path.parent) / "backwatch-data"
    top, problems = document.validate(FileKeys, ())
    defaults = top.defaults if top else Timing()
    reader = _EstateReader(document, defaults)
    estate = reader.read()
    problems += reader.problems
    database = _database(document, problems, folder.absolute())
    if problems or top is None:
        raise ConfigError(sorted(set(problems), key=lambda problem: (problem.file, problem.line)))
    kept = top.retention
    return Config(
        source=path,
        digest=document.digest,
        document=document,
        estate=estate,
        database=database,
        data_dir=folder.absolute(),
        retention=Retention(kept.raw, kept.hourly, kept.daily),
        worker=top.worker,
        defaults=defaults,
    )


def _database(document: Document, problems: list[Problem], folder: Path) -> str:
    written = document.at(("database",))
    if not isinstance(written, str):
        return f"sqlite:///{folder / 'backwatch.db'}"
    try:
        url = make_url(written)
    except ArgumentError:
        problems.append(document.problem(("database",), "is no database URL", "sqlite:///backwatch.db"))
        return ""
    if url.get_backend_name() == "sqlite":
        if not url.database or url.database == ":memory:":
            problems.append(document.problem(("database",), "the store must be a file", "sqlite:///backwatch.db"))
        return f"sqlite:///{folder / (url.database or '')}"
    if url.get_backend_name() != "postgresql":
        message = f"{url.get_backend_name()} cannot hold the store"
        problems.append(document.problem(("database",), message, "sqlite:///… or postgresql://…"))
    elif find_spec("psycopg") is None:
        install = "pip install 'backwatch[postgresql]'"
        problems.append(document.problem(("database",), "the driver of PostgreSQL is not installed", install))
    return url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


class _EstateReader:
    """Reads `sites` into an Estate; problems are collected, never raised."""

    def __init__(self, document: Document, defaults: Timing) -> None:
        self._document = document
        self._checks = CheckReader(document, defaults)
        self._problems: list[Problem] = []

    @property
    def problems(self) -> list[Problem]:
        return [*self._problems, *self._checks.problems]

    def read(self) -> Estate:
        sites: dict[str, Site] = {}
        targets: dict[str, Target] = {}
        checks: dict[str, Check] = {}
        needs: dict[str, TargetKeys] = {}
        for name, path in self._named(("sites",)):
            keys = self._take(SiteKeys, path)
            found = list(self._named((*path, "targets")))
            for target_name, target_path in found:
                target = self._target(name, target_name, target_path, needs, checks)
                targets[target.id] = target
            owned = tuple(f"{name}/{target_name}" for target_name, _ in found)
            sites[name] = Site(name, (keys and keys.title) or name, owned)
        self._connect(targets, needs)
        return Estate(sites, targets, checks)

    def _target(
        self, site: str, name: str, path: Key, needs: dict[str, TargetKeys], checks: dict[str, Check]
    ) -> Target:
        keys = self._take(TargetKeys, path) or self._what_is_sound(path)
        target_id = f"{site}/{name}"
        needs[target_id] = keys
        own: list[str] = []
        for index in range(len(keys.checks)):
            check_path = (*path, "checks", index)
            check = self._checks.read(check_path, site=site, target=target_id, tier=keys.tier, tags=keys.tags)
            if check and check.id in checks:
                self._report(check_path, f"a check {check.id!r} stands above already", "give it a name:")
            elif check:
                checks[check.id] = check
                own.append(check.id)
        return Target(target_id, site, name, keys.title or name, keys.tier, checks=tuple(own), tags=keys.tags)

    def _what_is_sound(self, path: Key) -> TargetKeys:
        """Of a target with mistakes: enough to find the mistakes in what it needs and in its checks."""
        written = self._document.at(path)
        lists = {
            key: written[key]
            for key in ("needs", "soft_needs", "checks")
            if isinstance(written, dict) and isinstance(written.get(key), list)
        }
        for key in ("needs", "soft_needs"):
            lists[key] = tuple(str(name) for name in lists.get(key, ()))
        return TargetKeys.model_construct(tier=Tier.APP, **lists)

    def _connect(self, targets: dict[str, Target], needs: Mapping[str, TargetKeys]) -> None:
        for target_id, keys in needs.items():
            target = targets[target_id]
            hard = self._resolve(target, "needs", keys.needs, needs)
            soft = self._resolve(target, "soft_needs", keys.soft_needs, needs)
            targets[target_id] = Target(
                target.id, target.site, target.name, target.title, target.tier, hard, soft, target.checks, target.tags
            )
        if cycle := find_cycle({target_id: target.needs for target_id, target in targets.items()}):
            site, _, name = cycle[0].partition("/")
            path = ("sites", site, "targets", name, "needs")
            self._report(path, f"targets need each other in a circle: {' → '.join(cycle)}", "take one edge out")

    def _resolve(
        self, target: Target, key: str, names: tuple[str, ...], known: Mapping[str, object]
    ) -> tuple[str, ...]:
        found = []
        for index, name in enumerate(names):
            path = ("sites", target.site, "targets", target.name, key, index)
            needed = resolve(name, target.site, known)
            if needed is None:
                own = [other.partition("/")[2] for other in known if other.startswith(f"{target.site}/")]
                self._report(path, f"there is no target {name!r}", did_you_mean(name, own))
            else:
                found.append(needed)
        return tuple(dict.fromkeys(found))

    def _named(self, path: Key) -> Iterator[tuple[str, Key]]:
        section = self._document.at(path)
        if not isinstance(section, dict):
            return
        for name in section:
            if SLUG.fullmatch(name):
                yield name, (*path, name)
            else:
                self._report((*path, name), f"{name!r} cannot be part of an id: {SLUG_WORDS}")

    def _take(self, model: type[Any], path: Key) -> Any:
        if self._document.at(path) is None:
            self._report(path, "is empty; a mapping is wanted")
            return None
        taken, problems = self._document.validate(model, path)
        self._problems += problems
        return taken

    def _report(self, path: Key, message: str, suggestion: str = "") -> None:
        self._problems.append(self._document.problem(path, message, suggestion))
