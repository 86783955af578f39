"""The health of an app instance in the words of Spring Boot Actuator: a status and its components."""

import sqlite3
from collections.abc import Callable
from typing import Any

import redis

from sample_targets.database import Database
from sample_targets.near_cache import NearCache
from sample_targets.purchase import PaymentFailed, Till

Component = dict[str, Any]


def check_health(database: Database, cache: NearCache, till: Till) -> Component:
    """All components. Only the database takes the instance DOWN: without the others the shop still sells or browses."""
    components = {
        "db": check_database(database),
        "cache": _component(cache.ping, redis.RedisError, "redis"),
        "payments": _component(till.ping, PaymentFailed, "rest"),
    }
    down = {name for name, component in components.items() if component["status"] == "DOWN"}
    status = "DOWN" if "db" in down else "DEGRADED" if down else "UP"
    return {"status": status, "components": components}


def check_database(database: Database) -> Component:
    """Can the database be opened and read?"""
    return _component(lambda: _count_products(database), sqlite3.Error, "SQLite")


def _count_products(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("SELECT count(*) FROM product").fetchone()


def _component(ask: Callable[[], None], failure: type[Exception], what: str) -> Component:
    try:
        ask()
    except failure as error:
        return {"status": "DOWN", "details": {"kind": what, "error": str(error)}}
    return {"status": "UP", "details": {"kind": what}}
