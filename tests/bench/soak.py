"""Does a worker stay as it is? Descriptors, threads and memory of the real worker over half an hour, and their slope.

python tests/bench/soak.py --minutes 30 --rate 500

Seven in ten checks answer, one in ten is refused, one hangs until its deadline, one opens a TCP connection in the
thread pool: the paths on which descriptors and threads are lost, if they are. Results are stored in SQLite. Lateness is
printed beside, and is not what this measures.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import psutil
from loopback import Targets, serving
from worker_http import WORKER, running

from probes.store.database import open_database
from probes.store.processes import load_processes

INTERVAL_S = 10
SAMPLE_S = 10.0
WARM_UP_S = 120.0
"""Caches fill and allocators settle: the slope is that of the rest."""
Sample = tuple[float, int, int, int]  # seconds, descriptors, threads, resident bytes


def write_config(folder: Path, targets: Targets, checks: int) -> Path:
    """Checks in targets of ten, their kinds mixed."""
    named = {f"t{first // 10}": _target(targets, first, checks) for first in range(0, checks, 10)}
    document = {
        "defaults": {"interval": f"{INTERVAL_S}s", "timeout": "2s"},
        "sites": {"soak": {"targets": named}},
    }
    config = folder / "backwatch.yaml"
    config.write_text(json.dumps(document))
    return config


def _target(targets: Targets, first: int, checks: int) -> dict[str, object]:
    return {"tier": "web", "checks": [_check(targets, n) for n in range(first, min(first + 10, checks))]}


def _check(targets: Targets, n: int) -> dict[str, object]:
    if n % 10 == 7:
        return {"kind": "http", "name": f"c{n}", "url": f"http://{targets.refusing}/"}
    if n % 10 == 8:
        return {"kind": "http", "name": f"c{n}", "url": f"http://{targets.hanging[n // 10 % len(targets.hanging)]}/"}
    if n % 10 == 9:
        return {"kind": "tcp", "name": f"c{n}", "url": f"tcp://{targets.healthy}"}
    return {"kind": "http", "name": f"c{n}", "url": f"http://{targets.healthy}/{n}", "expect": {"status": 200}}


def watch(worker: psutil.Process, minutes: float) -> list[Sample]:
    """A sample each ten seconds."""
    samples: list[Sample] = []
    began = time.monotonic()
    while (at_s := time.monotonic() - began) < minutes * 60:
        with worker.oneshot():
            samples.append((at_s, worker.num_fds(), worker.num_threads(), worker.memory_info().rss))
        if len(samples) % 6 == 1:
            _, fds, threads, rss = samples[-1]
            print(f"{at_s:6.0f} s  {fds:6d} fds  {threads:4d} threads  {rss / 2**20:7.1f} MiB", flush=True)
        time.sleep(SAMPLE_S)
    return samples


def slope_per_hour(samples: list[Sample], column: int) -> float:
    """Least squares over what came after the warm-up."""
    settled = [one for one in samples if one[0] - samples[0][0] >= min(WARM_UP_S, (samples[-1][0] - samples[0][0]) / 3)]
    mean_x = sum(one[0] for one in settled) / len(settled)
    mean_y = sum(one[column] for one in settled) / len(settled)
    spread = sum((one[0] - mean_x) ** 2 for one in settled)
    return sum((one[0] - mean_x) * (one[column] - mean_y) for one in settled) / spread * 3600 if spread else 0.0


def tell(samples: list[Sample], folder: Path) -> None:
    """First and last values, slopes, and what the worker says of itself."""
    third = max(1, len(samples) // 3)
    for name, column, unit in (("fds", 1, 1.0), ("threads", 2, 1.0), ("rss_mib", 3, 2.0**20)):
        middle = sorted(one[column] for one in samples[third : 2 * third])[third // 2] / unit
        last = sorted(one[column] for one in samples[-third:])[third // 2] / unit
        slope = slope_per_hour(samples, column) / unit
        half = slope_per_hour(samples[len(samples) // 2 :], column) / unit
        print(
            f"{name:8} median 2nd third {middle:8.1f}  last third {last:8.1f}"
            f"  slope {slope:+8.2f} an hour, of the second half {half:+8.2f}"
        )
    database = open_database(f"sqlite:///{folder / 'backwatch-data' / 'backwatch.db'}")
    (one,) = (process for process in load_processes(database) if process.role == "worker")
    database.dispose()
    for name, value in one.figures.items():
        print(f"{name:24} {value:,.3f}")
    print("notes:", "; ".join(one.notes) or "none")


def main() -> None:
    """Run it and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=500, help="checks a second")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="backwatch-soak-") as name, serving() as targets:
        folder = Path(name)
        config = write_config(folder, targets, round(options.rate * INTERVAL_S))
        with running(sys.executable, "-c", WORKER, str(config)) as worker:
            samples = watch(worker, options.minutes)
            tell(samples, folder)


if __name__ == "__main__":
    main()
