"""Garbage is collected by the clock, the youngest often."""

import gc
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from probes.loop import Loop
from probes.memory import Sweeper
from probes.result import Reason
from probes.store.database import open_store
from probes.store.results import load_results


@pytest.fixture
def sweeping() -> Iterator[Loop]:
    before, loop = gc.get_threshold(), Loop()
    Sweeper(loop).start()
    yield loop
    gc.set_threshold(*before)
    gc.unfreeze()
    loop.close()


class Knot:
    """Refers to itself, so that only the collector can take it away."""

    def __init__(self) -> None:
        self.own = self


def turn_for(loop: Loop, seconds: float) -> None:
    until_s = loop.time() + seconds
    while loop.time() < until_s:
        loop.turn(0.05)


def test_young_garbage_is_gone_within_a_second(sweeping: Loop) -> None:
    knot = weakref.ref(Knot())
    assert knot() is not None
    turn_for(sweeping, 0.8)
    assert knot() is None


def test_what_survived_a_first_look_is_gone_after_the_next_seconds(sweeping: Loop) -> None:
    keep = Knot()
    knot = weakref.ref(keep)
    turn_for(sweeping, 0.6)
    del keep
    turn_for(sweeping, 1.2)
    assert knot() is None


HEAVY = (
    *("alembic", "aioquic", "asyncio", "cryptography", "difflib", "dns.resolver", "jsonpath", "psutil", "re2"),
    *("requests", "sqlalchemy", "yaml"),
)
"""Each of these is 1 to 25 MiB for as long as the worker lives."""
MOST_MIB = 58
"""Of a worker that has asked a few times. 50 of CPython 3.11 on x86-64; SQLAlchemy alone would bring it to 67."""

RUN = f"""
import sys, threading
from contextlib import suppress
from pathlib import Path
import probes.commands
from probes.config_apart import load_config_apart
from probes.memory import resident_bytes
from probes.store.database import StoreError, open_store
from probes.store.results import load_results
from probes.worker import run_worker

def stop_when_asked_thrice():
    while not stop.wait(0.2):
        with suppress(StoreError):
            if len(load_results(open_store(config.database), "shop/web/http", 0, 2**53)) >= 3:
                stop.set()

config, stop = load_config_apart(Path(sys.argv[1])), threading.Event()
threading.Thread(target=stop_when_asked_thrice, daemon=True).start()
run_worker(config, stop)
print(resident_bytes() / 2**20, *sorted(set({HEAVY!r}) & set(sys.modules)))
"""
CONFIG = """
sites:
  shop:
    targets:
      web:
        tier: web
        checks:
          - {kind: http, url: "http://127.0.0.1:9/", interval: 1s, timeout: 1s}
          - {kind: heartbeat, period: 1h, token: some-long-token-1}
"""


def test_a_worker_of_http_checks_loads_nothing_that_only_others_need_and_stays_small(tmp_path: Path) -> None:
    (tmp_path / "backwatch.yaml").write_text(CONFIG)
    command = [sys.executable, "-P", "-c", RUN, str(tmp_path / "backwatch.yaml")]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    resident_mib, *heavy = done.stdout.split()
    assert heavy == []
    assert float(resident_mib) < MOST_MIB
    results = load_results(open_store(f"sqlite:///{tmp_path}/backwatch-data/backwatch.db"), "shop/web/http", 0, 2**53)
    assert {result.reason for result in results} == {Reason.TCP_REFUSED}
