"""What do people and programs hand to a worker? Requests to run a check now, and calls of heartbeat URLs."""

import time

from probes.probe import Push
from probes.store.database import Link, Store, is_sqlite, reading, writing
from probes.store.session import Session
from probes.store.statement import change, rows

_PUSH_ORDER = 7_301_448  # number of an advisory lock

_ASK = "INSERT INTO run_request (check_id, at_ms, author) VALUES (:check_id, :at_ms, :author)"
_CALL = """
INSERT INTO push (check_id, at_ms, kind, exit_code, text) VALUES (:check_id, :at_ms, :kind, :exit_code, :text)
"""
_CALLS = "SELECT id, check_id, at_ms, kind, exit_code, text FROM push WHERE id > :last_id ORDER BY id"


def request_run(store: Store, check_id: str, author: str) -> None:
    """Ask the workers to run a check as soon as they can."""
    row = {"check_id": check_id, "at_ms": time.time_ns() // 1_000_000, "author": author[:100]}
    with writing(store) as link:
        change(link, _ASK, row)


def newest_ids(session: Session) -> tuple[int, int]:
    """Of the requests that wait and of the calls: a cheap look whether there is anything to take. Raises StoreError."""
    request_id, push_id = session.look("SELECT (SELECT max(id) FROM run_request), (SELECT max(id) FROM push)")
    return request_id or 0, push_id or 0


def take_run_requests(store: Store) -> list[str]:
    """The ids of checks that were asked for, each once, oldest first; the requests are gone afterwards."""
    with writing(store) as link:
        taken = rows(link, "DELETE FROM run_request RETURNING id, check_id")
    return list(dict.fromkeys(check_id for _, check_id in sorted(taken)))


def record_push(store: Store, check_id: str, call: Push) -> None:
    """Keep a call of a heartbeat URL."""
    row = {
        "check_id": check_id,
        "at_ms": call.at_ms,
        "kind": call.kind,
        "exit_code": call.exit_code,
        "text": call.text.replace("\0", "")[:500],
    }
    with writing(store) as link:
        _keep_order(link)
        change(link, _CALL, row)


def load_pushes_after(store: Store, last_id: int) -> tuple[int, list[tuple[str, Push]]]:
    """Calls with an id above `last_id`, in order, and the last id to ask with next time."""
    with reading(store) as link:
        found = rows(link, _CALLS, last_id=last_id)
    return (found[-1][0] if found else last_id), [(check_id, Push(*call)) for _, check_id, *call in found]


def _keep_order(link: Link) -> None:
    # A server gives out ids before it commits: a later id seen first would hide the earlier one from readers.
    if not is_sqlite(link):
        rows(link, "SELECT pg_advisory_xact_lock(:number)", number=_PUSH_ORDER)
