"""The alerts' part of the configuration: notifiers, routes, maintenance, timings."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dateutil.rrule import rrulestr
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from alerts.mute import MATCHED, MatcherError, Window, check_matchers
from alerts.notifier import Notifier, notifier_kinds
from alerts.route import Route
from alerts.timings import Timings
from probes.config import Config, load_config
from probes.document import ConfigError, Document, KeyPath, Problem, read_document
from probes.duration import Duration
from probes.target import Estate

DEFAULT_URL = "http://127.0.0.1:8501"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class Alerting:
    """Who is told of what, when. `warnings` are sentences for `config check`."""

    notifiers: Mapping[str, Notifier] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    maintenance: tuple[Window, ...] = ()
    timings: Timings = field(default_factory=Timings)
    external_url: str = DEFAULT_URL
    notify: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def _matchers(value: dict[str, str]) -> dict[str, str]:
    try:
        check_matchers(value)
    except MatcherError as problem:
        raise ValueError(str(problem)) from problem
    return value


def _names(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError) as problem:
        raise ValueError(f"no such zone: {value!r}; zones look like Europe/Berlin") from problem
    return value


Matchers = Annotated[dict[str, str], AfterValidator(_matchers)]


class _RouteModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    match: Matchers = Field(default_factory=dict, description=f"any of {', '.join(MATCHED)}; ~pattern, !not")
    notify: Annotated[tuple[str, ...], BeforeValidator(_names)] = Field(min_length=1, description="names of notifiers")


class _WindowModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    match: Matchers = Field(default_factory=dict, description="what is maintained; empty: everything")
    rrule: str = Field(default="", description="iCalendar rule, FREQ=WEEKLY;BYDAY=SU")
    at: str = Field(description="02:00 with a rule, 2026-03-01T02:00 for once")
    length: Duration = Field(alias="for", gt=0, le=7 * 86400, description="how long")
    zone: Annotated[str, AfterValidator(_zone)] = Field(default="UTC", description="whose clock it goes by")

    @model_validator(mode="after")
    def _parses(self) -> "_WindowModel":
        if self.rrule:
            try:
                rrulestr(self.rrule, dtstart=datetime(2024, 1, 1))  # noqa: DTZ001 - rules run on local time
            except (ValueError, TypeError, AttributeError) as problem:
                raise ValueError(f"rrule {self.rrule!r} is no iCalendar rule: {problem}") from problem
        self.window()
        return self

    def window(self) -> Window:
        """The window itself. Raises ValueError for a time that is none."""
        once = "T" in self.at or " " in self.at
        if once and self.rrule:
            raise ValueError("a rule needs `at` as a time of day, such as 02:00")
        return Window(
            matchers=self.match,
            length_s=self.length,
            at=None if once else time.fromisoformat(self.at),
            rule=self.rrule,
            starts=datetime.fromisoformat(self.at) if once else None,
            zone=self.zone,
        )


def load_all(path: Path, data_dir: Path | None = None) -> tuple[Config, Alerting]:
    """Everything that a configuration says. Raises ConfigError with the problems of both parts."""
    try:
        config = load_config(path, data_dir=data_dir)
    except ConfigError as error:
        try:
            _read(read_document(path), Estate(), ())
        except ConfigError as more:
            raise ConfigError([*error.problems, *more.problems]) from error
        raise
    return config, load_alerting(config)


def load_alerting(config: Config) -> Alerting:
    """The alerts' part. Raises ConfigError with all its problems."""
    return _read(config.document, config.estate, config.defaults.notify)


def _read(document: Document, estate: Estate, default: tuple[str, ...]) -> Alerting:
    problems: list[Problem] = []
    notifiers = _notifiers(document, problems)
    routes = _routes(document, problems)
    windows = _windows(document, problems)
    timings, found = document.validate(Timings, ("alerts",))
    problems += found
    _check_names(document, estate, default, problems)
    if problems or timings is None:
        raise ConfigError(problems)
    return Alerting(
        notifiers=notifiers,
        routes=routes,
        maintenance=windows,
        timings=timings,
        external_url=(timings.external_url or DEFAULT_URL).rstrip("/"),
        notify=default,
        warnings=tuple(_warnings(notifiers, routes, default)),
    )


def _section(document: Document, name: str, kind: type, problems: list[Problem]) -> Any:
    value = document.value.get(name)
    if value is None:
        return kind()
    if not isinstance(value, kind):
        wanted = "a mapping of names" if kind is dict else "a list"
        problems.append(document.problem((name,), f"{name} must be {wanted}"))
        return kind()
    return value


def _notifiers(document: Document, problems: list[Problem]) -> dict[str, Notifier]:
    notifiers: dict[str, Notifier] = {}
    kinds = notifier_kinds()
    for name, value in _section(document, "notifiers", dict, problems).items():
        path = ("notifiers", name)
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            problems.append(document.problem(path, f"{name!r} is no name for a notifier: letters, digits, - and _"))
            continue
        kind = value.get("kind") if isinstance(value, dict) else None
        if not isinstance(kind, str) or kind not in kinds:
            said = f"unknown kind {kind!r}" if kind else "a notifier needs a kind"
            problems.append(document.problem(path, said, f"kinds are {', '.join(kinds)}"))
            continue
        keys = {key: entry for key, entry in value.items() if key != "kind"}
        options, found = document.validate(kinds[kind].Options, path, keys)
        problems += found
        if options is not None:
            notifiers[name] = kinds[kind](name, options)
    for name, made in notifiers.items():
        if made.fallback is not None and (made.fallback not in notifiers or made.fallback == name):
            known = ", ".join(other for other in notifiers if other != name)
            where = ("notifiers", name, "fallback")
            problems.append(document.problem(where, f"no other notifier is called {made.fallback!r}", known))
    return notifiers


def _routes(document: Document, problems: list[Problem]) -> tuple[Route, ...]:
    routes = []
    for index, _ in enumerate(_section(document, "routes", list, problems)):
        model, found = document.validate(_RouteModel, ("routes", index))
        problems += found
        if model is not None:
            routes.append(Route(model.notify, model.match))
            for name in model.notify:
                _check_name(document, ("routes", index, "notify"), name, problems)
    return tuple(routes)


def _windows(document: Document, problems: list[Problem]) -> tuple[Window, ...]:
    windows = []
    for index, _ in enumerate(_section(document, "maintenance", list, problems)):
        model, found = document.validate(_WindowModel, ("maintenance", index))
        problems += found
        if model is not None:
            windows.append(model.window())
    return tuple(windows)


def _check_names(document: Document, estate: Estate, default: tuple[str, ...], problems: list[Problem]) -> None:
    for name in default:
        _check_name(document, ("defaults", "notify"), name, problems)
    for check in estate.checks.values():
        target = estate.targets[check.target]
        position = target.checks.index(check.id)
        path = ("sites", check.site, "targets", target.name, "checks", position, "notify")
        for name in check.notify:
            if name not in default:
                _check_name(document, path, name, problems)


def _check_name(document: Document, path: KeyPath, name: str, problems: list[Problem]) -> None:
    # A notifier with a mistake of its own is not missing as well.
    notifiers = document.value.get("notifiers")
    known = list(notifiers) if isinstance(notifiers, dict) else []
    if name not in known:
        words = f"notifiers are {', '.join(map(str, known))}" if known else "there is no section `notifiers`"
        problems.append(document.problem(path, f"no notifier is called {name!r}", words))


def _warnings(notifiers: Mapping[str, Notifier], routes: tuple[Route, ...], default: tuple[str, ...]) -> list[str]:
    if not notifiers:
        return ["No notifier is configured: incidents are shown on the dashboard, nobody is told of them."]
    if not routes and not default:
        return ["No route and no defaults.notify: every notifier hears of pages, nobody of warnings."]
    named = {*default, *(name for route in routes for name in route.notify)}
    unused = [name for name in notifiers if name not in named]
    return [f"Notifier {name} is named by no route and not by defaults.notify." for name in unused]
