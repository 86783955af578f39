"""The outbox as the engine fills it and the senders empty it. A claim is a conditional UPDATE and a rowcount."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace

from sqlalchemy import Connection, Engine, func, or_, select, update

from alerts.delivery import Delivery, Outcome
from alerts.incident import notification_id
from alerts.message import Message
from alerts.store.notifications import NotifierState
from alerts.store.tables import notifier_state, outbox
from probes.store.database import reading, upsert, writing

_FIELDS = [outbox.c[name] for name in Delivery.__dataclass_fields__]
_TURN = 5000


def write_notifications(connection: Connection, messages: Iterable[tuple[str, Message]]) -> None:
    """Queue messages, each for a notifier; one that is there already stays as it is."""
    rows = [
        {
            "id": message.id, "incident_id": message.incident_id, "seq": message.seq, "notifier": notifier,
            "kind": message.kind, "severity": message.severity, "title": message.subject, "payload": message.to_json(),
            "created_ms": message.at_ms, "due_ms": message.at_ms, "attempts": 0, "refusals": 0, "state": "pending",
            "last_error": "",
        }
        for notifier, message in messages
    ]  # fmt: skip
    if rows:
        connection.execute(upsert(connection)(outbox).on_conflict_do_nothing(), rows)


def read_told(connection: Connection, incident_id: str) -> list[str]:
    """The notifiers that were told of an incident, or will be."""
    statement = select(outbox.c.notifier).where(outbox.c.incident_id == incident_id).distinct()
    return list(connection.execute(statement.order_by(outbox.c.notifier)).scalars())


def is_work_waiting(engine: Engine, now_ms: int) -> bool:
    """True if something is due, or somebody died over a delivery."""
    due = (outbox.c.state == "pending") & (outbox.c.due_ms <= now_ms)
    orphaned = (outbox.c.state == "sending") & (outbox.c.lease_until_ms <= now_ms)
    with reading(engine) as connection:
        return connection.execute(select(outbox.c.id).where(or_(due, orphaned)).limit(1)).first() is not None


def release_expired(connection: Connection, now_ms: int) -> None:
    """Deliveries whose sender did not come back wait again; their attempt counts."""
    orphaned = (outbox.c.state == "sending") & (outbox.c.lease_until_ms <= now_ms)
    connection.execute(
        update(outbox).where(orphaned).values(state="pending", attempts=outbox.c.attempts + 1, lease_owner=None)
    )


def read_owners(connection: Connection) -> list[str]:
    """Who is sending."""
    statement = select(outbox.c.lease_owner).where(outbox.c.state == "sending", outbox.c.lease_owner.is_not(None))
    return [owner for owner in connection.execute(statement.distinct()).scalars() if owner]


def release_owner(connection: Connection, owner: str) -> None:
    """Deliveries of a sender that is known to be dead wait again."""
    theirs = (outbox.c.state == "sending") & (outbox.c.lease_owner == owner)
    connection.execute(
        update(outbox).where(theirs).values(state="pending", attempts=outbox.c.attempts + 1, lease_owner=None)
    )


def read_waiting(connection: Connection) -> list[Delivery]:
    """Deliveries that wait, lower seq first; lines of which one is being sent are left out."""
    busy = select(func.coalesce(outbox.c.incident_id, outbox.c.id), outbox.c.notifier).where(
        outbox.c.state == "sending"
    )
    taken = {tuple(row) for row in connection.execute(busy)}
    statement = select(*_FIELDS).where(outbox.c.state == "pending").order_by(outbox.c.created_ms, outbox.c.seq)
    waiting = [Delivery(**row) for row in connection.execute(statement.limit(_TURN)).mappings()]
    return [delivery for delivery in waiting if delivery.line not in taken]


def claim(connection: Connection, delivery: Delivery, owner: str, lease_until_ms: int) -> bool:
    """True if the delivery is ours to attempt."""
    statement = update(outbox).where(outbox.c.id == delivery.id, outbox.c.state == "pending")
    values = {"state": "sending", "lease_owner": owner, "lease_until_ms": lease_until_ms}
    return connection.execute(statement.values(**values)).rowcount == 1


def defer(connection: Connection, delivery: Delivery, due_ms: int, why: str) -> None:
    """Not now."""
    statement = update(outbox).where(outbox.c.id == delivery.id, outbox.c.state == "pending")
    connection.execute(statement.values(due_ms=due_ms, last_error=why[:500]))


def supersede(connection: Connection, deliveries: Sequence[Delivery], why: str) -> None:
    """Something newer says it all, or nobody needs to know."""
    _end(connection, deliveries, "superseded", why)


def give_up(connection: Connection, deliveries: Sequence[Delivery], why: str) -> None:
    """Too late to be of use."""
    _end(connection, deliveries, "dead", why)


def _end(connection: Connection, deliveries: Sequence[Delivery], state: str, why: str) -> None:
    for delivery in deliveries:
        statement = update(outbox).where(outbox.c.id == delivery.id, outbox.c.state == "pending")
        connection.execute(statement.values(state=state, last_error=why[:500]))


def finish(engine: Engine, delivery: Delivery, owner: str, outcome: Outcome, state: NotifierState) -> None:
    """Write down how an attempt ended; if the lease was lost meanwhile, only success counts."""
    mine = (outbox.c.id == delivery.id) & (outbox.c.state != "sent")
    if outcome.state != "sent":
        mine = mine & (outbox.c.lease_owner == owner)
    values = {
        "state": outcome.state,
        "due_ms": outcome.due_ms,
        "attempts": outcome.attempts,
        "refusals": outcome.refusals,
        "sent_ms": outcome.due_ms if outcome.state == "sent" else None,
        "last_code": outcome.code,
        "last_error": outcome.error[:500],
        "lease_owner": None,
        "lease_until_ms": None,
    }
    with writing(engine) as connection:
        connection.execute(update(outbox).where(mine).values(**values))
        write_notifier_state(connection, state)


def wake(engine: Engine, notifier: str, now_ms: int) -> None:
    """The receiver is back: what waits for it need not wait longer, save for what it refused or is silenced."""
    waiting = (outbox.c.notifier == notifier) & (outbox.c.state == "pending") & (outbox.c.due_ms > now_ms)
    mine = waiting & (outbox.c.refusals == 0) & outbox.c.last_error.not_like("silenced%")
    with writing(engine) as connection:
        connection.execute(update(outbox).where(mine).values(due_ms=now_ms))


def write_notifier_state(connection: Connection, state: NotifierState) -> None:
    """Insert or replace how a notifier fares."""
    row = {**asdict(state), "last_error": state.last_error[:500]}
    statement = upsert(connection)(notifier_state).values(**row)
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=row))


def hand_over(connection: Connection, delivery: Delivery, to: str, now_ms: int) -> None:
    """Queue the same message for another notifier, once; it says why it comes this way."""
    if delivery.incident_id is None:
        return
    message = Message.from_json(delivery.payload)
    told = replace(
        message,
        id=notification_id(delivery.incident_id, delivery.seq, to),
        cause=f"{message.cause} (told here because {delivery.notifier} cannot be reached)".strip(),
        at_ms=now_ms,
    )
    write_notifications(connection, [(to, told)])
