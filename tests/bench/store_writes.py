"""How fast are results kept, and how much log does each make? `python tests/bench/store_writes.py [checks] [hours]`.

Writes batches of 100 results in order of arrival, as a worker does with checks at 10 s, state upsert included, each a
transaction of its own; then rolls up, writes summaries, and times what the dashboard and the alert engine read.
"""

import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import text

from probes.result import Phases, Reason, Result, Status
from probes.store.charts import load_series
from probes.store.database import open_database
from probes.store.maintenance import checkpoint, wal_bytes
from probes.store.results import ResultWriter, load_fresh_results, load_results
from probes.store.rollups import roll_up
from probes.store.schema import upgrade
from probes.store.states import load_standings
from probes.store.summary import load_summaries, write_summaries

T0 = 1_760_000_400_000
INTERVAL_MS = 10_000
BATCH = 100


def make_batches(checks: int, hours: float) -> list[list[Result]]:
    rnd = random.Random(1)
    places = rnd.sample(range(checks), checks)  # a check's place in the interval is a hash, not its number
    results = []
    for round_ms in range(T0, T0 + int(hours * 3_600_000), INTERVAL_MS):
        for number in range(checks):
            slot_ms = round_ms + INTERVAL_MS * places[number] // checks
            down = rnd.random() < 0.01
            results.append(
                Result(
                    f"shop/target-{number}/http",
                    "default",
                    slot_ms,
                    slot_ms + rnd.randrange(20),
                    Status.DOWN if down else Status.UP,
                    Reason.HTTP_STATUS if down else None,
                    "answered 503" if down else "",
                    rnd.lognormvariate(-3, 0.4),
                    503 if down else 200,
                    Phases(0.001, 0.002, 0.01, rnd.lognormvariate(-3.2, 0.4), 0.002),
                )
            )
    results.sort(key=lambda result: result.slot_ms)
    return [results[start : start + BATCH] for start in range(0, len(results), BATCH)]


def timed(name: str, call: Callable[[], object]) -> None:
    call()
    spent = []
    for _ in range(5):
        began = time.perf_counter()
        call()
        spent.append(time.perf_counter() - began)
    print(f"{name:<48}{sorted(spent)[2] * 1000:>10.1f} ms")


def main(checks: int, hours: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'bench.db'}"
        upgrade(url)
        engine = open_database(url)
        batches = make_batches(checks, hours)
        n = sum(len(batch) for batch in batches)
        print(f"{n} results of {checks} checks in batches of {BATCH}")

        writer = ResultWriter(engine)
        # Numbers given in another order than results arrive in: a batch then touches every page of the states.
        writer.save([Result(f"shop/target-{number}/http", "default", 1, 1, Status.UP) for number in range(checks)])
        with engine.connect() as connection:
            connection.execute(text("PRAGMA wal_autocheckpoint = 0"))
        log_bytes, spent = 0, []
        for number, batch in enumerate(batches):
            began = time.perf_counter()
            writer.save(batch)
            spent.append(time.perf_counter() - began)
            if number % 200 == 199:
                log_bytes += wal_bytes(engine)
                with engine.connect() as connection:
                    connection.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # type: ignore[attr-defined]
        log_bytes += wal_bytes(engine)
        spent.sort()
        print(f"{'rows/s':<48}{n / sum(spent):>10.0f}")
        print(f"{'WAL bytes a result':<48}{log_bytes / n:>10.0f}")
        print(f"{'commit p50':<48}{spent[len(spent) // 2] * 1000:>10.1f} ms")
        print(f"{'commit p99':<48}{spent[len(spent) * 99 // 100] * 1000:>10.1f} ms")

        now_ms = T0 + int(hours * 3_600_000)
        began = time.perf_counter()
        rolled = roll_up(engine, now_ms)
        print(f"{f'roll_up of {rolled} hours':<48}{(time.perf_counter() - began) * 1000:>10.1f} ms")
        began = time.perf_counter()
        write_summaries(engine, now_ms)
        print(f"{'write_summaries':<48}{(time.perf_counter() - began) * 1000:>10.1f} ms")
        checkpoint(engine)
        print(f"{'bytes a result in the file':<48}{(Path(folder) / 'bench.db').stat().st_size / n:>10.1f}")

        standings = load_standings(engine)
        seen = {(one.check_id, one.location): one.slot_ms for one in standings}
        one_round = {key: slot_ms - INTERVAL_MS for key, slot_ms in seen.items()}
        timed("load_standings", lambda: load_standings(engine))
        timed("load_summaries", lambda: load_summaries(engine))
        timed("load_fresh_results, nothing new", lambda: load_fresh_results(engine, seen))
        timed("load_fresh_results, one of each check", lambda: load_fresh_results(engine, one_round))
        check_id = "shop/target-7/http"
        timed("load_results, last 50", lambda: load_results(engine, check_id, 0, now_ms, limit=50))
        timed("load_series, last hour", lambda: load_series(engine, check_id, now_ms - 3_600_000, now_ms))
        timed("load_series, last 24 h", lambda: load_series(engine, check_id, now_ms - 86_400_000, now_ms))
        timed("load_series, last 7 d", lambda: load_series(engine, check_id, now_ms - 7 * 86_400_000, now_ms))
        engine.dispose()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000, float(sys.argv[2]) if len(sys.argv) > 2 else 0.5)
