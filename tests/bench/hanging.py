"""The engine alone against targets that accept and hang; started by overload.py, so that nothing else is imported.

python tests/bench/hanging.py 4000 3.0 HEALTHY:PORT HANGING:PORT…
"""

import json
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from probes.descriptors import raise_limit
from probes.engine import Engine
from probes.kinds.http import Expects, HttpProbe, Options
from probes.loop import Loop
from probes.probe import Ask, Deadline, Reading
from probes.target import Check, Tier


def check_of(url: str, timeout_s: float) -> Check:
    probe = HttpProbe(Options(url=url), Expects())
    return Check("bench/web/http", "bench", "web", "http", Tier.WEB, probe, 60, timeout_s, 5, 3, 2)


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def run_engine(count: int, timeout_s: float, healthy: str, hanging: Sequence[str]) -> None:
    """Overshoots, memory and CPU as one line of JSON."""
    raise_limit()
    before = resident_bytes()
    loop = Loop()
    engine = Engine(loop)
    overshoots: list[float] = []
    reported: list[float] = []
    checks = [check_of(f"http://{place}/", timeout_s) for place in hanging]
    good = check_of(f"http://{healthy}/", timeout_s)

    def hang(n: int) -> None:
        began = loop.time()
        engine.start(checks[n % len(checks)], Ask(Deadline(timeout_s), 0, 60), lambda _: end(began))

    def end(began: float) -> None:
        overshoots.append(loop.time() - began - timeout_s)

    def note(one: Reading) -> None:
        reported.append(one.duration_s or 0.0)

    # 32 a turn, as the worker starts them; in half the time until the first gives up all hang.
    for n in range(0, count, 32):
        loop.call_later(n / count * timeout_s / 2, lambda n=n: [hang(m) for m in range(n, min(n + 32, count))])
    for n in range(200):
        start = lambda: engine.start(good, Ask(Deadline(timeout_s), 0, 60), note)  # noqa: E731
        loop.call_later(n * timeout_s * 1.5 / 200, start)
    most, cpu = 0, time.process_time()
    while len(overshoots) < count:
        loop.turn(0.1)
        most = max(most, engine.in_flight)
    print(
        json.dumps(
            {
                "in_flight": most,
                "p50": percentile(overshoots, 0.5),
                "p99": percentile(overshoots, 0.99),
                "max": max(overshoots),
                "healthy_p99": percentile(reported, 0.99),
                "rss_before": before,
                "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                "cpu": time.process_time() - cpu,
            }
        )
    )
    engine.close()
    loop.close()


if __name__ == "__main__":
    run_engine(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4:])
