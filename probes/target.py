"""What is watched: sites, their targets in tiers, the checks that question them, and who needs whom."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel

from probes.probe import Probe
from probes.result import Status


class Tier(StrEnum):
    """Layer of a back end, from what users meet to what everything stands on."""

    WEB = "web"
    LOAD_BALANCER = "load_balancer"
    APP = "app"
    AUTH = "auth"
    DATABASE = "database"
    CACHE = "cache"
    QUEUE = "queue"
    THIRD_PARTY = "third_party"
    HOST = "host"

    @property
    def rank(self) -> int:
        """Order of tiers on a request path, 0 nearest to the user."""
        return list(Tier).index(self)


@dataclass(frozen=True, slots=True)
class Limit:
    """A bound on a metric: beyond it a result is `level`. Alert after `times` of the last `of` results broke it."""

    metric: str
    level: Literal[Status.DEGRADED, Status.DOWN]
    bound: float
    worse: Literal["above", "below"]
    times: int = 3
    of: int = 5


@dataclass(frozen=True, slots=True)
class Check:
    """One configured question to a target; its id is `site/target/name`."""

    id: str
    site: str
    target: str
    name: str
    tier: Tier
    probe: Probe
    interval_s: float
    timeout_s: float
    retry_interval_s: float
    fail_after: int
    recover_after: int
    limits: tuple[Limit, ...] = ()
    notify: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    status_page: str | None = None

    @property
    def kind(self) -> str:
        """The word of its probe kind."""
        return self.probe.kind

    def says_the_same(self, other: "Check") -> bool:
        """Whether two versions of a check are alike in all that is configured."""
        one, two = self.probe, other.probe
        alike = type(one) is type(two) and _is_same(one.options, two.options) and _is_same(one.expect, two.expect)
        return alike and all(getattr(self, name) == getattr(other, name) for name in _BESIDE_PROBE)

    @property
    def stale_after_s(self) -> float:
        """Without a result for this long the check is stale."""
        return max(3 * self.interval_s + self.timeout_s, 90.0)


_BESIDE_PROBE = tuple(one.name for one in fields(Check) if one.name != "probe")


def _is_same(one: BaseModel, two: BaseModel) -> bool:
    # Not `==`, which looks at the `__dict__`: an object that was asked for it keeps it, 160 bytes a check.
    return one.model_fields_set == two.model_fields_set and all(
        getattr(one, name) == getattr(two, name) for name in type(one).model_fields
    )


@dataclass(frozen=True, slots=True)
class Target:
    """One thing of a site that can break; id `site/name`. `needs` are target ids; soft ones never take the blame."""

    id: str
    site: str
    name: str
    title: str
    tier: Tier
    needs: tuple[str, ...] = ()
    soft_needs: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Site:
    """What users call by name; owns targets (ids, in the order of the configuration)."""

    name: str
    title: str
    targets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Estate:
    """Everything that is watched, by id, in the order of the configuration."""

    sites: Mapping[str, Site] = field(default_factory=dict)
    targets: Mapping[str, Target] = field(default_factory=dict)
    checks: Mapping[str, Check] = field(default_factory=dict)

    def checks_of(self, target_id: str) -> tuple[Check, ...]:
        """The checks of a target."""
        return tuple(self.checks[check_id] for check_id in self.targets[target_id].checks)

    def needed_by(self, target_id: str) -> Iterator[str]:
        """Ids of the targets that a target needs, hard edges only, recursively, each once, nearest first."""
        seen = {target_id}
        queue = list(self.targets[target_id].needs)
        while queue:
            needed = queue.pop(0)
            if needed not in seen:
                seen.add(needed)
                yield needed
                queue.extend(self.targets[needed].needs)
