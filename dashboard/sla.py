"""How well did everything serve over a month, and by which rules was that counted? The figures of `report sla`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Engine

from alerts.incident import Incident
from alerts.mute import Window, matches
from alerts.route import target_labels
from alerts.store import load_incidents
from dashboard.queries import load_sample_until
from probes.store.account import Account, Period, load_account
from probes.store.events import Event, load_events
from probes.store.sketch import Sketch
from probes.target import Check, Estate, Target, Tier

MOST_INCIDENTS = 100_000
RULES = (
    "Uptime is the share of judged answers in which the target served. Up and degraded served, down did not.",
    "Unknown is Backwatch's own ignorance or fault: it counts neither as up nor as down, and lowers coverage.",
    "Coverage is the share of the answers that the usual rhythm would have brought in the whole period that were "
    "judged. Time before a check existed and time in which Backwatch did not run lower it.",
    "Planned maintenance is taken out of uptime, coverage and percentiles, to the second where single results are kept "
    "and by whole hours before that. Its incidents are listed all the same.",
    "A target is as good as its worst check. A site is the mean of its targets in the tier nearest to its users, which "
    "is named beside it: what stands behind that tier shows there when it matters.",
    "Downtime is the share of bad answers of the time that is covered; between two answers nothing is known.",
    "Percentiles are of the answered runs only, from mergeable sketches within 1 % of the exact quantile; they are "
    "never averaged. Those of a target and a site are over all runs of the checks they are counted from.",
    "An incident counts in the period with the part of it that lies within. Days and months are UTC.",
)


@dataclass(frozen=True, slots=True)
class Figures:
    """Of a site, target or check; seconds, and a number of answered runs. None where nothing was judged or answered."""

    uptime: float | None = None
    coverage: float | None = None
    down_s: float | None = None
    p50_s: float | None = None
    p95_s: float | None = None
    p99_s: float | None = None
    answered: int = 0


@dataclass(frozen=True, slots=True)
class CheckSla:
    """One check; `days` are (ok, judged) by start of the UTC day."""

    id: str
    kind: str
    figures: Figures
    days: Mapping[int, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TargetSla:
    """One target with its checks."""

    id: str
    title: str
    tier: Tier
    figures: Figures
    incidents: int
    maintenance_s: float
    checks: tuple[CheckSla, ...]


@dataclass(frozen=True, slots=True)
class SiteSla:
    """One site; `front` is the tier that its figures are of, None for a site without checks."""

    name: str
    title: str
    front: Tier | None
    figures: Figures
    incidents: int
    targets: tuple[TargetSla, ...]


@dataclass(frozen=True, slots=True)
class IncidentSla:
    """An incident, with the seconds of it that lie within the period."""

    incident: Incident
    within_s: float


@dataclass(frozen=True, slots=True)
class Sla:
    """The whole report. `notes` are what was special about this period."""

    from_ms: int
    to_ms: int
    made_ms: int
    sites: tuple[SiteSla, ...]
    incidents: tuple[IncidentSla, ...]
    gaps: tuple[Event, ...]
    notes: tuple[str, ...]
    rules: tuple[str, ...] = RULES

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all was judged in the period."""
        return all(site.figures.answered == 0 and site.figures.uptime is None for site in self.sites)


@dataclass(frozen=True, slots=True)
class _Counted:
    check: CheckSla
    account: Account


def load_sla(
    engine: Engine,
    estate: Estate,
    windows: Sequence[Window],
    from_ms: int,
    to_ms: int,
    *,
    now_ms: int,
    site: str | None = None,
    progress: Callable[[str, int, int], object] = lambda *_: None,
) -> Sla:
    """The figures of all sites or one, from_ms <= t < to_ms and not later than now. Raises StoreError."""
    end_ms = min(to_ms, now_ms)
    incidents = _load_incidents(engine, from_ms, end_ms, now_ms, site)
    names = [name for name in estate.sites if site in (None, name)]
    total = sum(len(estate.targets[target].checks) for name in names for target in estate.sites[name].targets)
    opened = [(window, window.periods(from_ms, end_ms)) for window in windows]
    kept_ms = done = 0
    sites = []
    for name in names:
        targets = []
        for target_id in estate.sites[name].targets:
            target = estate.targets[target_id]
            periods = _maintenance(opened, target, estate)
            counted = []
            for check in estate.checks_of(target_id):
                counted.append(_count(engine, check, from_ms, end_ms, periods))
                done += 1
                progress("counting checks", done, total)
            kept_ms = max([kept_ms, *(one.account.kept_ms for one in counted)])
            targets.append((target, counted))
        sites.append(_site(estate, name, targets, incidents))
    gaps = tuple(load_events(engine, from_ms, end_ms, kind="gap"))
    notes = _notes(from_ms, to_ms, end_ms, sample_until_ms=load_sample_until(engine), kept_ms=kept_ms, gaps=gaps)
    return Sla(from_ms, end_ms, now_ms, tuple(sites), tuple(incidents), gaps, notes)


def _count(engine: Engine, check: Check, from_ms: int, to_ms: int, periods: Sequence[Period]) -> _Counted:
    account = load_account(engine, check.id, from_ms, to_ms, periods)
    uptime, tally = account.uptime, account.tally
    length_s = (to_ms - from_ms - account.excluded_ms) / 1000
    down_s = None
    if uptime.ratio is not None and uptime.coverage is not None:
        down_s = (1 - uptime.ratio) * uptime.coverage * length_s
    # A check that nothing is known of was not covered at all.
    coverage = uptime.coverage if uptime.coverage is not None else 0.0 if length_s > 0 else None
    figures = Figures(uptime.ratio, coverage, down_s, *_percentiles([account]), answered=tally.sketch.n)
    return _Counted(CheckSla(check.id, check.kind, figures, account.days), account)


def _percentiles(accounts: Sequence[Account]) -> tuple[float | None, float | None, float | None]:
    total = Sketch()
    for account in accounts:
        total.merge(account.tally.sketch)
    found = [total.quantile(share) for share in (0.5, 0.95, 0.99)]
    p50, p95, p99 = (None if us is None else us / 1e6 for us in found)
    return p50, p95, p99


def _site(
    estate: Estate,
    name: str,
    targets: Sequence[tuple[Target, Sequence[_Counted]]],
    incidents: Sequence[IncidentSla],
) -> SiteSla:
    made = [_target(target, counted, incidents) for target, counted in targets]
    front = min((target.tier for target, counted in targets if counted), key=lambda tier: tier.rank, default=None)
    nearest = [one for one in made if one.tier is front and one.checks]
    accounts = [one.account for target, counted in targets if target.tier is front for one in counted]
    uptimes = [one.figures.uptime for one in nearest if one.figures.uptime is not None]
    downs = [one.figures.down_s for one in nearest if one.figures.down_s is not None]
    figures = Figures(
        _mean(uptimes),
        _mean([one.figures.coverage or 0.0 for one in nearest]),
        _mean(downs),
        *_percentiles(accounts),
        answered=sum(one.figures.answered for one in nearest),
    )
    own = sum(_site_of(one.incident) == name for one in incidents)
    return SiteSla(name, estate.sites[name].title, front, figures, own, tuple(made))


def _target(target: Target, counted: Sequence[_Counted], incidents: Sequence[IncidentSla]) -> TargetSla:
    of_checks = [one.check.figures for one in counted]
    known = [figures.uptime for figures in of_checks if figures.uptime is not None]
    downs = [figures.down_s for figures in of_checks if figures.down_s is not None]
    covered = [figures.coverage for figures in of_checks if figures.coverage is not None]
    figures = Figures(
        min(known, default=None),
        min(covered, default=None),
        max(downs, default=None),
        *_percentiles([one.account for one in counted]),
        answered=sum(figures.answered for figures in of_checks),
    )
    return TargetSla(
        target.id,
        target.title,
        target.tier,
        figures,
        sum(one.incident.root == target.id for one in incidents),
        max((one.account.excluded_ms for one in counted), default=0) / 1000,
        tuple(one.check for one in counted),
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _maintenance(opened: Sequence[tuple[Window, Sequence[Period]]], target: Target, estate: Estate) -> list[Period]:
    labels = target_labels(target.id, estate)
    return [period for window, periods in opened if matches(window.matchers, labels) for period in periods]


def _load_incidents(engine: Engine, from_ms: int, to_ms: int, now_ms: int, site: str | None) -> list[IncidentSla]:
    found = []
    for incident in load_incidents(engine, limit=MOST_INCIDENTS):
        end_ms = incident.resolved_ms or now_ms
        if incident.opened_ms >= to_ms or end_ms <= from_ms or (site is not None and _site_of(incident) != site):
            continue
        within_ms = min(end_ms, to_ms) - max(incident.opened_ms, from_ms)
        found.append(IncidentSla(incident, max(0, within_ms) / 1000))
    return found


def _site_of(incident: Incident) -> str:
    return incident.root.partition("/")[0]


def _notes(
    from_ms: int, to_ms: int, end_ms: int, *, sample_until_ms: int | None, kept_ms: int, gaps: Sequence[Event]
) -> tuple[str, ...]:
    notes = []
    if end_ms < to_ms:
        notes.append("The period is not over: these are the figures so far.")
    if sample_until_ms is not None and sample_until_ms > from_ms:
        notes.append("Part of these results is sample data that `backwatch demo` made up.")
    if kept_ms:
        hours = kept_ms / 3_600_000
        notes.append(
            f"{hours:.1f} h of maintenance lie in days of which only sums are kept: they could not be taken out."
        )
    if gaps:
        lost_s = sum((min(gap.end_ms or gap.at_ms, end_ms) - max(gap.at_ms, from_ms)) / 1000 for gap in gaps)
        notes.append(f"Backwatch itself did not run {len(gaps)} times, {lost_s / 60:.0f} min in all: see gaps.")
    return tuple(notes)
