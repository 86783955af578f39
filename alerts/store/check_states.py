"""Where the state machine's memory is kept."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Engine, bindparam, delete, select, update

from alerts.check_state import CheckState, State
from alerts.store.tables import check_state
from probes.store.database import reading, upsert
from probes.store.tables import meta

_TURN = "alerts_turn"


def load_check_states(engine: Engine) -> dict[str, CheckState]:
    """The state of every check that was ever judged, by check id."""
    with reading(engine) as connection:
        return read_check_states(connection)


def read_check_states(connection: Connection) -> dict[str, CheckState]:
    """The same inside a transaction."""
    return {row["check_id"]: _state(dict(row)) for row in connection.execute(select(check_state)).mappings()}


def write_check_states(connection: Connection, states: Iterable[CheckState]) -> None:
    """Insert or replace these states."""
    rows = [_row(state) for state in states]
    if not rows:
        return
    statement = upsert(connection)(check_state)
    changed = {column.name: statement.excluded[column.name] for column in check_state.columns if not column.primary_key}
    connection.execute(statement.on_conflict_do_update(index_elements=["check_id"], set_=changed), rows)


def forget_check_states(connection: Connection, check_ids: Sequence[str]) -> None:
    """Drop the states of checks that are no longer configured."""
    if check_ids:
        statement = delete(check_state).where(check_state.c.check_id == bindparam("gone"))
        connection.execute(statement, [{"gone": check_id} for check_id in check_ids])


def read_turn(connection: Connection) -> int:
    """How many times an alert engine has written here: a second engine notices that it must read again."""
    return int(connection.scalar(select(meta.c.value).where(meta.c.key == _TURN)) or 0)


def take_turn(connection: Connection, expected: int) -> bool:
    """Write as the next engine to do so. False if another wrote since `expected` was read."""
    connection.execute(upsert(connection)(meta).values(key=_TURN, value="0").on_conflict_do_nothing())
    statement = update(meta).where(meta.c.key == _TURN, meta.c.value == str(expected))
    return connection.execute(statement.values(value=str(expected + 1))).rowcount == 1


def _state(row: dict[str, Any]) -> CheckState:
    row["state"] = State(row["state"])
    row["seen"] = json.loads(row["seen"])
    row["windows"] = json.loads(row["windows"])
    row["broken"] = tuple(json.loads(row["broken"]))
    return CheckState(**row)


def _row(state: CheckState) -> dict[str, Any]:
    row = asdict(state)
    for name in ("seen", "windows", "broken"):
        row[name] = json.dumps(row[name])
    return row
