"""Children are kept running, hear of reloads, and never outlive their supervisor."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from dashboard import supervisor as under_test
from dashboard.supervisor import Child, Stopped, Supervisor, restart_delay_s

SLEEP = (sys.executable, "-c", "import time; time.sleep(60)")


def wait_until(true: Callable[[], object], seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not come true in time"
        time.sleep(0.05)


def tend_until(running: Supervisor, true: Callable[[], bool]) -> None:
    assert running.wait(true, 10.0)


def script(tmp_path: Path, text: str) -> tuple[str, ...]:
    path = tmp_path / f"child{len(list(tmp_path.iterdir()))}.py"
    path.write_text(textwrap.dedent(text))
    return sys.executable, "-u", str(path)


@pytest.mark.parametrize(("deaths", "seconds"), [(0, 0.5), (1, 1.0), (3, 4.0), (6, 30.0), (5000, 30.0)])
def test_who_keeps_dying_waits_longer(deaths: int, seconds: float) -> None:
    assert restart_delay_s(deaths) == seconds


def test_a_killed_child_is_started_again() -> None:
    with Supervisor(lambda *_: None) as running:
        running.start(Child("one", SLEEP))
        first = running.pids["one"]
        os.kill(first, signal.SIGKILL)
        tend_until(running, lambda: running.pids.get("one", first) != first)


def test_no_child_is_left_when_the_context_ends() -> None:
    with Supervisor(lambda *_: None) as running:
        running.start(Child("one", SLEEP))
        running.start(Child("two", SLEEP, last=True))
        pids = list(running.pids.values())
        assert len(pids) == 2
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_a_child_that_will_not_stop_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(under_test, "STOP_PATIENCE_S", 0.5)
    lines: list[str] = []
    stubborn = script(
        tmp_path,
        """
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("ready")
        time.sleep(60)
        """,
    )
    with Supervisor(lambda _, line: lines.append(line)) as running:
        running.start(Child("stubborn", stubborn))
        tend_until(running, lambda: lines == ["ready"])
        pid = running.pids["stubborn"]
    assert not psutil.pid_exists(pid)


def test_lines_of_a_child_come_with_its_name() -> None:
    lines: list[tuple[str, str]] = []
    with Supervisor(lambda name, line: lines.append((name, line))) as running:
        running.start(Child("talker", (sys.executable, "-c", "import sys; print('a'); print('b', file=sys.stderr)")))
        tend_until(running, lambda: len(lines) >= 2)
    assert sorted(lines)[:2] == [("talker", "a"), ("talker", "b")]


def test_a_child_gets_its_environment() -> None:
    lines: list[str] = []
    shows = (sys.executable, "-c", "import os; print(os.environ['BACKWATCH_INBOX'])")
    with Supervisor(lambda _, line: lines.append(line)) as running:
        running.start(Child("one", shows, {"BACKWATCH_INBOX": "/somewhere"}))
        tend_until(running, lambda: bool(lines))
    assert lines[0] == "/somewhere"


def test_sighup_reaches_those_who_reload_and_nobody_else(tmp_path: Path) -> None:
    lines: list[tuple[str, str]] = []
    hears = script(
        tmp_path,
        """
        import signal, time
        signal.signal(signal.SIGHUP, lambda *_: print("reloaded"))
        print("ready")
        while True:
            time.sleep(0.05)
        """,
    )
    with Supervisor(lambda *said: lines.append(said)) as running:
        running.start(Child("worker", hears, reloads=True))
        running.start(Child("dashboard", hears))
        tend_until(running, lambda: len(lines) == 2)
        os.kill(os.getpid(), signal.SIGHUP)
        tend_until(running, lambda: ("worker", "reloaded") in lines)
        assert running.wait(lambda: False, 0.5) is False
    assert ("dashboard", "reloaded") not in lines


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_wait_for_something(number: signal.Signals) -> None:
    with Supervisor(lambda *_: None) as running:
        os.kill(os.getpid(), number)
        with pytest.raises(Stopped):
            running.wait(lambda: False, 5.0)


def test_a_killed_supervisor_leaves_nobody_behind(tmp_path: Path) -> None:
    code = f"""
        from dashboard.supervisor import Child, Supervisor
        with Supervisor(lambda *_: None) as running:
            running.start(Child("one", {SLEEP!r}))
            running.start(Child("two", {SLEEP!r}))
            print(*running.pids.values(), flush=True)
            running.hold()
        """
    with subprocess.Popen(script(tmp_path, code), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        children = [psutil.Process(int(pid)) for pid in process.stdout.readline().split()]
        assert len(children) == 2
        # Past the exec of the tether: what runs now is the program itself.
        wait_until(lambda: all("time.sleep" in " ".join(child.cmdline()[:3]) for child in children))
        process.kill()
    wait_until(lambda: not any(child.is_running() for child in children))
