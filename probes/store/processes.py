"""Who is at work? Each worker and alert engine says so every few seconds."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from probes.store.database import Store, reading, writing
from probes.store.statement import change, putting, rows


@dataclass(frozen=True, slots=True)
class Process:
    """A process of ours: when it was last seen, its figures, and sentences for people about what troubles it."""

    name: str
    role: str
    location: str
    pid: int
    version: str
    started_ms: int
    seen_ms: int
    figures: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


_PUT = putting("process", tuple(one.name for one in fields(Process)))
_ALL = """
SELECT name, role, location, pid, version, started_ms, seen_ms, figures, notes FROM process ORDER BY name
"""


def beat(store: Store, one: Process) -> None:
    """Write down that this process is alive."""
    row = {
        "name": one.name[:200],
        "role": one.role,
        "location": one.location,
        "pid": one.pid,
        "version": one.version,
        "started_ms": one.started_ms,
        "seen_ms": one.seen_ms,
        "figures": json.dumps({name: value for name, value in one.figures.items() if math.isfinite(value)}),
        "notes": json.dumps(list(one.notes)),
    }
    with writing(store) as link:
        change(link, _PUT, row)


def load_processes(store: Store) -> list[Process]:
    """Every process that was ever seen and not forgotten, by name."""
    with reading(store) as link:
        found = rows(link, _ALL)
    return [
        Process(name, role, location, pid, version, started_ms, seen_ms, json.loads(figures), tuple(json.loads(notes)))
        for name, role, location, pid, version, started_ms, seen_ms, figures, notes in found
    ]


def forget_process(store: Store, name: str) -> None:
    """Remove a process that stopped cleanly, so that nobody waits for it."""
    with writing(store) as link:
        change(link, "DELETE FROM process WHERE name = :name", {"name": name})
