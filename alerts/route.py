"""Who hears of an incident."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from alerts.incident import Incident, Severity
from alerts.mute import Labels, matches
from probes.target import Estate


@dataclass(frozen=True, slots=True)
class Route:
    """Notifiers that hear of what matches; all routes that match count."""

    notify: tuple[str, ...]
    matchers: Mapping[str, str] = field(default_factory=dict)


def labels_of(incident: Incident, estate: Estate) -> Labels:
    """What routes and silences look at; `target` is the root, not the members."""
    target = estate.targets.get(incident.root)
    labels = {
        "incident": frozenset({incident.id}),
        "target": frozenset({incident.root}),
        "severity": frozenset({str(incident.severity)}),
        "reason": frozenset({incident.reason}),
    }
    return {**labels, **(target_labels(incident.root, estate) if target else {})}


def target_labels(target_id: str, estate: Estate) -> Labels:
    """What maintenance looks at."""
    target = estate.targets[target_id]
    tags = {*target.tags, *(tag for check in estate.checks_of(target_id) for tag in check.tags)}
    return {
        "site": frozenset({target.site}),
        "target": frozenset({target.id, target.name}),
        "tier": frozenset({str(target.tier)}),
        "tag": frozenset(tags),
    }


def receivers(
    incident: Incident, estate: Estate, routes: Sequence[Route], notifiers: Iterable[str], default: Sequence[str]
) -> tuple[str, ...]:
    """Names of notifiers, each once.

    Routes that match decide, and what the root's checks name beyond the default is added. Where no route matches it is
    the checks' `notify`, then the default; where nothing is said at all, every notifier hears of pages.
    """
    labels = labels_of(incident, estate)
    routed = [name for route in routes if matches(route.matchers, labels) for name in route.notify]
    checks = estate.checks_of(incident.root) if incident.root in estate.targets else ()
    own = [name for check in checks for name in check.notify]
    beyond = [name for name in own if name not in default]
    chosen = [*routed, *beyond] if routed else own or list(default)
    if not chosen and not routes and incident.severity is Severity.PAGE:
        chosen = list(notifiers)
    known = set(notifiers)
    return tuple(dict.fromkeys(name for name in chosen if name in known))
