"""Where is the store's file damaged? SQLite's own check, and table by table where that check itself cannot go on.

`python -m probes.store.damage` looks in a process of its own and of low priority: a gigabyte takes seconds.
"""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from probes.store.embedded import StoreError, file_of

MOST = 20
_WHOLE = ("incident", "incident_event", "incident_member", "outbox", "check_state", "silence")
"""Tables of which nothing may be missing, not even from an index: looked at more closely, for they are small."""


def look_for_damage(database_url: str) -> str:
    """Whether the file can be read in full, page by page: a sentence for people, empty for a sound one or a server.

    Raises StoreError where that could not be found out.
    """
    file = file_of(database_url)
    if file is None:
        return ""
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(file)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode < 0:
        raise StoreError(f"the look for damage was ended by signal {-done.returncode}")
    if done.returncode:
        raise StoreError(done.stderr.strip().rpartition("\n")[2])
    return done.stdout.strip()


def say_damage(file: Path) -> str:
    """What `look_for_damage` says. Finds pages that are no pages any more; a changed value in a sound page it cannot.

    Raises sqlite3.Error where the file cannot be asked.
    """
    with closing(sqlite3.connect(file, timeout=5)) as own:
        try:
            (found,) = own.execute("PRAGMA quick_check(1)").fetchone()
            names = {name for (name,) in own.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            for name in _WHOLE:
                if found == "ok" and name in names:
                    (found,) = own.execute(f'PRAGMA integrity_check("{name}")').fetchone()
        except sqlite3.DatabaseError as error:
            if not _is_corrupt(error):
                raise
            found = str(error)
        if found == "ok":
            return ""
        hurt = _name_tables(own)
    where = f" (table {', '.join(hurt)})" if hurt else ""
    return (
        f"the store's file {file} is damaged{where}: stop Backwatch, "
        f"then `backwatch db salvage NEW` copies what can be read; SQLite says: {found}"
    )


def _name_tables(own: sqlite3.Connection) -> Sequence[str]:
    try:
        said = _find_in_tables(own)
    except sqlite3.DatabaseError:
        return ()
    return [line.split("table ")[1].split(":")[0] for line in said if ": table " in line]


def find_damage(file: Path) -> list[str]:
    """Sentences, one a problem; none for a sound file. Raises sqlite3.Error where not even the schema can be read."""
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


def _main() -> None:
    os.nice(10)
    try:
        sys.stdout.write(say_damage(Path(sys.argv[1])))
    except sqlite3.Error as error:
        sys.exit(str(error))


if __name__ == "__main__":
    _main()
