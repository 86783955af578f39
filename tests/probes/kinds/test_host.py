import subprocess
import sys
import time

import psutil
import pytest

from probes.disk_trend import Trend, disks
from probes.probe import Failure
from probes.result import Reason, Status


def test_the_metrics_every_machine_has(asker):
    ask = asker("host", {})
    first = ask()
    assert "cpu_used_ratio" not in first.metrics
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        pass
    reading = ask()
    assert reading.status is Status.UP
    wanted = {"cpu_used_ratio", "load_per_core", "memory_used_ratio", "memory_available_bytes", "uptime_s"}
    wanted |= {"disk_used_ratio", "disk_free_bytes", "network_received_bytes_per_s", "network_errors_per_s"}
    assert wanted <= reading.metrics.keys()
    assert 0 < reading.metrics["cpu_used_ratio"] <= 1
    assert 0 < reading.metrics["memory_used_ratio"] < 1
    assert any(name.startswith("disk_used_ratio:/") for name in reading.metrics)


@pytest.fixture
def sleeper(tmp_path):
    program = tmp_path / "bw-sleeper"
    program.symlink_to("/bin/sleep")
    started = []

    def start():
        started.append(subprocess.Popen([program, "60"]))
        until = time.monotonic() + 5
        while psutil.Process(started[-1].pid).name() != "bw-sleeper" and time.monotonic() < until:
            time.sleep(0.01)
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="names of links to programs differ")
def test_a_named_process_and_its_restart(asker, sleeper):
    ask = asker("host", {"process": "bw-sleeper"})
    gone = ask()
    assert (gone.status, gone.reason) == (Status.DOWN, Reason.VALUE_LIMIT)
    assert "bw-sleeper" in gone.message
    process = sleeper()
    ask()
    reading = ask()
    assert reading.metrics["processes"] == 1
    assert reading.metrics["process_restarted"] == 0
    assert reading.metrics["process_rss_bytes"] > 0
    assert reading.metrics["process_open_files"] >= 3
    process.kill()
    process.wait()
    time.sleep(1.2)
    sleeper()
    assert ask().metrics["process_restarted"] == 1


def trend(*free: float, step_s: float = 60) -> Trend:
    found = Trend()
    for number, value in enumerate(free):
        found = found.then(number * step_s, value, 3600)
    return found


def test_time_until_a_disk_is_full():
    assert trend(*(1000 - 10 * n for n in range(10))).full_s() == pytest.approx(910 / 10 * 60)


@pytest.mark.parametrize(
    "free",
    [(1000, 990), (10, 10, 10, 10, 10), (10, 20, 30, 40, 50), (10**15, 10**15 - 1, 10**15 - 2, 10**15 - 3, 10**15 - 4)],
    ids=["too few", "still", "emptying", "in millions of years"],
)
def test_a_disk_that_does_not_fill_has_no_such_time(free):
    assert trend(*free).full_s() is None


def test_old_samples_leave_the_trend():
    assert len(trend(*range(100, 0, -1)).samples) == 61


def test_a_disk_that_is_not_there_is_named():
    with pytest.raises(Failure, match="/not/there"):
        disks(["/not/there"])
