"""Where is the store's file damaged? SQLite's own check, and table by table where that check itself cannot go on."""

import sqlite3
from contextlib import closing

from sqlalchemy import Connection

from probes.store.database import database_file

MOST = 20


def find_damage(connection: Connection) -> list[str]:
    """Sentences, one a problem; none for a sound file. Raises sqlite3.Error where not even the schema can be read."""
    file = database_file(connection.engine)
    if file is None:
        return []
    # A connection of its own: the one that met the damage cannot end its transaction any more.
    with closing(sqlite3.connect(file, timeout=5)) as own:
        try:
            found = [line for (line,) in own.execute(f"PRAGMA integrity_check({MOST})")]
        except sqlite3.DatabaseError as error:
            if not _is_corrupt(error):
                raise
            return _find_in_tables(own)
    return [] if found == ["ok"] else [f"the file is damaged: {line}" for line in found]


def _find_in_tables(own: sqlite3.Connection) -> list[str]:
    names = [name for (name,) in own.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    problems = []
    for name in names:
        try:
            found = [line for (line,) in own.execute(f'PRAGMA integrity_check("{name}")')]
        except sqlite3.DatabaseError as error:
            if not _is_corrupt(error):
                raise
            found = ["it cannot be read in full"]
        if found != ["ok"]:
            problems.append(f"the file is damaged: table {name}: {found[0]}")
    return problems or ["the file is damaged outside of every table: `backwatch db salvage` writes it anew"]


def _is_corrupt(error: sqlite3.DatabaseError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_CORRUPT
