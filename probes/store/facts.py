"""What was last known of each check, seen from a location, so that a change is noticed across a restart too?"""

import json
from collections.abc import Mapping
from hashlib import sha256

from probes.facts import Facts
from probes.store.database import Store, reading, writing
from probes.store.meta import find, forget, put

_PREFIX = "fact/"


def load_facts(store: Store, location: str) -> dict[str, Facts]:
    """Check id → facts, of one location."""
    with reading(store) as link:
        kept = [json.loads(value) for value in find(link, _PREFIX).values()]
    return {one["check"]: one["facts"] for one in kept if one["location"] == location}


def save_facts(store: Store, location: str, known: Mapping[str, Facts]) -> None:
    """Keep the facts of some checks, those of a location; empty ones are forgotten."""
    with writing(store) as link:
        for check_id, facts in known.items():
            key = _PREFIX + sha256(f"{location}\0{check_id}".encode()).hexdigest()[:40]
            if facts:
                row = {"check": check_id, "location": location, "facts": dict(facts)}
                put(link, key, json.dumps(row, ensure_ascii=False))
            else:
                forget(link, key)
