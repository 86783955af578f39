"""Who is at work? Each worker and alert engine says so every few seconds."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import Engine, delete, select

from probes.store.database import put_rows, reading, writing
from probes.store.tables import process


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


def beat(engine: Engine, one: Process) -> None:
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
    with writing(engine) as connection:
        put_rows(connection, process, [row])


def load_processes(engine: Engine) -> list[Process]:
    """Every process that was ever seen and not forgotten, by name."""
    with reading(engine) as connection:
        rows = connection.execute(select(process).order_by(process.c.name)).fetchall()
    return [
        Process(
            name=row.name,
            role=row.role,
            location=row.location,
            pid=row.pid,
            version=row.version,
            started_ms=row.started_ms,
            seen_ms=row.seen_ms,
            figures=json.loads(row.figures),
            notes=tuple(json.loads(row.notes)),
        )
        for row in rows
    ]


def forget_process(engine: Engine, name: str) -> None:
    """Remove a process that stopped cleanly, so that nobody waits for it."""
    with writing(engine) as connection:
        connection.execute(delete(process).where(process.c.name == name))
