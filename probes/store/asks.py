"""What do people and programs hand to a worker? Requests to run a check now, and calls of heartbeat URLs."""

import time

from sqlalchemy import Connection, Engine, delete, insert, select, text

from probes.probe import Push
from probes.store.database import is_sqlite, reading, writing
from probes.store.session import Session
from probes.store.tables import push, run_request

_PUSH_ORDER = 7_301_448  # number of an advisory lock


def request_run(engine: Engine, check_id: str, author: str) -> None:
    """Ask the workers to run a check as soon as they can."""
    row = {"check_id": check_id, "at_ms": time.time_ns() // 1_000_000, "author": author[:100]}
    with writing(engine) as connection:
        connection.execute(insert(run_request).values(**row))


def newest_ids(session: Session) -> tuple[int, int]:
    """Of the requests that wait and of the calls: a cheap look whether there is anything to take. Raises StoreError."""
    request_id, push_id = session.look("SELECT (SELECT max(id) FROM run_request), (SELECT max(id) FROM push)")
    return request_id or 0, push_id or 0


def take_run_requests(engine: Engine) -> list[str]:
    """The ids of checks that were asked for, each once, oldest first; the requests are gone afterwards."""
    with writing(engine) as connection:
        taken = connection.execute(delete(run_request).returning(run_request.c.id, run_request.c.check_id)).fetchall()
    return list(dict.fromkeys(row.check_id for row in sorted(taken, key=lambda row: row.id)))


def record_push(engine: Engine, check_id: str, call: Push) -> None:
    """Keep a call of a heartbeat URL."""
    with writing(engine) as connection:
        _keep_order(connection)
        connection.execute(
            insert(push).values(
                check_id=check_id,
                at_ms=call.at_ms,
                kind=call.kind,
                exit_code=call.exit_code,
                text=call.text.replace("\0", "")[:500],
            )
        )


def load_pushes_after(engine: Engine, last_id: int) -> tuple[int, list[tuple[str, Push]]]:
    """Calls with an id above `last_id`, in order, and the last id to ask with next time."""
    with reading(engine) as connection:
        rows = connection.execute(select(push).where(push.c.id > last_id).order_by(push.c.id)).fetchall()
    calls = [(row.check_id, Push(row.at_ms, row.kind, row.exit_code, row.text)) for row in rows]
    return (rows[-1].id if rows else last_id), calls


def _keep_order(connection: Connection) -> None:
    # A server gives out ids before it commits: a later id seen first would hide the earlier one from readers.
    if not is_sqlite(connection):
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _PUSH_ORDER})
