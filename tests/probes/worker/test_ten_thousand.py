"""Ten thousand targets fail at once: confirmed in time, and no healthy one is harmed."""

import collections
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Engine

from probes.config import load_config
from probes.result import Reason, Result
from probes.store.database import StoreError, open_database
from probes.store.processes import load_processes
from probes.store.results import load_all_results

if TYPE_CHECKING:
    from conftest import Rig

NOW = 10**15
RUN = (
    "import sys; from pathlib import Path; from probes.config import load_config; from probes.worker import run_worker;"
    "run_worker(load_config(Path(sys.argv[1])))"
)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_ten_thousand_targets_that_fail_at_once_harm_no_healthy_one(rig: "Rig", nginx: Any) -> None:
    """All are confirmed down within two rounds; the worker stays small, loses nothing, and the healthy stay on time."""
    count = 10_000
    failing = [rig.http(1, name=f"down{n}", interval="30s") for n in range(count)]
    healthy = [{"kind": "http", "url": nginx.url("plain"), "name": f"up{n}"} for n in range(20)]
    defaults = {"interval": "1s", "timeout": "1s", "retry_interval": "5s", "fail_after": 2}
    path = rig.write(*failing, *healthy, defaults=defaults)
    store = open_database(load_config(path).database)
    with subprocess.Popen([sys.executable, "-c", RUN, str(path)]) as worker:
        try:
            rig.wait_for(lambda: load_all(store), 60)
            began = time.monotonic()
            rig.wait_for(lambda: failed_twice(store) == count, 120, every_s=3)
            took_s = time.monotonic() - began
            (process,) = load_processes(store)
        finally:
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(20) == 0
    results = load_all(store)
    assert took_s < 75  # one round of 30 s, and the retries
    assert {one.reason for one in results if "/down" in one.check_id} == {Reason.TCP_REFUSED}
    healthy_ones = [one for one in results if "/up" in one.check_id]
    late_ms = sorted(one.late_ms for one in healthy_ones)
    assert {one.reason for one in healthy_ones} <= {None, Reason.CANCELLED}  # cancelled: under way at the end
    assert len(late_ms) > 20 * 20
    assert late_ms[int(len(late_ms) * 0.95)] < 500
    assert (process.figures["missed"], process.figures["store_errors"], process.figures["loop_held_up"]) == (0, 0, 0)
    assert process.figures["rss_bytes"] < 180 << 20
    assert load_processes(store)[0].figures["results"] == len(results)
    store.dispose()


def load_all(store: Engine) -> list[Result]:
    try:
        return load_all_results(store, 0, NOW)
    except StoreError:  # the tables are not there in the first moments
        return []


def failed_twice(store: Engine) -> int:
    seen = collections.Counter(one.check_id for one in load_all(store) if "/down" in one.check_id)
    return sum(number >= 2 for number in seen.values())
