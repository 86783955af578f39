"""Several processes as one: started in order, restarted when they die, stopped together, none left behind."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Self

log = logging.getLogger(__name__)

TICK_S = 0.1
STOP_PATIENCE_S = 4.0
FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 30.0
STEADY_AFTER_S = 30.0

_NAME_WIDTH = 9
_TETHER = Path(__file__).with_name("tether.py")
Say = Callable[[str, str], object]


class Stopped(Exception):
    """Somebody asked for the end while something was being prepared."""


@dataclass(frozen=True, slots=True)
class Child:
    """A program to keep running. `last` ones are stopped after all others; `reloads` ones hear of SIGHUP."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    reloads: bool = False
    last: bool = False


@dataclass(slots=True)
class _Run:
    """A child at work, or dead and waiting to be started again."""

    child: Child
    process: subprocess.Popen[bytes]
    started_s: float
    deaths: int = 0
    told: bool = False

    def restart_at_s(self) -> float:
        """When it may be started again: soon at first, later if it keeps dying."""
        return self.started_s + restart_delay_s(self.deaths)


def restart_delay_s(deaths: int) -> float:
    """Seconds from one start to the next, after so many deaths in a row."""
    return float(min(FIRST_DELAY_S * 2.0 ** min(deaths, 16), LONGEST_DELAY_S))


class Supervisor:
    """Used as a context in the main thread: signals are caught inside it, and all children have ended after it.

    A child's output goes to `say(name, line)`, called from threads. When this process is killed the kernel ends
    the children (see `dashboard.tether`).
    """

    def __init__(self, say: Say) -> None:
        self._say = say
        self._runs: dict[str, _Run] = {}
        self._stopping = False
        self._reload = False
        self._before: dict[int, signal.Handlers | Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._on_stop)
        self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._on_reload)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop_all()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def pids(self) -> dict[str, int]:
        """The children that run, by name."""
        return {name: run.process.pid for name, run in self._runs.items() if run.process.poll() is None}

    def start(self, child: Child) -> None:
        """Start a child and keep it running from here on."""
        self._runs[child.name] = _Run(child, self._spawn(child), time.monotonic())

    def drop(self, name: str) -> None:
        """Stop a child and look after it no more."""
        run = self._runs.pop(name)
        run.process.terminate()
        _end(run, STOP_PATIENCE_S)

    def tend(self) -> None:
        """Look after everything once. Call it often. Raises Stopped when it is time to end."""
        if self._stopping:
            raise Stopped
        if self._reload:
            self._reload = False
            self._pass_on_reload()
        for run in self._runs.values():
            self._keep_alive(run)

    def hold(self) -> None:
        """Look after everything until a signal ends it."""
        while not self._stopping:
            try:
                self.tend()
            except Stopped:
                return
            time.sleep(TICK_S)

    def wait(self, ready: Callable[[], bool], patience_s: float) -> bool:
        """Tend until something is ready; False if that takes too long. Raises Stopped."""
        until_s = time.monotonic() + patience_s
        while not ready():
            if time.monotonic() > until_s:
                return False
            self.tend()
            time.sleep(TICK_S)
        return True

    def stop(self) -> None:
        """End `hold`, or raise Stopped at the next `tend`. Safe from any thread."""
        self._stopping = True

    def _on_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _on_reload(self, _number: int, _frame: FrameType | None) -> None:
        self._reload = True

    def _keep_alive(self, run: _Run) -> None:
        code = run.process.poll()
        if code is None:
            return
        now_s = time.monotonic()
        if not run.told:
            run.told = True
            if now_s - run.started_s > STEADY_AFTER_S:
                run.deaths = 0
            wait_s = max(0.0, run.restart_at_s() - now_s)
            log.warning("%s %s; starting it again in %.1f s", run.child.name, _say_end(code), wait_s)
        if now_s >= run.restart_at_s():
            run.process, run.started_s, run.told = self._spawn(run.child), now_s, False
            run.deaths += 1

    def _pass_on_reload(self) -> None:
        log.info("reloading the configuration")
        for run in self._runs.values():
            if run.child.reloads and run.process.poll() is None:
                run.process.send_signal(signal.SIGHUP)

    def _spawn(self, child: Child) -> subprocess.Popen[bytes]:
        # The kernel ties a child to the thread that starts it: that must be the one that lives longest.
        tether = (sys.executable, "-I", "-S", str(_TETHER), str(os.getpid()))
        process = subprocess.Popen(
            [*tether, *child.command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **child.environment},
            # A group of its own: Ctrl-C reaches this process alone, which stops the others in order.
            process_group=0,
        )
        if process.stdout:
            threading.Thread(
                target=self._hear, args=(child.name, process.stdout), name=f"hear-{child.name}", daemon=True
            ).start()
        return process

    def _hear(self, name: str, output: IO[bytes]) -> None:
        with output:
            for line in output:
                self._say(name, line.decode("utf-8", "replace").rstrip())

    def _stop_all(self) -> None:
        for last in (False, True):
            runs = [run for run in self._runs.values() if run.child.last is last]
            for run in runs:
                if run.process.poll() is None:
                    run.process.terminate()
            until_s = time.monotonic() + STOP_PATIENCE_S
            for run in runs:
                _end(run, max(0.0, until_s - time.monotonic()))
        self._runs.clear()


def become_supervisor(children: Sequence[Child], *, as_json: bool) -> None:
    """Go on as nothing but a supervisor of these children, until a signal; never returns.

    The process stays the same and gives back the memory of everything that was loaded to get here.
    """
    told = json.dumps({"as_json": as_json, "children": [asdict(child) for child in children]})
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "dashboard.supervisor", told])  # noqa: S606 - no shell


def say_with_name(name: str, line: str) -> None:
    """A child's line to stderr, marked with its name."""
    _write(f"{name:<{_NAME_WIDTH}} | {line}\n")


def say_raw(_name: str, line: str) -> None:
    """A child's line to stderr as it came."""
    _write(f"{line}\n")


def _write(text: str) -> None:
    # One write a line: lines of several children do not run into each other.
    try:
        os.write(2, text.encode())
    except OSError:
        return


def _end(run: _Run, patience_s: float) -> None:
    try:
        run.process.wait(patience_s)
    except subprocess.TimeoutExpired:
        log.warning("%s did not stop within %g s and was killed", run.child.name, STOP_PATIENCE_S)
        run.process.kill()
        run.process.wait()


def _say_end(code: int) -> str:
    if code < 0:
        try:
            return f"was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"was ended by signal {-code}"
    return f"ended with code {code}"


def main(told: str) -> None:
    """Run what `become_supervisor` was given."""
    from probes import logs

    given = json.loads(told)
    logs.set_up(as_json=given["as_json"])
    with Supervisor(say_raw if given["as_json"] else say_with_name) as supervisor:
        for child in given["children"]:
            supervisor.start(Child(**{**child, "command": tuple(child["command"])}))
        supervisor.hold()


if __name__ == "__main__":
    main(sys.argv[1])
