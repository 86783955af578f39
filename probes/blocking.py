"""Which sessions of a database wait for a lock, and who holds it? As rows that may be shown: no literal is left."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

# Cut after 300 characters, so a text may end within a literal.
POSTGRESQL = """SELECT blocked.pid, blocked.usename,
  extract(epoch FROM clock_timestamp() - blocked.query_start)::float8,
  left(blocked.query, 300), blocker.pid, blocker.usename, blocker.state,
  extract(epoch FROM clock_timestamp() - blocker.xact_start)::float8, left(blocker.query, 300)
  FROM pg_stat_activity blocked CROSS JOIN LATERAL unnest(pg_blocking_pids(blocked.pid)) AS by (pid)
  JOIN pg_stat_activity blocker ON blocker.pid = by.pid
  WHERE blocked.wait_event_type = 'Lock' ORDER BY blocked.query_start LIMIT 10"""

_LITERAL = re.compile(r"\$([A-Za-z_]*)\$.*?(?:\$\1\$|$)|[eE]?'(?:[^'\\]|''|\\.)*(?:'|$)|\b\d[\w.]*", re.DOTALL)


def without_literals(statement: str) -> str:
    """A statement's shape: texts and numbers in it are somebody's data."""
    return " ".join(_LITERAL.sub("?", statement).split())


def describe(rows: Iterable[Sequence[Any]]) -> list[str]:
    """One sentence for each session that waits and one that it waits for."""
    return [
        f"{pid} ({user}) waits {_seconds(waits_s)} in: {without_literals(query or '')}; "
        f"{by_pid} ({by_user}, {state}) holds the lock, its transaction {_seconds(open_s)} old, last: "
        f"{without_literals(by_query or '')}"
        for pid, user, waits_s, query, by_pid, by_user, state, open_s, by_query in rows
    ]


def _seconds(value: float | None) -> str:
    return "?" if value is None else f"{value:.1f} s"
