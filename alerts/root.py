"""Who is to blame: the walk from a failing target down to the deepest ones that fail too."""

from collections.abc import Iterable, Mapping
from functools import cached_property

from alerts.condition import Condition
from alerts.incident import Level
from probes.target import Estate


class Graph:
    """Who needs whom, hard edges only. Targets without checks are passed through: their needs are their dependents'."""

    def __init__(self, estate: Estate) -> None:
        self._estate = estate
        self.needs: dict[str, tuple[str, ...]] = {
            target: tuple(dict.fromkeys(self._checked(estate.targets[target].needs, {target})))
            for target in estate.targets
        }

    def _checked(self, needed: Iterable[str], seen: set[str]) -> Iterable[str]:
        for target in needed:
            if target in seen:
                continue
            if self._estate.targets[target].checks:
                yield target
            else:
                yield from self._checked(self._estate.targets[target].needs, seen | {target})

    @cached_property
    def depth(self) -> dict[str, int]:
        """Length of the longest chain of dependents above each target."""
        depths: dict[str, int] = {}

        def measure(target: str) -> int:
            if target not in depths:
                depths[target] = 0  # a cycle, which the configuration refuses, must not hang us
                depths[target] = max((1 + measure(above) for above in self.dependents[target]), default=0)
            return depths[target]

        for target in self.needs:
            measure(target)
        return depths

    @cached_property
    def dependents(self) -> dict[str, tuple[str, ...]]:
        """Who needs a target directly."""
        above: dict[str, list[str]] = {target: [] for target in self.needs}
        for target, needed in self.needs.items():
            for below in needed:
                above[below].append(target)
        return {target: tuple(ids) for target, ids in above.items()}

    def below(self, target: str) -> list[str]:
        """Everything a target needs, recursively."""
        return self._reach(self.needs, target)

    def above(self, target: str) -> list[str]:
        """Everything that needs a target, recursively."""
        return self._reach(self.dependents, target)

    def _reach(self, edges: Mapping[str, tuple[str, ...]], target: str) -> list[str]:
        reached: dict[str, None] = {}
        queue = list(edges.get(target, ()))
        while queue:
            found = queue.pop()
            if found not in reached:
                reached[found] = None
                queue.extend(edges[found])
        return list(reached)


class Blame:
    """The walks over one moment's conditions."""

    def __init__(self, graph: Graph, conditions: Mapping[str, Condition]) -> None:
        self.graph = graph
        self.conditions = conditions
        self._roots: dict[str, frozenset[str]] = {}

    def roots(self, target: str) -> frozenset[str]:
        """The deepest failing targets that explain this one, itself if none does; empty if it is well.

        From a target that is merely degraded the walk visits degraded ones too, and failing ones take the blame.
        """
        found = self._roots.get(target)
        if found is None:
            found = self._roots[target] = self._walk(target)
        return found

    def _walk(self, target: str) -> frozenset[str]:
        if not self._is_bad(target):
            return frozenset()
        failing_only = self._is_failing(target)
        wanted = self._is_failing if failing_only else self._is_bad
        leaves: set[str] = set()
        for below in self.graph.needs.get(target, ()):
            if wanted(below):
                leaves |= self.roots(below)
        if not leaves:
            return frozenset({target})
        failing = {leaf for leaf in leaves if self._is_failing(leaf)}
        return frozenset(failing or leaves)

    def followers(self) -> dict[str, set[str]]:
        """By root: every bad target it explains, itself included."""
        explained: dict[str, set[str]] = {}
        for target, condition in self.conditions.items():
            if condition.is_bad:
                for root in self.roots(target):
                    explained.setdefault(root, set()).add(target)
        return explained

    def primary(self, roots: Iterable[str]) -> str:
        """Of several roots whom to name: the deepest, then who failed first, who is needed most, then by name."""

        def rank(root: str) -> tuple[int, int, int, str]:
            since_ms = self.conditions[root].since_ms
            return -self.graph.depth.get(root, 0), since_ms, -len(self.graph.above(root)), root

        return min(roots, key=rank)

    def is_settled(self, target: str) -> bool:
        """True if everything a target needs was asked after its first failure: nothing deeper can still turn up."""
        since_ms = self.conditions[target].since_ms
        return all((self.conditions[below].vote_ms or 0) > since_ms for below in self.graph.below(target))

    def level(self, target: str) -> Level | None:
        """What is confirmed against a target."""
        condition = self.conditions.get(target)
        return condition.level if condition else None

    def _is_failing(self, target: str) -> bool:
        condition = self.conditions.get(target)
        return condition is not None and condition.failing

    def _is_bad(self, target: str) -> bool:
        condition = self.conditions.get(target)
        return condition is not None and condition.is_bad
