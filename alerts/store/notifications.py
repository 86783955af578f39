"""What people read of the outbox, and how they ask for a test message."""

import json
import time
from dataclasses import dataclass

from sqlalchemy import Engine, func, select

from alerts.incident import Notification, Pending, new_id
from alerts.store.tables import notifier_state, outbox
from probes.store.database import reading, writing

_SHOWN = [
    outbox.c[name]
    for name in (
        "id", "incident_id", "seq", "kind", "notifier", "state", "attempts",
        "created_ms", "due_ms", "sent_ms", "last_code", "last_error", "title",
    )
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class NotifierState:
    """How a notifier fares: failures in a row, its breaker (`open_until_ms`), a pause it asked for, or gone (410)."""

    name: str
    failures: int = 0
    open_until_ms: int | None = None
    paused_until_ms: int | None = None
    disabled: bool = False
    last_ok_ms: int | None = None
    last_error: str = ""


def load_notifications(engine: Engine, incident_id: str | None = None, limit: int = 200) -> list[Notification]:
    """Deliveries, of one incident or of all, the newest first."""
    statement = select(*_SHOWN).order_by(outbox.c.created_ms.desc(), outbox.c.seq.desc(), outbox.c.id).limit(limit)
    if incident_id is not None:
        statement = statement.where(outbox.c.incident_id == incident_id)
    with reading(engine) as connection:
        return [Notification(**row) for row in connection.execute(statement).mappings()]


def pending(engine: Engine) -> Pending:
    """How many deliveries wait, since when the oldest is due, and how many were given up."""
    waiting = outbox.c.state.in_(("pending", "sending"))
    with reading(engine) as connection:
        n, oldest = connection.execute(select(func.count(), func.min(outbox.c.due_ms)).where(waiting)).one()
        dead = connection.execute(select(func.count()).where(outbox.c.state == "dead")).scalar_one()
    return Pending(n, oldest, dead)


def load_notifier_states(engine: Engine) -> dict[str, NotifierState]:
    """How each notifier fares that was ever used, by name."""
    with reading(engine) as connection:
        rows = connection.execute(select(notifier_state)).mappings().all()
    return {row["name"]: NotifierState(**row) for row in rows}


def request_test(engine: Engine, notifier: str, author: str) -> str:
    """Queue a test message; the sender of the alert engine delivers it. Returns the notification's id."""
    now_ms = time.time_ns() // 1_000_000
    made = new_id(now_ms)
    title = f"[TEST] Backwatch reaches {notifier} (asked for by {author})"[:500]
    row = {
        "id": made, "incident_id": None, "seq": 0, "notifier": notifier, "kind": "test", "severity": "page",
        "title": title, "payload": json.dumps({"author": author}), "created_ms": now_ms, "due_ms": now_ms,
        "attempts": 0, "refusals": 0, "state": "pending", "last_error": "",
    }  # fmt: skip
    with writing(engine) as connection:
        connection.execute(outbox.insert(), row)
    return made
