"""What the benches of the store measure of it: CPU time of reads, bytes of tables and of SQLite's log."""

import statistics
import time
from collections.abc import Callable
from contextlib import closing

import pandas as pd
from sqlalchemy import Connection, Engine, select, text
from store_site import DAY

from probes.store.charts import load_series
from probes.store.database import reading
from probes.store.maintenance import wal_bytes
from probes.store.results import load_results
from probes.store.summary import load_summaries
from probes.store.tables import hot


def cut_log(engine: Engine) -> int:
    """Bytes of SQLite's log, which is empty then."""
    size = wal_bytes(engine)
    with closing(engine.raw_connection()) as connection:
        connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return size


def median_ms(call: Callable[[], object], times: int = 9, clock: Callable[[], float] = time.process_time) -> float:
    """Median milliseconds of a call; of CPU where nothing else is said: who else is at work does not count then."""
    call()
    spent = []
    for _ in range(times):
        began = clock()
        call()
        spent.append(clock() - began)
    return statistics.median(spent) * 1000


def read_trivially(connection: Connection) -> pd.DataFrame:
    """What other reads are measured by: 1,000 rows as they are."""
    few = [hot.c[column] for column in ("id", "status", "code", "total_us", "ttfb_us", "late_ms", "error_id")]
    return pd.read_sql(select(*few).limit(1000), connection)


def reads_ms(engine: Engine, check_id: str, now_ms: int) -> tuple[float, dict[str, float]]:
    """Milliseconds of CPU of the trivial SELECT and of each read; the SELECT is measured among them."""

    def trivial() -> object:
        with reading(engine) as connection:
            return read_trivially(connection)

    trivials, reads = [median_ms(trivial)], {"overview": median_ms(lambda: load_summaries(engine))}
    for label, length in (("24 h", DAY), ("7 d", 7 * DAY), ("90 d", 90 * DAY), ("1 y", 365 * DAY)):
        reads[label] = median_ms(lambda length=length: load_series(engine, check_id, now_ms - length, now_ms))  # type: ignore[misc]
        trivials.append(median_ms(trivial))
    reads["last 50"] = median_ms(lambda: load_results(engine, check_id, 0, now_ms, limit=50))
    return statistics.median(trivials), reads


def size_of(engine: Engine, name: str) -> int:
    """Bytes of the pages of a table."""
    with reading(engine) as connection:
        return connection.scalar(text(f"SELECT sum(pgsize) FROM dbstat WHERE name = '{name}'")) or 0


def line(what: str, goal: str, measured: str) -> None:
    print(f"| {what} | {goal} | {measured} |")
