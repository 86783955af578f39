"""What may stand in the configuration? One model a section; the kinds bring their own (`Options`, `Expect`)."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from probes.duration import Duration
from probes.target import Tier

_SLUG = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def is_slug(text: str) -> bool:
    """Whether a text may be a part of an id."""
    return _SLUG.fullmatch(text) is not None


SLUG_WORDS = "up to 63 lower-case ASCII letters, digits, '-', '_' and '.', the first a letter or digit"


def _check_slug(text: str) -> str:
    if not is_slug(text):
        raise ValueError(f"{text!r} is no id: {SLUG_WORDS}")
    return text


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _without_controls(text: str) -> str:
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise ValueError("contains control characters")
    return text


Slug = Annotated[str, AfterValidator(_check_slug)]
Slugs = Annotated[tuple[Slug, ...], BeforeValidator(_as_list, json_schema_input_type=str | list[str])]
Names = Annotated[tuple[str, ...], BeforeValidator(_as_list, json_schema_input_type=str | list[str])]
Line = Annotated[str, AfterValidator(_without_controls), Field(max_length=200)]
Interval = Annotated[Duration, Field(ge=1, le=7 * 86400)]
Timeout = Annotated[Duration, Field(ge=0.05, le=600)]
Times = Annotated[int, Field(ge=1, le=100)]


class Section(BaseModel):
    """Base of all sections: frozen, and unknown keys are mistakes."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Defaults(Section):
    """Section `defaults`: what holds for every check that does not say otherwise."""

    interval: Interval = Field(30.0, description="time between two runs")
    timeout: Timeout = Field(10.0, description="deadline of a run, everything included")
    retry_interval: Interval | None = Field(
        None, description="time between runs while a check is suspect; default: the interval, at most 5s"
    )
    fail_after: Times = Field(3, description="down results in a row before anybody is told")
    recover_after: Times = Field(2, description="good results in a row before it is over")
    notify: Names = Field((), description="names of notifiers, where no route matches")


class CheckKeys(Section):
    """The keys that every check has beside those of its kind."""

    kind: str = Field(description="what kind of question; see `backwatch config schema`")
    name: Slug | None = Field(None, description="last part of the check's id; default: the kind")
    id: Slug | None = Field(None, description="the same, for kinds where `name` means something else (dns)")
    interval: Interval | None = Field(None, description="time between two runs")
    timeout: Timeout | None = Field(None, description="deadline of a run, everything included")
    retry_interval: Interval | None = Field(None, description="time between runs while the check is suspect")
    fail_after: Times | None = Field(None, description="down results in a row before anybody is told")
    recover_after: Times | None = Field(None, description="good results in a row before it is over")
    notify: Names | None = Field(None, description="names of notifiers")
    tags: Slugs = Field((), description="words to filter by")
    status_page: Line | None = Field(None, description="where the provider tells about its troubles")
    expect: dict[str, Any] = Field(default_factory=dict, description="what the answer must look like")


class TargetKeys(Section):
    """One target of a site."""

    title: Line | None = Field(None, description="name for people; default: the id")
    tier: Tier = Field(description="one of " + ", ".join(Tier))
    needs: Names = Field((), description="targets it cannot work without: names, or site/target")
    soft_needs: Names = Field((), description="targets it uses but survives without")
    tags: Slugs = Field((), description="words to filter by")
    checks: tuple[Any, ...] = Field((), description="how it is asked")


class SiteKeys(Section):
    """One site."""

    title: Line | None = Field(None, description="name for people; default: the id")
    targets: dict[str, Any] = Field(description="what of it can break")


class RetentionKeys(Section):
    """Section `retention`: how long what is kept."""

    raw: Annotated[Duration, Field(ge=3 * 3600)] = Field(14 * 86400.0, description="single results")
    hourly: Annotated[Duration, Field(ge=86400)] = Field(90 * 86400.0, description="hourly summaries")
    daily: Annotated[Duration, Field(ge=86400)] = Field(730 * 86400.0, description="daily summaries, incidents")
    evidence: Annotated[Duration, Field(ge=3600)] = Field(14 * 86400.0, description="what failing runs saw")


class WorkerKeys(Section):
    """Section `worker`: limits of the process that probes."""

    threads: int = Field(16, ge=1, le=256, description="threads for kinds with a blocking driver, at most 3/4 a kind")
    max_in_flight: int = Field(
        8000, ge=1, le=30_000, description="HTTP conversations at a time; fewer where the limit of open files is low"
    )
    max_starts_per_turn: int = Field(32, ge=1, le=1000, description="runs started before answers are looked at again")


class TopKeys(Section):
    """The whole file. What stands in the sections of the alerts is checked where the alerts are."""

    database: str | None = Field(None, description="sqlite:///file.db or postgresql+psycopg://user@host/name")
    location: Slug = Field("default", description="where this worker stands")
    defaults: Any = Field(None, description="what holds for every check that does not say otherwise")
    sites: dict[str, Any] = Field(default_factory=dict, description="what is watched")
    retention: Any = Field(None, description="how long what is kept")
    worker: Any = Field(None, description="limits of the process that probes")
    notifiers: Any = Field(None, description="ways to tell people")
    routes: Any = Field(None, description="who hears of what")
    slos: Any = Field(None, description="goals over a window")
    maintenance: Any = Field(None, description="planned work")
    alerts: Any = Field(None, description="timings of the alerts")
