"""Where incidents are kept, and what people do to them."""

import json
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Engine, or_, select, update

from alerts.incident import Incident, IncidentEvent, IncidentState, Level, Member, Severity
from alerts.store.tables import incident, incident_event, incident_member
from probes.store.database import reading, upsert, writing

ACK_LASTS_MS = 8 * 3600 * 1000


def load_incidents(
    engine: Engine, states: Collection[IncidentState | str] | None = None, limit: int = 200
) -> list[Incident]:
    """Incidents in these states (None: in any), the newest first."""
    statement = select(incident).order_by(incident.c.opened_ms.desc(), incident.c.id.desc()).limit(limit)
    if states is not None:
        statement = statement.where(incident.c.state.in_([str(IncidentState(state)) for state in states]))
    with reading(engine) as connection:
        return _read(connection, statement)


def load_incident(engine: Engine, incident_id: str) -> Incident | None:
    """One incident, None where there is none of that id."""
    with reading(engine) as connection:
        return _read_one(connection, incident_id)


def load_incident_events(engine: Engine, incident_id: str) -> list[IncidentEvent]:
    """What happened to an incident, the oldest first."""
    statement = select(incident_event).where(incident_event.c.incident_id == incident_id)
    with reading(engine) as connection:
        rows = connection.execute(statement.order_by(incident_event.c.seq)).mappings().all()
    return [IncidentEvent(**row) for row in rows]


def acknowledge(engine: Engine, incident_id: str, author: str, comment: str = "", until_ms: int | None = None) -> bool:
    """Somebody has it: reminders stop until `until_ms` (default: for 8 hours). False if it is not open."""
    now_ms = _now_ms()
    until_ms = until_ms or now_ms + ACK_LASTS_MS
    event = IncidentEvent(incident_id, 0, now_ms, "acked", comment, author)
    state = str(IncidentState.ACKED)
    return _change(engine, event, state=state, acked_by=author[:100], acked_ms=now_ms, acked_until_ms=until_ms)


def add_comment(engine: Engine, incident_id: str, author: str, comment: str) -> bool:
    """Write something down beside an incident, open or not. False if there is none of that id."""
    return _change(engine, IncidentEvent(incident_id, 0, _now_ms(), "comment", comment, author), only_open=False)


def resolve(engine: Engine, incident_id: str, author: str, comment: str = "") -> bool:
    """Close by hand; members still in trouble are left alone until they were well again. False if it is not open."""
    now_ms = _now_ms()
    return _change(
        engine,
        IncidentEvent(incident_id, 0, now_ms, "resolved", comment, author),
        state=str(IncidentState.RESOLVED),
        resolved_ms=now_ms,
        closed_as="by hand",
        unannounced=True,
        dismissing=True,
    )


def read_live_incidents(connection: Connection, resolved_after_ms: int, *, lock: bool = False) -> list[Incident]:
    """What the engine works on: open ones, those closed by hand that it has still to see to, and the newly closed.

    With `lock` nobody changes them before the transaction is over (SQLite has one writer anyway).
    """
    live = or_(
        incident.c.state != str(IncidentState.RESOLVED),
        incident.c.resolved_ms > resolved_after_ms,
        incident.c.unannounced.is_(True),
        incident.c.dismissing.is_(True),
    )
    statement = select(incident).where(live).order_by(incident.c.opened_ms, incident.c.id)
    return _read(connection, statement.with_for_update() if lock else statement)


def write_incidents(
    connection: Connection, incidents: Iterable[Incident], events: Sequence[IncidentEvent] = ()
) -> None:
    """Insert or replace incidents with their members, and append events."""
    rows = [_row(one) for one in incidents]
    if rows:
        statement = upsert(connection)(incident)
        changed = {c.name: statement.excluded[c.name] for c in incident.columns if not c.primary_key}
        connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_=changed), rows)
    members = [{"incident_id": one.id, **asdict(member)} for one in incidents for member in one.members]
    if members:
        statement = upsert(connection)(incident_member)
        changed = {name: statement.excluded[name] for name in ("joined_ms", "left_ms", "level")}
        statement = statement.on_conflict_do_update(index_elements=["incident_id", "target"], set_=changed)
        connection.execute(statement, members)
    if events:
        connection.execute(incident_event.insert(), [asdict(event) for event in events])


def _change(
    engine: Engine,
    event: IncidentEvent,
    *,
    only_open: bool = True,
    **values: Any,
) -> bool:
    statement = update(incident).where(incident.c.id == event.incident_id)
    if only_open:
        statement = statement.where(incident.c.state != str(IncidentState.RESOLVED))
    with writing(engine) as connection:
        changed = connection.execute(statement.values(seq=incident.c.seq + 1, **values))
        if changed.rowcount != 1:
            return False
        seq = connection.execute(select(incident.c.seq).where(incident.c.id == event.incident_id)).scalar_one()
        row = {**asdict(event), "seq": seq, "text": event.text[:500], "author": event.author[:100]}
        connection.execute(incident_event.insert(), row)
    return True


def _read_one(connection: Connection, incident_id: str) -> Incident | None:
    return next(iter(_read(connection, select(incident).where(incident.c.id == incident_id))), None)


def _read(connection: Connection, statement: Any) -> list[Incident]:
    rows = [dict(row) for row in connection.execute(statement).mappings()]
    members: defaultdict[str, list[Member]] = defaultdict(list)
    if rows:
        wanted = select(incident_member).where(incident_member.c.incident_id.in_([row["id"] for row in rows]))
        wanted = wanted.order_by(incident_member.c.joined_ms, incident_member.c.target)
        for found in connection.execute(wanted).mappings():
            member = Member(found["target"], found["joined_ms"], found["left_ms"], Level(found["level"]))
            members[found["incident_id"]].append(member)
    return [_incident(row, members[row["id"]]) for row in rows]


def _incident(row: dict[str, Any], members: list[Member]) -> Incident:
    row["state"] = IncidentState(row["state"])
    row["severity"] = Severity(row["severity"])
    row["told"] = tuple(json.loads(row["told"]))
    root_first = sorted(members, key=lambda member: member.target != row["root"])
    return Incident(**row, members=tuple(root_first))


def _row(one: Incident) -> dict[str, Any]:
    row = asdict(one)
    row["told"] = json.dumps(row["told"])
    row["title"] = one.title[:500]
    row["cause"] = one.cause[:500]
    del row["members"]
    return row


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
