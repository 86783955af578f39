"""What do hostile targets cost the others? The engine alone, and the whole worker with results stored. Loopback only.

python tests/bench/overload.py              all three, two minutes
python tests/bench/overload.py engine       4,000 conversations with targets that accept and hang, engine alone
python tests/bench/overload.py hang         the worker: 4,000 targets hanging at any time, beside 50 healthy checks
python tests/bench/overload.py fail         the worker: 10,000 targets failing from the start, half of them refused

Goals (engine.md): timeouts within 20 ms, 80 MiB of resident memory for the engine with 4,000 hanging.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from loopback import Targets, serving
from sqlalchemy import text
from worker_http import WORKER, running

from probes.descriptors import raise_limit
from probes.store.database import open_database, reading
from probes.store.processes import load_processes

HANGING, FAILING, HEALTHY = 4000, 10_000, 50
ENGINE_TIMEOUT_S = 3.0
TIMEOUT_S = 10.0
CALM_S = 0.1
"""The loop is calm again in the first second after which no run starts later than this."""


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


def tell(name: str, reached: float, unit: str, goal: float | None = None) -> None:
    verdict = "" if goal is None else f"   goal {goal:g} {unit}: {'reached' if reached <= goal else 'MISSED'}"
    print(f"{name:44} {reached:10,.1f} {unit}{verdict}", flush=True)


def bench_engine(targets: Targets) -> None:
    script = Path(__file__).with_name("hanging.py")
    command = [sys.executable, str(script), str(HANGING), str(ENGINE_TIMEOUT_S), targets.healthy, *targets.hanging]
    said = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=120).stdout)
    print(f"Engine alone, {HANGING:,} conversations that hang for {ENGINE_TIMEOUT_S:g} s")
    tell("  most in flight", said["in_flight"], "")
    tell("  timeout overshoot p50", said["p50"] * 1000, "ms")
    tell("  timeout overshoot p99", said["p99"] * 1000, "ms", 20)
    tell("  timeout overshoot max", said["max"] * 1000, "ms")
    tell("  duration of healthy ones p99", said["healthy_p99"] * 1000, "ms")
    tell("  resident memory before", said["rss_before"] / 2**20, "MiB")
    tell("  resident memory, peak", said["rss"] / 2**20, "MiB", 80)
    tell("  CPU a conversation", said["cpu"] / (HANGING + 200) * 1e6, "µs")


def write_config(folder: Path, urls: Sequence[tuple[str, str]], healthy: str, **defaults: str) -> Path:
    """Checks `bad/…` of the urls (name, url), and `good/…` that are healthy, each second."""
    bad = {
        f"t{first // 10}": {
            "tier": "web",
            "checks": [{"kind": "http", "name": name, "url": url} for name, url in urls[first : first + 10]],
        }
        for first in range(0, len(urls), 10)
    }
    checks = [
        {"kind": "http", "name": f"c{n}", "url": f"http://{healthy}/", "interval": "1s", "timeout": "1s"}
        for n in range(HEALTHY)
    ]
    document = {
        "defaults": defaults,
        "sites": {"bad": {"targets": bad}, "good": {"targets": {"t": {"tier": "web", "checks": checks}}}},
    }
    config = folder / "backwatch.yaml"
    config.write_text(json.dumps(document))
    return config


Run = tuple[float, float, float | None, str | None]  # slot, lateness, duration in seconds; reason


def run_worker(folder: Path, config: Path, seconds: float) -> tuple[dict[str, list[Run]], float, dict[str, float]]:
    """Runs by site, the most resident memory in MiB, and the worker's figures."""
    most = 0.0
    with running(sys.executable, "-c", WORKER, str(config)) as worker:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(0.5)
            most = max(most, worker.memory_info().rss / 2**20)
    database = open_database(f"sqlite:///{folder / 'backwatch-data' / 'backwatch.db'}")
    with reading(database) as connection:
        rows = connection.execute(
            text(
                "SELECT s.check_id, h.slot_ms, h.late_ms, h.total_us, e.reason FROM hot h "
                "JOIN series s ON s.id = h.series_id LEFT JOIN error e ON e.id = h.error_id ORDER BY h.id"
            )
        ).fetchall()
    figures = next(dict(one.figures) for one in load_processes(database) if one.role == "worker")
    database.dispose()
    runs: dict[str, list[Run]] = {"good": [], "bad": []}
    for check_id, slot_ms, late_ms, total_us, reason in rows:
        duration_s = total_us / 1e6 if total_us is not None else None
        runs[check_id.split("/")[0]].append((slot_ms / 1000, late_ms / 1000, duration_s, reason))
    return runs, most, figures


def bench_hang(targets: Targets, folder: Path) -> None:
    """Timeout and interval are equal, so that all of them hang at any time."""
    urls = [(f"c{n}", f"http://{targets.hanging[n % len(targets.hanging)]}/") for n in range(HANGING)]
    config = write_config(folder, urls, targets.healthy, interval="10s", timeout="10s")
    runs, most, figures = run_worker(folder, config, 45)
    began = min(run[0] for run in runs["good"])
    late = [run[1] for run in runs["good"] if run[0] > began + 5]
    overshoots = [run[2] - TIMEOUT_S for run in runs["bad"] if run[3] == "deadline" and run[2] is not None]
    print(f"Whole worker, {HANGING:,} targets that hang for {TIMEOUT_S:g} s, {HEALTHY} healthy ones each second")
    tell("  timeouts seen", len(overshoots), "")
    tell("  timeout overshoot p99", percentile(overshoots, 0.99) * 1000, "ms", 20)
    tell("  timeout overshoot max", max(overshoots, default=float("nan")) * 1000, "ms")
    tell_healthy(late, runs["good"])
    tell("  resident memory, most", most, "MiB")
    tell("  missed", figures["missed"], "")


def tell_healthy(late: Sequence[float], runs: Sequence[Run]) -> None:
    tell("  lateness of healthy checks p50", percentile(late, 0.5) * 1000, "ms")
    tell("  lateness of healthy checks p99", percentile(late, 0.99) * 1000, "ms")
    tell("  healthy checks with another answer than up", sum(run[3] not in (None, "late") for run in runs), "", 0)


def bench_fail(targets: Targets, folder: Path) -> None:
    """All are asked again at the retry interval until they count as down: 10,000 checks become 2,000 a second."""
    places = [targets.refusing if n % 2 else targets.hanging[n // 2 % len(targets.hanging)] for n in range(FAILING)]
    urls = [(f"c{n}", f"http://{place}/") for n, place in enumerate(places)]
    config = write_config(folder, urls, targets.healthy, interval="30s", timeout="2s")
    runs, most, figures = run_worker(folder, config, 75)
    began = min(run[0] for run in runs["bad"])
    ended = max(run[0] for run in runs["good"])
    late_starts = [run[0] for site in runs.values() for run in site if run[1] > CALM_S]
    confirmed: dict[float, int] = {}
    for slot, *_ in runs["bad"]:
        confirmed[slot // 1] = confirmed.get(slot // 1, 0) + 1
    print(f"Whole worker, {FAILING:,} targets failing from the start, {HEALTHY} healthy ones each second")
    tell("  runs of failing targets", len(runs["bad"]), "")
    tell("  most of them in a second", max(confirmed.values()), "")
    tell("  not asked, too late", sum(run[3] == "late" for site in runs.values() for run in site), "")
    tell_healthy([run[1] for run in runs["good"]], runs["good"])
    overshoots = [run[2] - 2.0 for run in runs["bad"] if run[3] == "deadline" and run[2] is not None]
    tell("  timeout overshoot p99", percentile(overshoots, 0.99) * 1000, "ms", 20)
    calm = max(late_starts, default=began) - began
    tell("  calm again after", calm, f"s (of {ended - began:.0f} s)")
    tell("  resident memory, most", most, "MiB")
    tell("  store errors", figures["store_errors"], "", 0)


def main() -> None:
    """Print goal and reached."""
    wanted = sys.argv[1:] or ["engine", "hang", "fail"]
    memory_gib = psutil.virtual_memory().total / 2**30
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}, {memory_gib:.0f} GiB")
    raise_limit()
    for name in wanted:
        with tempfile.TemporaryDirectory(prefix="backwatch-bench-") as folder, serving() as targets:
            if name == "engine":
                bench_engine(targets)
            else:
                {"hang": bench_hang, "fail": bench_fail}[name](targets, Path(folder))


if __name__ == "__main__":
    main()
