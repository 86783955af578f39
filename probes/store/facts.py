"""What was last known of each check, seen from a location, so that a change is noticed across a restart too?"""

import json
from collections.abc import Mapping
from hashlib import sha256

from sqlalchemy import Engine, delete, select

from probes.facts import Facts
from probes.store.database import reading, writing
from probes.store.meta import put
from probes.store.tables import meta

_PREFIX = "fact/"


def load_facts(engine: Engine, location: str) -> dict[str, Facts]:
    """Check id → facts, of one location."""
    with reading(engine) as connection:
        rows = connection.scalars(select(meta.c.value).where(meta.c.key.startswith(_PREFIX))).all()
    kept = [json.loads(value) for value in rows]
    return {one["check"]: one["facts"] for one in kept if one["location"] == location}


def save_facts(engine: Engine, location: str, known: Mapping[str, Facts]) -> None:
    """Keep the facts of some checks, those of a location; empty ones are forgotten."""
    with writing(engine) as connection:
        for check_id, facts in known.items():
            key = _PREFIX + sha256(f"{location}\0{check_id}".encode()).hexdigest()[:40]
            if facts:
                row = {"check": check_id, "location": location, "facts": dict(facts)}
                put(connection, key, json.dumps(row, ensure_ascii=False))
            else:
                connection.execute(delete(meta).where(meta.c.key == key))
