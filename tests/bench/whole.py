"""What does all of Backwatch cost with 1,000 checks? `backwatch up` for two minutes: worker, alerts and dashboard.

python tests/bench/whole.py [--checks 1000] [--seconds 120]
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import psutil
from worker_http import cpu_s, figures, free_port, running, wait_for_port, web_server, write_config

from probes.store.database import open_database

ROLES = ("worker", "alerts", "dashboard")


def role_of(process: psutil.Process) -> str:
    return next((role for role in ROLES if role in process.cmdline()), "supervisor")


def main() -> None:
    """Print a row a process, and what the worker says of its own punctuality."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checks", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=120)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="backwatch-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with web_server(folder) as target:
            config = write_config(folder, target, options.checks, "10s")
            port = free_port()
            command = (sys.executable, "-m", "dashboard.cli", "up", "-c", str(config), "--port", str(port))
            with running(*command) as supervisor:
                wait_for_port(port, 30)
                time.sleep(15)  # start-up is not what is measured
                report(folder, supervisor, options.seconds)


def report(folder: Path, supervisor: psutil.Process, seconds: float) -> None:
    processes = [supervisor, *supervisor.children(recursive=True)]
    database = open_database(f"sqlite:///{folder / 'backwatch-data' / 'backwatch.db'}")
    before, began = figures(database), time.monotonic()
    spent = {process.pid: cpu_s(process) for process in processes}
    time.sleep(seconds)
    took, after = time.monotonic() - began, figures(database)
    database.dispose()
    results = (after["results"] - before["results"]) / max(1e-3, after["seen_s"] - before["seen_s"]) * took
    total = 0.0
    print(f"{'process':12} {'RSS MiB':>8} {'CPU %':>7} {'CPU s per 1,000 checks':>24}")
    for process in processes:
        rss = process.memory_info().rss / 2**20
        cpu = cpu_s(process) - spent[process.pid]
        total += rss
        print(f"{role_of(process):12} {rss:8.1f} {cpu / took * 100:7.1f} {cpu / results * 1000:24.2f}")
    print(f"{'together':12} {total:8.1f}")
    print(f"start lateness p50 {after['lateness_p50_s'] * 1000:.1f} ms, p99 {after['lateness_p99_s'] * 1000:.1f} ms")
    print(f"results stored {after['results']:.0f}, missed {after['missed']:.0f}")


if __name__ == "__main__":
    main()
