"""How big is a year of a thousand checks, and how fast is it read? Prints sizes and times.

python tests/bench/store_year.py [--file year.db] [--checks 1000] [--dense-days 8]
python tests/bench/store_year.py --measure year.db

A year at 60 s is 525 million results, hours of writing. What retention deletes anyway is written thinner: every check,
through the real writer, packed, rolled up and pruned by the real upkeep with a simulated clock, but `OLD` of a day's
hours have `OLD_N` results until 90 days before the end, each hour `MIDDLE_N` until the last `--dense-days`, which
have 60. Sizes of full days follow from the rows of the dense ones, and are printed beside what was written.
Reads are in CPU time, for wall time says what else the machine does.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import psutil
from sqlalchemy import Engine, delete, func, select, text
from store_gauge import cut_log, line, median_ms, read_trivially, size_of
from store_site import AGES, DAY, HOUR, Site, copy_rollups

from probes.result import Result
from probes.store.charts import load_series
from probes.store.database import open_database, reading, writing
from probes.store.due import day_of
from probes.store.keys import SERIES_BITS
from probes.store.results import ResultWriter, load_results
from probes.store.schema import check_schema, upgrade
from probes.store.summary import load_summaries
from probes.store.tables import block, hot, rollup_d, rollup_h, series
from probes.store.upkeep import Upkeep, keep_up
from probes.store.uptime import load_uptime

END = int(datetime(2026, 11, 20, 12, 40, tzinfo=UTC).timestamp() * 1000)
BATCH = 1000
OLD, OLD_N = (0, 6, 12, 18), 6
MIDDLE_N = 3
DENSE_N = 60


def density(hour_ms: int, dense_days: int) -> int:
    """Results of a check in an hour."""
    if hour_ms >= END - dense_days * DAY:
        return DENSE_N
    if hour_ms >= END - 91 * DAY:
        return MIDDLE_N
    return OLD_N if hour_ms % DAY // HOUR in OLD else 0


def upkeep_every(over_ms: int, n: int) -> int:
    """Time from one upkeep to the next: hourly at the end, as a worker does; before that rarer, which saves time."""
    if END - over_ms < DAY:
        return HOUR
    return DAY if n == DENSE_N or END - over_ms < 15 * DAY else 4 * DAY


def of_hour(site: Site, order: list[tuple[int, int]], hour_ms: int, n: int) -> Iterator[Result]:
    """Results of an hour in order of arrival."""
    for at_ms in range(hour_ms, hour_ms + HOUR, HOUR // n):
        for offset_ms, number in order:
            if at_ms + offset_ms < END:
                yield site.answer(number, at_ms + offset_ms)


def generate(file: Path, checks: int, dense_days: int) -> None:
    """Write the file."""
    url = f"sqlite:///{file}"
    upgrade(url)
    engine, site = open_database(url), Site(0, checks)
    order = sorted((site.offset_ms(number), number) for number in range(checks))
    writer, work = ResultWriter(engine), Upkeep(url)
    began, results = time.monotonic(), 0
    upkeep_s = 0.0
    for hour_ms in range((END - 365 * DAY) // DAY * DAY, END, HOUR):
        n = density(hour_ms, dense_days)
        stream = of_hour(site, order, hour_ms, n) if n else iter(())
        while batch := list(islice(stream, BATCH)):
            results += writer.save(batch)
        over_ms = hour_ms + HOUR
        if over_ms > END or over_ms % upkeep_every(over_ms, n):
            continue
        a = time.monotonic()
        if END - over_ms < DAY:
            work.run(AGES, over_ms + 130_000)
        else:
            keep_up(engine, AGES, over_ms + 130_000)
        cut_log(engine)
        upkeep_s += time.monotonic() - a
        if over_ms % DAY == 0 or END - over_ms < DAY:
            spent = time.monotonic() - began
            size = f"{file.stat().st_size / 1e6:.0f} MB, {spent:.0f} s ({upkeep_s:.0f} s upkeep)"
            print(f"  {(END - over_ms) / DAY:5.1f} days to go: {results:>9} results, {size}", flush=True)
    work.run(AGES, END)
    cut_log(engine)
    engine.dispose()


def sizes(engine: Engine, file: Path, checks: int) -> None:
    """What lies in the file, and what full days would take."""
    with reading(engine) as connection:
        rows = {table.name: connection.scalar(select(func.count()).select_from(table)) or 0
                for table in (block, hot, rollup_h, rollup_d)}  # fmt: skip
        packed, full = (connection.execute(text(
            f"SELECT sum(n), sum(length(data)), count(*) FROM block {where}")).one()
            for where in ("", f"WHERE n = {DENSE_N}"))  # fmt: skip
        rest = "length(sketch) + coalesce(length(metrics), 0) + coalesce(length(codes), 0)"
        whole, thin = ({name: connection.scalar(text(f"SELECT avg({rest}) FROM {name} WHERE n {test}")) or 0.0
                        for name, test in (("rollup_h", hour), ("rollup_d", day))}
                       for hour, day in ((f"= {DENSE_N}", f"= {24 * DENSE_N}"), (">= 0", ">= 0")))  # fmt: skip
        free = connection.scalar(text("PRAGMA freelist_count")) or 0
    bytes_of = {name: size_of(engine, name) for name in rows}
    extra = (bytes_of["block"] - packed[1]) / rows["block"]
    a_result = (full[1] + extra * full[2]) / full[0]
    each = {name: bytes_of[name] / rows[name] for name in rows}
    full_row = {name: each[name] + whole[name] - thin[name] for name in whole}
    others = file.stat().st_size - sum(bytes_of.values()) - free * 8192
    line("the file", "", f"{file.stat().st_size / 1e6:.0f} MB, of it {free * 8192 / 1e6:.0f} MB free")
    for name, count in rows.items():
        line(f"{name}", "", f"{bytes_of[name] / 1e6:.1f} MB, {count} rows, {each[name]:.0f} bytes a row")
    line("summaries, states, names, indexes", "", f"{others / 1e6:.1f} MB")
    line(
        "bytes a packed result, hours of 60 (all hours)",
        "≤ 12",
        f"{a_result:.1f} ({bytes_of['block'] / packed[0]:.1f})",
    )
    line("bytes an hourly rollup of 60 results", "", f"{full_row['rollup_h']:.0f}")
    line("bytes a daily rollup of 1,440 results", "", f"{full_row['rollup_d']:.0f}")
    total = checks * (14 * 24 * DENSE_N * a_result + 90 * 24 * full_row["rollup_h"] + 365 * full_row["rollup_d"])
    total += others + checks * 3 * DENSE_N * each["hot"]
    line("a year with every check at 60 s all year (from these rows)", "", f"{total / 1e6:.0f} MB")


def reads(engine: Engine, label: str = "") -> None:
    """Times of what pages ask, each turn beside the trivial SELECT."""
    with reading(engine) as connection:
        now_ms = ((connection.scalar(select(func.max(hot.c.id))) or 0) >> SERIES_BITS) + 1
        ids = list(connection.scalars(select(series.c.check_id).order_by(series.c.id)))
    check_id = ids[1]
    calls: dict[str, Callable[[], object]] = {}
    if not label:
        calls[f"overview of {len(ids)} checks over 90 days"] = lambda: load_summaries(engine)
    for name, days in (("24 h", 1), ("7 d", 7), ("30 d", 30), ("90 d", 90), ("1 y", 365)):
        if days >= 90 or not label:
            calls[f"one check, {name}{label}"] = lambda days=days: load_series(  # type: ignore[misc]
                engine, check_id, now_ms - days * DAY, now_ms
            )
    if not label:
        calls["last 50 results"] = lambda: load_results(engine, check_id, 0, now_ms, limit=50)
        calls["50 results of a day a week ago"] = lambda: load_results(
            engine, check_id, now_ms - 8 * DAY, now_ms - 7 * DAY, limit=50
        )
        calls["uptime of one check over 30 d"] = lambda: load_uptime(engine, check_id, now_ms - 30 * DAY, now_ms)
        calls["uptime of one check over 90 d"] = lambda: load_uptime(engine, check_id, now_ms - 90 * DAY, now_ms)
        calls["is the schema this version's?"] = lambda: check_schema(engine)
    for name, call in calls.items():
        call_ms, times = turn(engine, call)
        line(name, GOALS.get(name.removesuffix(label), ""), f"{times:.1f} × ({call_ms:.1f} ms)")


GOALS = {
    "one check, 24 h": "≤ 5 ×",
    "one check, 7 d": "≤ 25 ×",
    "one check, 90 d": "≤ 25 ×",
    "one check, 1 y": "≤ 10 ×",
    "overview of 1000 checks over 90 days": "≤ 5 ×",
}


def turn(engine: Engine, call: Callable[[], object]) -> tuple[float, float]:
    """Median CPU milliseconds of a call, and its multiple of the trivial SELECT in the same turns."""
    pairs = []
    for _ in range(7):
        with reading(engine) as connection:
            trivial_ms = median_ms(lambda: read_trivially(connection), 5, time.process_time)
        pairs.append((median_ms(call, 1, time.process_time), trivial_ms))
    return statistics.median(one for one, _ in pairs), statistics.median(one / other for one, other in pairs)


def commands(file: Path, checks: int) -> None:
    """Wall and CPU time of commands, on a copy where they write."""
    with tempfile.TemporaryDirectory(dir=file.parent) as name:
        folder = Path(name)
        given, copied = configure(folder, "given", file, checks), folder / "copy.db"
        clock(
            "backwatch report sla, one month, JSON",
            "report",
            "sla",
            "--month",
            "2026-10",
            "--format",
            "json",
            "-c",
            given,
        )
        clock("backwatch status", "status", "-c", given)
        clock("backwatch db check", "db", "check", "-c", given)
        clock("backwatch db backup", "db", "backup", str(copied), "-c", given)
        other = configure(folder, "other", copied, checks)
        clock("backwatch db vacuum", "db", "vacuum", "-c", other)
        clock("backwatch db vacuum --full", "db", "vacuum", "--full", "-c", other)
        engine = open_database(f"sqlite:///{copied}")
        make_dense(engine)
        reads(engine, ", every day as dense as the last")
        engine.dispose()
        took_s, cpu_s = first_result_s(copied, other)
        line("backwatch worker: start to first stored result", "", f"{took_s:.1f} s ({cpu_s:.1f} s CPU)")


def make_dense(engine: Engine) -> None:
    """Put the last full day in the place of every day before: in days of all checks, in hours of ten."""
    few = select(series.c.id).where(series.c.check_id.like("shop/target-_/http"))
    with reading(engine) as connection:
        day_ms = day_of(connection.scalar(select(func.max(rollup_d.c.bucket_ms))) or 0)
    with writing(engine) as connection:
        connection.execute(delete(rollup_d).where(rollup_d.c.bucket_ms < day_ms))
        connection.execute(delete(rollup_h).where(rollup_h.c.bucket_ms < day_ms, rollup_h.c.series_id.in_(few)))
    copy_rollups(engine, day_ms)


def configure(folder: Path, name: str, database: Path, checks: int) -> str:
    """A configuration of these checks, whose targets refuse."""
    targets = "".join(
        f"      target-{number}: {{tier: web, checks: [{{kind: http, url: 'http://127.0.0.1:9/'}}]}}\n"
        for number in range(checks)
    )
    path = folder / f"{name}.yaml"
    head = f"database: sqlite:///{database.absolute()}\ndefaults: {{interval: 60s, timeout: 5s}}\n"
    path.write_text(f"{head}sites:\n  shop:\n    targets:\n{targets}")
    return str(path)


def clock(what: str, *words: str) -> None:
    """Run a command of ours and print its time."""
    began, before = time.monotonic(), os.times()
    done = subprocess.run([*BACKWATCH, *words], capture_output=True, text=True, check=False)
    after = os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    said = "" if done.returncode == 0 else f", exit {done.returncode}: {(done.stderr or done.stdout).strip()[-200:]}"
    line(what, "", f"{time.monotonic() - began:.1f} s ({cpu_s:.1f} s CPU){said}")


BACKWATCH = (sys.executable, "-P", "-m", "dashboard.cli")


def first_result_s(file: Path, config: str) -> tuple[float, float]:
    """Seconds, and CPU seconds of its process, from the start of a worker until a result of it is stored."""
    engine = open_database(f"sqlite:///{file}")
    newest = select(func.max(hot.c.id))
    with reading(engine) as connection:
        before = connection.scalar(newest)
    began = time.monotonic()
    with subprocess.Popen([*BACKWATCH, "worker", "-c", config], stderr=subprocess.DEVNULL) as worker:
        try:
            while time.monotonic() - began < 120:
                with reading(engine) as connection:
                    if connection.scalar(newest) != before:
                        break
                time.sleep(0.02)
            took_s, used = time.monotonic() - began, psutil.Process(worker.pid).cpu_times()
        finally:
            worker.terminate()
    engine.dispose()
    return took_s, used.user + used.system + used.children_user + used.children_system


def measure(file: Path) -> None:
    """Print everything of a file that is there."""
    engine = open_database(f"sqlite:///{file}")
    with reading(engine) as connection:
        checks = connection.scalar(select(func.count()).select_from(series)) or 0
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    line("figure", "goal", "measured")
    line("---", "---", "---")
    sizes(engine, file, checks)
    reads(engine)
    commands(file, checks)
    engine.dispose()
    print(f"\nload {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file", type=Path, default=Path("year.db"))
    parser.add_argument("--checks", type=int, default=1000)
    parser.add_argument("--dense-days", type=int, default=8)
    parser.add_argument("--measure", type=Path, metavar="FILE", help="only measure a file made before")
    given = parser.parse_args()
    if given.measure is None:
        generate(given.file, given.checks, given.dense_days)
    measure(given.measure or given.file)
