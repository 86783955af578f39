"""Somebody who keeps the database locked: the cause of the fault `slow_db`."""

import contextlib
import time
from urllib.parse import quote

from sample_targets.database import open_database
from sample_targets.layout import Layout

HELD_S = 1.4
# Long enough for a waiting SQLite, which asks every 100 ms at worst, to get its turn.
FREE_S = 0.2


def run_locker(layout: Layout) -> None:
    """The process that holds the exclusive lock most of the time, until it is ended."""
    address = f"file:{quote(str(layout.database))}?mode=rw"
    with contextlib.closing(open_database(address)) as connection:
        while True:
            connection.execute("BEGIN EXCLUSIVE")
            time.sleep(HELD_S)
            connection.execute("ROLLBACK")
            time.sleep(FREE_S)
