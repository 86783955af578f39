"""What an app instance counts, and its numbers as Prometheus text."""

import os
import time
from collections import Counter, defaultdict
from collections.abc import Mapping

from anyio import CapacityLimiter

from sample_targets.database import Database
from sample_targets.near_cache import NearCache

WORKERS = 16
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Meter:
    """Counters of one instance since its start."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.started = time.time()
        self.logins: Counter[str] = Counter()
        self.orders: Counter[str] = Counter()
        self.busy = 0
        self.workers = CapacityLimiter(WORKERS)
        self._requests: Counter[tuple[str, int]] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def count_request(self, route: str, status: int, duration_s: float) -> None:
        """One answered request."""
        self._requests[route, status] += 1
        self._seconds[route] += duration_s

    def render(self, database: Database, cache: NearCache) -> str:
        """Everything in the Prometheus text format."""
        answered: Counter[str] = Counter()
        for (route, _), count in self._requests.items():
            answered[route] += count
        requests_by = {f'route="{route}",code="{code}"': n for (route, code), n in self._requests.items()}
        blocks = [
            _family("http_requests_total", "counter", "Requests answered.", requests_by),
            _family(
                "http_request_duration_seconds_sum", "counter", "Time spent answering.", _label("route", self._seconds)
            ),
            _family("http_request_duration_seconds_count", "counter", "Requests timed.", _label("route", answered)),
            _family("http_requests_in_progress", "gauge", "Requests not answered yet.", {"": self.busy}),
            _family("shop_logins_total", "counter", "Logins tried.", _label("outcome", self.logins)),
            _family("shop_orders_total", "counter", "Checkouts tried.", _label("outcome", self.orders)),
            _family("shop_cache_hits_total", "counter", "Values found in the cache.", {"": cache.hits}),
            _family("shop_cache_misses_total", "counter", "Values not found in the cache.", {"": cache.misses}),
            _family("shop_db_pool_in_use", "gauge", "Database connections in use.", {"": database.in_use}),
            _family("shop_db_pool_size", "gauge", "Database connections allowed.", {"": database.pool_size}),
            _family("shop_workers_busy", "gauge", "Worker threads in use.", {"": self.workers.borrowed_tokens}),
            _family("shop_workers_max", "gauge", "Worker threads allowed.", {"": self.workers.total_tokens}),
            _family("shop_build_info", "gauge", "The instance.", {f'node="{self.node}",version="1.4.2"': 1}),
            _family("process_start_time_seconds", "gauge", "Start of the process.", {"": self.started}),
            _family("process_id", "gauge", "Number of the process.", {"": os.getpid()}),
        ]
        return "".join(blocks)


def _label(name: str, counts: Mapping[str, float]) -> dict[str, float]:
    return {f'{name}="{value}"': count for value, count in counts.items()}


def _family(name: str, kind: str, text: str, samples: Mapping[str, float]) -> str:
    lines = [f"{name}{{{labels}}} {value}" if labels else f"{name} {value}" for labels, value in samples.items()]
    return "\n".join([f"# HELP {name} {text}", f"# TYPE {name} {kind}", *lines, ""])
