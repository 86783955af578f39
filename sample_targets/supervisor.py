"""The process that holds the shop together: starts the parts, restarts what dies, brings faults about, stops all."""

import http.client
import json
import logging
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from sample_targets import database
from sample_targets.certificate import Certificates
from sample_targets.fault import Fault
from sample_targets.layout import HOST, Layout
from sample_targets.state import ShopRefused, claim, prepare_directory, remove_state, write_state

log = logging.getLogger(__name__)

PARTS = ("dns", "cache", "payments", "app-1", "app-2", "lb", "web", "invoices", "visitors")
TICK_S = 0.1
START_PATIENCE_S = 30.0
STOP_PATIENCE_S = 4.0
RESTART_DELAY_S = 0.5
LONGEST_RESTART_DELAY_S = 10.0
STEADY_AFTER_S = 10.0


@dataclass(slots=True)
class Part:
    """One child process and when it was started last."""

    process: subprocess.Popen[bytes]
    started_s: float
    deaths: int = 0

    @property
    def restart_at_s(self) -> float:
        """When a dead part may be started again: soon at first, later if it keeps dying."""
        return self.started_s + min(RESTART_DELAY_S * 2.0**self.deaths, LONGEST_RESTART_DELAY_S)


@dataclass(slots=True)
class Supervisor:
    """One shop from start to stop."""

    layout: Layout
    _parts: dict[str, Part] = field(default_factory=dict)
    _in_force: frozenset[Fault] | None = None
    _published: dict[str, int] = field(default_factory=dict)
    _stopping: bool = False
    _lifeline: int = -1

    def run(self, announce: Callable[[], None]) -> None:
        """Hold the shop until SIGTERM or SIGINT; `announce` is called once everything accepts connections.

        Raises ShopRefused where the directory or a port is taken, or a part does not start.
        """
        prepare_directory(self.layout.data)
        with claim(self.layout.data):
            remove_state(self.layout.data)
            self._prepare()
            self._catch_signals()
            reading_end, writing_end = os.pipe()
            self._lifeline = reading_end
            try:
                self._start(announce)
                while not self._stopping:
                    self._tick()
                    time.sleep(TICK_S)
            finally:
                remove_state(self.layout.data)
                self._stop_all()
                os.close(writing_end)
                os.close(reading_end)
                self._restore_database()

    def _prepare(self) -> None:
        """Files and ports before anything runs; a shop killed in the middle of a fault is made whole first."""
        taken = [f"{name} {port}" for name, port in self.layout.ports.items() if not _is_free(port)]
        if taken:
            raise ShopRefused(f"ports in use on {HOST}: {', '.join(taken)}; choose others with --port-base")
        self.layout.faults.switch_off(Fault)
        self._logs.mkdir(exist_ok=True)
        for errors in self._logs.glob("*.err"):
            errors.unlink()
        self._restore_database()
        database.create_database(self.layout.database)
        Certificates(self.layout.data).ensure()

    def _catch_signals(self) -> None:
        def stop(*_: object) -> None:
            self._stopping = True

        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, stop)

    def _start(self, announce: Callable[[], None]) -> None:
        deadline_s = time.monotonic() + START_PATIENCE_S
        while not self._stopping:
            self._tick()
            if self._in_force is not None:
                announce()
                return
            if time.monotonic() > deadline_s:
                missing = [name for name, port in self.layout.ports.items() if not _accepts(port)]
                what = f"not listening: {', '.join(missing)}" if missing else "the balancer finds the apps unfit"
                raise ShopRefused(f"not ready after {START_PATIENCE_S:g} s: {what}; see {self._logs}")
            time.sleep(TICK_S)

    @property
    def _logs(self) -> Path:
        return self.layout.data / "log"

    def _tick(self) -> None:
        """Bring processes and database file to where the faults want them; say so once they are there."""
        wanted = self.layout.faults.active()
        self._place_database(wanted)
        parts = _parts_under(wanted)
        for name in [name for name in self._parts if name not in parts]:
            self._stop(name)
        for name in parts:
            self._keep_alive(name)
        self._publish(wanted)

    def _place_database(self, wanted: frozenset[Fault]) -> None:
        path = self.layout.database
        if Fault.DB_DOWN in wanted and path.exists():
            try:
                database.move_away(path)
            except sqlite3.OperationalError as error:
                log.warning("database not moved yet: %s", error)
        elif Fault.DB_DOWN not in wanted:
            self._restore_database()

    def _restore_database(self) -> None:
        if database.away(self.layout.database).exists():
            database.move_back(self.layout.database)

    def _keep_alive(self, name: str) -> None:
        part = self._parts.get(name)
        if part is None:
            self._parts[name] = Part(self._spawn(name), time.monotonic())
            return
        code = part.process.poll()
        if code is None:
            return
        now_s = time.monotonic()
        if now_s - part.started_s > STEADY_AFTER_S:
            part.deaths = 0
        if now_s >= part.restart_at_s:
            log.warning("%s died with %s, restarted", name, code)
            self._parts[name] = Part(self._spawn(name), now_s, part.deaths + 1)

    def _spawn(self, name: str) -> subprocess.Popen[bytes]:
        layout = self.layout
        command = [sys.executable, "-m", "sample_targets.child", name, "--data", str(layout.data)]
        options = ["--port-base", str(layout.port_base), "--rate", str(layout.rate)]
        with self._open_errors(name) as errors:
            return subprocess.Popen(
                [*command, *options],
                stdin=self._lifeline,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                # A group of its own: Ctrl-C reaches the supervisor alone, which stops the parts in order.
                process_group=0,
            )

    def _open_errors(self, name: str) -> IO[bytes]:
        return (self._logs / f"{name}.err").open("ab")

    def _publish(self, wanted: frozenset[Fault]) -> None:
        processes = {name: part.process.pid for name, part in self._parts.items() if part.process.poll() is None}
        if wanted == self._in_force and processes == self._published:
            return
        closed = "payments" if Fault.PAY_DOWN in wanted else None
        accepting = all(_accepts(port) for name, port in self.layout.ports.items() if name != closed)
        # At the start the balancer may have looked at the apps too early: the shop is open once it knows better.
        if accepting and (self._in_force is not None or _all_nodes_up(self.layout.port("lb"))):
            write_state(self.layout, {"supervisor": os.getpid(), **processes}, wanted)
            self._in_force, self._published = wanted, processes

    def _stop(self, name: str) -> None:
        part = self._parts.pop(name)
        part.process.terminate()
        _wait(part.process, STOP_PATIENCE_S)

    def _stop_all(self) -> None:
        # From the visitors' side inwards, so that nobody complains about a shop that is closing.
        for part in reversed(self._parts.values()):
            part.process.terminate()
        deadline_s = time.monotonic() + STOP_PATIENCE_S
        for part in self._parts.values():
            _wait(part.process, max(0.0, deadline_s - time.monotonic()))
        self._parts.clear()


def _parts_under(faults: frozenset[Fault]) -> list[str]:
    parts = [name for name in PARTS if not (name == "payments" and Fault.PAY_DOWN in faults)]
    # Nothing to lock while the database is away.
    return [*parts, "locker"] if Fault.SLOW_DB in faults and Fault.DB_DOWN not in faults else parts


def _wait(process: subprocess.Popen[bytes], patience_s: float) -> None:
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError:
            return False
    return True


def _all_nodes_up(balancer_port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, balancer_port, timeout=1.0)
    try:
        connection.request("GET", "/lb/status")
        status = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()
    return bool(status["nodes_up"] == status["nodes_total"])


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1.0):
            return True
    except OSError:
        return False
