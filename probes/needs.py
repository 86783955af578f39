"""Who needs whom: names in `needs` resolved to target ids, cycles found."""

from collections.abc import Mapping, Sequence


def resolve(name: str, site: str, known: Mapping[str, object]) -> str | None:
    """The id of the target that `name` means inside a site (`db`, or `other/db`); None where there is none."""
    target_id = name if "/" in name else f"{site}/{name}"
    return target_id if target_id in known else None


def find_cycle(needs: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """One cycle of the graph as the targets on it, first one repeated at the end; empty where there is none."""
    done: set[str] = set()
    for start in needs:
        trail: list[str] = []
        stack = [iter((start,))]
        while stack:
            node = next(stack[-1], None)
            if node is None:
                stack.pop()
                if trail:
                    done.add(trail.pop())
            elif node in trail:
                return (*trail[trail.index(node) :], node)
            elif node not in done:
                trail.append(node)
                stack.append(iter(needs.get(node, ())))
    return ()
