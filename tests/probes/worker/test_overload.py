"""More is asked of a worker than can be done, or than is answered: the others do not wait, and it is said."""

import socket
from typing import TYPE_CHECKING

import pytest

from probes.result import Reason, Result, Status
from probes.store.events import load_events

if TYPE_CHECKING:
    from conftest import Rig

pytestmark = pytest.mark.slow

NOW = 10**15


def test_targets_that_hang_do_not_hold_up_the_others(rig: "Rig") -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=600) as silent:
        port = silent.getsockname()[1]
        hanging = [rig.http(port, name=f"hang{n}") for n in range(300)]
        worker = rig.start(rig.write(rig.http(), *hanging))
        rig.wait_for(lambda: len(worker.results()) >= 5, 20)
        results = worker.results()[1:]
        assert all(result.status is Status.UP for result in results)
        assert max(result.late_ms for result in results) < 500
        assert worker.results("shop/web/hang7")[0].reason is Reason.DEADLINE


def test_overload_is_said_and_statistics_stand_back(rig: "Rig") -> None:
    """More hanging targets than room: the rest is late, said so, and a healthy database is asked less often."""
    with socket.create_server(("127.0.0.1", 0), backlog=600) as silent:
        port = silent.getsockname()[1]
        hanging = [rig.http(port, name=f"hang{n}") for n in range(60)]
        database = {"kind": "redis", "url": f"redis://127.0.0.1:{port}", "timeout": "100ms"}
        worker = rig.start(rig.write(*hanging, database, worker={"max_in_flight": 5}))
        rig.wait_for(lambda: worker.process().figures.get("overloaded") == 1, 40)
        process = worker.process()
        assert process.notes[0].startswith("Overloaded: ")
        assert "raise worker.max_in_flight" in process.notes[0]
        assert process.figures["late_ratio"] > 0.5
        assert process.figures["missed"] > 0
        assert process.figures["waiting"] > 0
        rig.wait_for(lambda: worker.process().figures["shed"] > 2)
        events = load_events(worker.store, 0, NOW, kind="overload")
        assert "raise worker.max_in_flight" in events[0].text
        late = [one for n in range(60) for one in worker.results(f"shop/web/hang{n}") if one.reason is Reason.LATE]
        assert late
        assert {(one.status, one.duration_s) for one in late} == {(Status.UNKNOWN, None)}
        # No starvation: each of the sixty was asked for real, though there is room for five a second.
        rig.wait_for(lambda: all(was_asked(worker.results(f"shop/web/hang{n}")) for n in range(60)), 60)


def was_asked(results: list[Result]) -> bool:
    return any(result.reason is Reason.DEADLINE for result in results)


def test_blocking_kinds_run_though_hanging_targets_fill_the_room(rig: "Rig") -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=600) as silent:
        port = silent.getsockname()[1]
        hanging = [rig.http(port, name=f"hang{n}") for n in range(30)]
        tcp = {"kind": "tcp", "url": f"tcp://127.0.0.1:{rig.port}"}
        worker = rig.start(rig.write(*hanging, tcp, worker={"max_in_flight": 2}))
        rig.wait_for(lambda: len(worker.results("shop/web/tcp")) >= 6)
        results = worker.results("shop/web/tcp")[1:]
        assert {result.status for result in results} == {Status.UP}
        assert max(result.late_ms for result in results) < 500
