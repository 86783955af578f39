"""Where silences are kept."""

import json
import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Engine, select, update

from alerts.incident import Silence, new_id
from alerts.store.tables import silence
from probes.store.database import reading, writing


def add_silence(
    engine: Engine,
    matchers: Mapping[str, str],
    ends_ms: int,
    author: str,
    comment: str,
    *,
    starts_ms: int | None = None,
) -> Silence:
    """Mute incidents whose labels match until `ends_ms`. ValueError: no matcher, or an end before the start."""
    now_ms = time.time_ns() // 1_000_000
    starts_ms = now_ms if starts_ms is None else starts_ms
    if not matchers:
        raise ValueError("a silence needs at least one matcher, such as site=shop")
    if ends_ms <= starts_ms:
        raise ValueError("a silence must end after it starts")
    made = Silence(new_id(now_ms), dict(matchers), starts_ms, ends_ms, author[:100], comment[:500], now_ms)
    with writing(engine) as connection:
        connection.execute(silence.insert(), _row(made))
    return made


def expire_silence(engine: Engine, silence_id: str, author: str) -> bool:
    """End a silence now. False if there is none of that id or it is over already."""
    now_ms = time.time_ns() // 1_000_000
    statement = update(silence).where(silence.c.id == silence_id, silence.c.ends_ms > now_ms)
    ended = silence.c.comment + f" (ended by {author[:60]})"
    with writing(engine) as connection:
        return connection.execute(statement.values(ends_ms=now_ms, comment=ended)).rowcount == 1


def load_silences(engine: Engine, now_ms: int, ended: bool = False) -> list[Silence]:
    """Silences in force or to come, with `ended` the past ones too; the newest first."""
    with reading(engine) as connection:
        return read_silences(connection, now_ms, ended)


def read_silences(connection: Connection, now_ms: int, ended: bool = False) -> list[Silence]:
    """The same inside a transaction."""
    statement = select(silence).order_by(silence.c.created_ms.desc())
    if not ended:
        statement = statement.where(silence.c.ends_ms > now_ms)
    rows = connection.execute(statement).mappings()
    return [Silence(**{**row, "matchers": json.loads(row["matchers"])}) for row in rows]


def _row(made: Silence) -> dict[str, Any]:
    return {
        "id": made.id,
        "matchers": json.dumps(made.matchers),
        "starts_ms": made.starts_ms,
        "ends_ms": made.ends_ms,
        "author": made.author,
        "comment": made.comment,
        "created_ms": made.created_ms,
    }
