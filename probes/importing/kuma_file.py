"""What stands in the database of Uptime Kuma (version 1 or 2)? Opened so that nothing beside it is touched."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from probes.importing.draft import DraftError

Row = dict[str, Any]


@contextmanager
def open_kuma(path: Path) -> Iterator["KumaFile"]:
    """The database, read-only, while Uptime Kuma runs or not. Raises DraftError for a file that is none."""
    if not path.is_file():
        raise DraftError(f"there is no file {path}")
    log = path.with_name(f"{path.name}-wal")
    # Without a log nothing is missing in the file itself, and then SQLite need not write anything beside it.
    mode = "mode=ro" if log.exists() and log.stat().st_size else "mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, timeout=10)) as connection:
            connection.row_factory = sqlite3.Row
            yield KumaFile(connection)
    except sqlite3.Error as error:
        raise DraftError(f"{path} cannot be read as a database of Uptime Kuma: {error}") from error


class KumaFile:
    """The tables of interest. Columns that a version does not have are simply not in the rows."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Raises DraftError where the tables are those of another program."""
        self._connection = connection
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        self._tables = {row["name"] for row in names}
        if not {"monitor", "heartbeat"} <= self._tables:
            raise DraftError("this is no database of Uptime Kuma: it has no tables monitor and heartbeat")

    def rows(self, table: str) -> list[Row]:
        """A small table as a whole, by id; nothing where there is no such table."""
        if table not in self._tables:
            return []
        return [dict(row) for row in self._connection.execute(f'SELECT * FROM "{table}" ORDER BY id')]  # noqa: S608

    def count(self, table: str) -> int:
        """How many rows a table has."""
        if table not in self._tables:
            return 0
        return int(self._connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0])  # noqa: S608

    def heartbeats(self) -> Iterator[sqlite3.Row]:
        """Every single result, in order of arrival."""
        query = "SELECT monitor_id, status, msg, time, ping FROM heartbeat ORDER BY id"
        yield from self._connection.execute(query)

    def first_ms(self) -> int | None:
        """The time of the oldest single result in epoch milliseconds."""
        text = self._connection.execute("SELECT min(time) FROM heartbeat").fetchone()[0]
        if not text:
            return None
        found = datetime.fromisoformat(text)
        return round((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)

    def statistics(self, table: str) -> Iterator[sqlite3.Row]:
        """Sums of stat_minutely, stat_hourly or stat_daily, by monitor and time."""
        if table in self._tables:
            query = f"SELECT monitor_id, timestamp, up, down, ping_min, ping_max, extras FROM {table}"  # noqa: S608
            yield from self._connection.execute(f"{query} ORDER BY monitor_id, timestamp")

    def setting(self, key: str) -> Any:
        """A setting's value; None where it is not set."""
        for row in self.rows("setting"):
            if row["key"] == key:
                return read_json(row["value"], row["value"])
        return None


def read_json(text: str | None, default: Any) -> Any:
    """The value of a JSON text; the default where there is none or it is broken."""
    if not text:
        return default
    try:
        return json.loads(text)
    except ValueError:
        return default
