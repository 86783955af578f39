"""Which tier of a site is at fault, since when, and who only waits for it? Pure, over the looks of its targets."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from alerts.incident import Incident
from alerts.root import Graph
from dashboard.standing import CheckNow, worst_look
from dashboard.theme import Look
from probes.target import Estate, Tier


@dataclass(frozen=True, slots=True)
class Node:
    """A target on the path. `waits_for` are the roots that explain its trouble, empty for a root and for the well."""

    target: str
    name: str
    tier: Tier
    look: Look
    checks: tuple[CheckNow, ...]
    is_root: bool
    waits_for: tuple[str, ...]

    @property
    def worst(self) -> CheckNow:
        """The check that says most about it."""
        return min(self.checks, key=lambda one: (one.look.rank, one.since_ms or 0))


@dataclass(frozen=True, slots=True)
class SitePath:
    """A site's targets with their roots, worst first, and the incident that is open about the first of them."""

    site: str
    title: str
    nodes: Mapping[str, Node]
    edges: Sequence[tuple[str, str, bool]]  # from, to, soft
    roots: tuple[str, ...]
    incident: Incident | None

    @property
    def tiers(self) -> list[tuple[Tier, list[Node]]]:
        """The tiers that have targets, from the user inwards, each with its targets."""
        found: dict[Tier, list[Node]] = {}
        for node in self.nodes.values():
            found.setdefault(node.tier, []).append(node)
        return sorted(found.items(), key=lambda pair: pair[0].rank)

    @property
    def waiting(self) -> list[Node]:
        """Targets in trouble only because of a root."""
        return [node for node in self.nodes.values() if node.waits_for]

    @property
    def look(self) -> Look:
        """The worst look of the roots, of everything where there is no root."""
        return worst_look(self.nodes[one].look for one in (self.roots or self.nodes))


def site_path(
    estate: Estate, site_name: str, checks: Mapping[str, CheckNow], incidents: Iterable[Incident] = ()
) -> SitePath:
    """The path of one site. Raises KeyError for a site that is not configured.

    An open incident's root is taken over from the alert engine, which has seen more results than the newest one.
    """
    site = estate.sites[site_name]
    graph = Graph(estate)
    shown = [target_id for target_id in site.targets if estate.targets[target_id].checks]
    looks = {one: worst_look(checks[check].look for check in estate.targets[one].checks) for one in shown}
    open_here = [one for one in incidents if one.is_open and one.root in looks]
    blamed = {one.root for one in open_here}
    roots_of = {one: _roots(one, graph, looks, blamed) for one in shown}
    found = {root for roots in roots_of.values() for root in roots}
    roots = sorted(found, key=lambda one: (one not in blamed, looks[one].rank, -estate.targets[one].tier.rank, one))
    nodes = {
        one: Node(
            target=one,
            name=estate.targets[one].name,
            tier=estate.targets[one].tier,
            look=looks[one],
            checks=tuple(checks[check] for check in estate.targets[one].checks),
            is_root=one in found,
            waits_for=tuple(root for root in roots_of[one] if root != one),
        )
        for one in shown
    }
    incident = next((one for one in open_here if roots and one.root == roots[0]), None)
    return SitePath(site_name, site.title, nodes, _edges(estate, graph, shown), tuple(roots), incident)


def _roots(target: str, graph: Graph, looks: Mapping[str, Look], blamed: set[str]) -> tuple[str, ...]:
    if looks[target] not in (Look.DOWN, Look.DEGRADED):
        return ()
    bad = [one for one in graph.below(target) if looks.get(one) in (Look.DOWN, Look.DEGRADED)]
    if looks[target] is Look.DOWN:
        # What is merely degraded does not explain what is down.
        bad = [one for one in bad if looks[one] is Look.DOWN] or [one for one in bad if one in blamed]
    elif any(looks[one] is Look.DOWN for one in bad):
        bad = [one for one in bad if looks[one] is Look.DOWN]
    deepest = [one for one in bad if not set(graph.below(one)) & set(bad)]
    return tuple(deepest) or (target,)


def _edges(estate: Estate, graph: Graph, shown: Sequence[str]) -> list[tuple[str, str, bool]]:
    edges = []
    for one in shown:
        edges += [(one, below, False) for below in graph.needs.get(one, ()) if below in shown]
        edges += [(one, below, True) for below in estate.targets[one].soft_needs if below in shown]
    return edges
