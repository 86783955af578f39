"""What does a result cost, and how fast is it read? Prints the store's goals beside what this run measured.

python tests/bench/store_table.py [--fast 600] [--slow 400] [--hours 24]

`fast` checks every 10 s and `slow` ones every 60 s are written in order of arrival, as a worker does; whenever a
simulated hour has been over for two minutes, the real upkeep process packs it. Older rollups, for the charts of 90 days
and a year, are copies of the measured ones. Next to it, the same results in Uptime Kuma's table and in a naive one.
"""

import argparse
import math
import multiprocessing
import random
import resource
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, func, select, text
from store_gauge import cut_log, line, reads_ms, size_of
from store_site import AGES, DAY, HOUR, T0, Site, copy_rollups, open_hour

from probes.result import Result, Status
from probes.store.charts import load_series
from probes.store.database import open_database, reading
from probes.store.events import record_event
from probes.store.integrity import db_check
from probes.store.results import ResultWriter
from probes.store.rows import to_s
from probes.store.schema import upgrade
from probes.store.summary import load_summaries, write_summaries
from probes.store.tables import block, hot, rollup_d, rollup_h
from probes.store.upkeep import Upkeep, keep_up

BATCH = 100
PEERS = 100_000

# The columns and indexes of version 2.5.
KUMA = """
CREATE TABLE heartbeat (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, important BOOLEAN NOT NULL DEFAULT 0,
  monitor_id INTEGER NOT NULL, status SMALLINT NOT NULL, msg TEXT, time DATETIME NOT NULL, ping BIGINT,
  duration INTEGER NOT NULL DEFAULT 0, down_count INTEGER NOT NULL DEFAULT 0, end_time DATETIME,
  retries INTEGER NOT NULL DEFAULT 0, response TEXT);
CREATE INDEX monitor_id ON heartbeat (monitor_id);
CREATE INDEX important ON heartbeat (important);
CREATE INDEX monitor_time_index ON heartbeat (monitor_id, time);
CREATE INDEX monitor_important_time_index ON heartbeat (monitor_id, time) WHERE important = 1;
CREATE INDEX heartbeat_important_index ON heartbeat (important) WHERE important = 1;
"""
NAIVE = """
CREATE TABLE result (id INTEGER PRIMARY KEY AUTOINCREMENT, check_id TEXT NOT NULL, location TEXT NOT NULL,
  time TEXT NOT NULL, status TEXT NOT NULL, reason TEXT, message TEXT, code INTEGER, duration REAL, dns REAL,
  connect REAL, tls REAL, ttfb REAL, transfer REAL, late REAL);
CREATE INDEX result_check_time ON result (check_id, time);
"""


@dataclass
class Measured:
    """What a run measured."""

    results: int = 0
    commits_s: list[float] = field(default_factory=list)
    log_bytes: int = 0
    packing_log_bytes: int = 0
    exact_us: dict[str, list[int]] = field(default_factory=dict)


def write(engine: Engine, url: str, site: Site, hours: int, found: Measured) -> None:
    """Save everything, and let the upkeep process pack each hour."""
    writer, work = ResultWriter(engine), Upkeep(url)
    # Numbers given in another order than results arrive in: a batch then touches every page of the states.
    ids = random.Random(3).sample(range(len(site.checks)), len(site.checks))
    writer.save([Result(site.checks[number][0], "default", T0 - DAY, T0 - DAY, Status.UP) for number in ids])
    with engine.connect() as connection:
        connection.execute(text("PRAGMA wal_autocheckpoint = 0"))
    watched = {site.checks[0][0], site.checks[1][0]}
    found.exact_us = {check_id: [] for check_id in watched}
    stream, upkeep_ms, number = site.results(T0 + hours * HOUR), T0 + HOUR + 130_000, 0
    while batch := list(islice(stream, BATCH)):
        began = time.perf_counter()
        writer.save(batch)
        found.commits_s.append(time.perf_counter() - began)
        found.results += len(batch)
        for one in batch:
            if one.check_id in watched and one.duration_s is not None:
                found.exact_us[one.check_id].append(round(one.duration_s * 1e6))
        number += 1
        if number % 400 == 0:
            found.log_bytes += cut_log(engine)
        if batch[-1].slot_ms >= upkeep_ms:
            found.log_bytes += cut_log(engine)
            work.run(AGES, upkeep_ms)
            found.packing_log_bytes += cut_log(engine)
            upkeep_ms += HOUR
            print(f"  {found.results:>9} results, hour {(upkeep_ms - T0) // HOUR - 1} packed", flush=True)
    found.log_bytes += cut_log(engine)
    work.run(AGES, T0 + hours * HOUR + 130_000)
    cut_log(engine)


def peer(folder: Path, name: str, ddl: str, insert: str, rows: Sequence[tuple[Any, ...]]) -> tuple[float, float]:
    """Bytes and log bytes a result of another layout."""
    file = folder / f"{name}.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL").close()
        connection.execute("PRAGMA wal_autocheckpoint = 0").close()
        connection.executescript(ddl)
        log = 0
        for start in range(0, len(rows), BATCH):
            connection.execute("BEGIN")
            connection.executemany(insert, rows[start : start + BATCH])
            connection.execute("COMMIT")
            if start // BATCH % 400 == 399:
                log += Path(f"{file}-wal").stat().st_size
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        log += Path(f"{file}-wal").stat().st_size
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return file.stat().st_size / len(rows), log / len(rows)


def peers(folder: Path, site: Site) -> dict[str, tuple[float, float]]:
    """The same results in other layouts; they are read from the same stream."""
    some = list(islice(site.results(T0 + 12 * HOUR), PEERS))
    numbers = {check_id: number for number, (check_id, _) in enumerate(site.checks, 1)}

    def stamp(ms: int) -> str:
        return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]

    kuma = [
        (0, numbers[one.check_id], int(one.status is Status.UP), "200 - OK" if one.code == 200 else one.message,
         stamp(one.slot_ms), round((one.duration_s or 0) * 1000), 10, 0, stamp(one.started_ms), 0)
        for one in some
    ]  # fmt: skip
    naive = [
        (one.check_id, one.location, stamp(one.slot_ms), one.status.value, one.reason, one.message, one.code,
         one.duration_s, one.phases.dns_s, one.phases.connect_s, one.phases.tls_s, one.phases.ttfb_s,
         one.phases.transfer_s, one.late_ms / 1000)
        for one in some
    ]  # fmt: skip
    columns = "important, monitor_id, status, msg, time, ping, duration, down_count, end_time, retries"
    return {
        "Uptime Kuma": peer(folder, "kuma", KUMA, f"INSERT INTO heartbeat ({columns}) VALUES (?{', ?' * 9})", kuma),
        "naive": peer(folder, "naive", NAIVE, f"INSERT INTO result VALUES (NULL{', ?' * 14})", naive),
    }


def lateness_ms(work: Callable[[], object]) -> tuple[float, float]:
    """p99 and the greatest lateness of a loop that ticks every 5 ms, while something works."""
    thread = threading.Thread(target=work)
    thread.start()
    late = []
    while thread.is_alive():
        due = time.perf_counter() + 0.005
        time.sleep(0.005)
        late.append(time.perf_counter() - due)
    late.sort()
    return late[len(late) * 99 // 100] * 1000, late[-1] * 1000


def read_busily(url: str, check_id: str, now_ms: int) -> None:
    """A dashboard that never rests."""
    engine = open_database(url)
    while True:
        load_series(engine, check_id, now_ms - DAY, now_ms)
        load_summaries(engine)
        time.sleep(0.05)


def write_incidents(url: str) -> None:
    """An alert engine that writes and syncs ten times a second."""
    engine = open_database(url, durable=True)
    while True:
        record_event(engine, T0, "bench", "an incident's row")
        time.sleep(0.1)


def commit_pairs(engine: Engine, url: str, site: Site, begin_ms: int, rounds: int = 3) -> tuple[float, float]:
    """Median p99 of commits alone, and beside a busy reader and an alert engine, in turns; each with an empty log."""
    writer, context = ResultWriter(engine), multiprocessing.get_context("spawn")
    alone, together = [], []
    for number in range(rounds):
        at_ms = begin_ms + 2 * number * HOUR
        cut_log(engine)
        alone.append(commits_ms(writer, site, at_ms))
        busy = [context.Process(target=read_busily, args=(url, site.checks[1][0], begin_ms), daemon=True),
                context.Process(target=write_incidents, args=(url,), daemon=True)]  # fmt: skip
        for process in busy:
            process.start()
        time.sleep(3)
        cut_log(engine)
        together.append(commits_ms(writer, site, at_ms + HOUR))
        for process in busy:
            process.terminate()
            process.join()
    return statistics.median(alone), statistics.median(together)


def commits_ms(writer: ResultWriter, site: Site, begin_ms: int, count: int = 400) -> float:
    """p99 of commits of new results."""
    spent = []
    for number in range(count):
        slot_ms = begin_ms + number * 1000
        batch = [Result(check_id, "default", slot_ms, slot_ms, Status.UP, duration_s=0.1, code=200)
                 for check_id, _ in site.checks[:BATCH]]  # fmt: skip
        began = time.perf_counter()
        writer.save(batch)
        spent.append(time.perf_counter() - began)
        time.sleep(0.005)
    return sorted(spent)[count * 99 // 100] * 1000


def worst_quantile(engine: Engine, found: Measured, now_ms: int) -> float:
    """The greatest relative error of p50, p95 and p99 over everything measured, of two checks."""
    worst = 0.0
    for check_id, exact in found.exact_us.items():
        exact.sort()
        for from_ms in (T0, T0 - 5 * DAY):  # from single results, and from rollups
            points = load_series(engine, check_id, from_ms, now_ms, points=3 if from_ms == T0 else 10)
            point = next(one for one in points if one.t_ms == T0)
            if point.n != len(exact):
                raise SystemExit(f"{check_id} has {point.n} of {len(exact)} results")
            for q, measured in ((0.5, point.p50_s), (0.95, point.p95_s), (0.99, point.p99_s)):
                wanted = to_s(exact[math.floor(q * (len(exact) - 1))]) or 0.0
                worst = max(worst, abs((measured or 0.0) - wanted) / wanted)
    return worst


def main(fast: int, slow: int, hours: int) -> None:  # noqa: PLR0915 - a report, top to bottom
    site, found = Site(fast, slow), Measured()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = f"sqlite:///{folder / 'bench.db'}"
        upgrade(url)
        engine = open_database(url)
        began = time.perf_counter()
        write(engine, url, site, hours, found)
        wrote_s = time.perf_counter() - began
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        now_ms = T0 + hours * HOUR
        with reading(engine) as connection:
            packed = connection.scalar(select(func.sum(block.c.n))) or 0
            still_hot = connection.scalar(select(func.count()).select_from(hot)) or 0
            blocks = connection.scalar(select(func.count()).select_from(block)) or 0
        block_bytes, hour_bytes = size_of(engine, "block"), size_of(engine, "rollup_h")
        with reading(engine) as connection:
            hour_rows = connection.scalar(select(func.count()).select_from(rollup_h)) or 1
            day_rows = connection.scalar(select(func.count()).select_from(rollup_d)) or 1
        day_bytes = size_of(engine, "rollup_d") / day_rows
        a_result, an_hour = block_bytes / packed, hour_bytes / hour_rows
        fortnight = 14 * 8640 * 1000
        all_bytes = fortnight * a_result + 90 * 24 * 1000 * an_hour + 730 * 1000 * day_bytes + 360_000 * 75
        others = peers(folder, site)
        kuma_bytes, kuma_log = others["Uptime Kuma"]
        naive_bytes, naive_log = others["naive"]

        copy_rollups(engine, (now_ms - DAY) // DAY * DAY)
        write_summaries(engine, now_ms)
        check_id = site.checks[1][0]
        writer = ResultWriter(engine)
        for batch in open_hour(site, fast, now_ms):
            writer.save(batch)
        trivial_ms, reads = reads_ms(engine, check_id, now_ms + HOUR // 2)
        worst = worst_quantile(engine, found, now_ms)
        problems = db_check(engine)

        alone, together = commit_pairs(engine, url, site, now_ms + HOUR // 2)
        late_idle = lateness_ms(lambda: time.sleep(3))
        writer.save([Result(check, "default", now_ms + at, now_ms + at, Status.UP, duration_s=0.1)
                     for check, _ in site.checks for at in range(400_000, HOUR, 40_000)])  # fmt: skip
        late_child = lateness_ms(lambda: Upkeep(url).run(AGES, now_ms + HOUR + 130_000))
        writer.save([Result(check, "default", now_ms + HOUR + at, now_ms + HOUR + at, Status.UP, duration_s=0.1)
                     for check, _ in site.checks for at in range(0, HOUR, 40_000)])  # fmt: skip
        late_thread = lateness_ms(lambda: keep_up(engine, AGES, now_ms + 2 * HOUR + 130_000))
        engine.dispose()

    commits = sorted(found.commits_s)
    print(f"\n{found.results} results of {fast} checks at 10 s and {slow} at 60 s over {hours} h: {wrote_s:.0f} s, "
          f"{found.results / sum(commits):.0f} rows/s in commits of {BATCH}, "
          f"p99 {commits[len(commits) * 99 // 100] * 1000:.1f} ms; "
          f"{packed} packed in {blocks} blocks, {still_hot} hot; db check: {problems or 'clean'}\n")  # fmt: skip
    line("figure", "goal", "measured")
    line("---", "---", "---")
    line("bytes a packed result, pages and all", "≤ 12", f"{a_result:.1f}")
    line(
        "of Uptime Kuma's row, the naive row",
        "",
        f"{kuma_bytes:.0f} and {naive_bytes:.0f}: {kuma_bytes / a_result:.1f} × and {naive_bytes / a_result:.1f} ×",
    )
    line("log bytes a result in 100-row commits, state included", "≤ 700", f"{found.log_bytes / found.results:.0f}")
    line(
        f"of Uptime Kuma's row, the naive row ({PEERS} rows; grows with the table)",
        "",
        f"{kuma_log:.0f} and {naive_log:.0f}",
    )
    line("log bytes a result of packing, rollups and deleting", "", f"{found.packing_log_bytes / found.results:.0f}")
    line("trivial SELECT of 1,000 rows, SQLAlchemy and pandas", "", f"{trivial_ms:.1f} ms")
    for label, goal in (("overview", 5), ("24 h", 5), ("7 d", 25), ("90 d", 25), ("1 y", 10)):
        what = f"overview of {fast + slow} checks over 90 days" if label == "overview" else f"one check, {label}"
        line(what, f"≤ {goal} ×", f"{reads[label] / trivial_ms:.1f} × ({reads[label]:.1f} ms)")
    line("last 50 results of a check", "", f"{reads['last 50']:.1f} ms")
    line("percentiles over all hours, worst error", "≤ 1 %", f"{worst * 100:.2f} %")
    line(
        "commit p99 with a busy reader and the alert engine",
        "≤ 2 ×",
        f"{together / alone:.1f} × ({alone:.1f} → {together:.1f} ms)",
    )
    line(
        "1,000 checks at 10 s: 14 d, 90 d hourly, 2 y daily (from these sizes)", "≤ 2.2 GB", f"{all_bytes / 1e9:.2f} GB"
    )
    line("the 14 days in Uptime Kuma's table", "", f"{fortnight * kuma_bytes / 1e9:.1f} GB")
    line("CPU of the upkeep process an hour of results", "", f"{(children.ru_utime + children.ru_stime) / hours:.1f} s")
    line("lateness of a 5 ms loop: p99 and worst, idle", "", "{:.1f} and {:.1f} ms".format(*late_idle))
    line("… while the upkeep process packs", "", "{:.1f} and {:.1f} ms".format(*late_child))
    line("… had it been a thread", "", "{:.1f} and {:.1f} ms".format(*late_thread))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fast", type=int, default=600)
    parser.add_argument("--slow", type=int, default=400)
    parser.add_argument("--hours", type=int, default=24)
    given = parser.parse_args()
    main(given.fast, given.slow, given.hours)
