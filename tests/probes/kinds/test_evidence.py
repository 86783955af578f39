"""What blocking kinds tell of a failing run: gathered in their own thread, only when the run turns out bad."""

import threading
import time
from typing import Any

import psycopg
import pytest

from probes.blocking import without_literals
from probes.kinds.host import HostProbe
from probes.kinds.postgresql import PostgresqlProbe
from probes.probe import Ask, BlockingProbe, Deadline, Expect, Options, Reading
from probes.result import Status
from probes.runner import gather, run_blocking
from probes.target import Check, Limit, Tier


def check(probe: BlockingProbe, *limits: Limit) -> Check:
    return Check("s/t/c", "s", "s/t", "c", Tier.HOST, probe, 10.0, 5.0, 5.0, 3, 2, limits)


def ask() -> Ask:
    return Ask(Deadline(5.0), time.time_ns() // 1_000_000, 10.0)


def over(metric: str) -> Limit:
    return Limit(metric, Status.DEGRADED, 0.0, "above")


def test_a_machine_beyond_its_limits_names_its_processes() -> None:
    probe = HostProbe(HostProbe.Options(), HostProbe.Expect())
    seen = gather(run_blocking(check(probe, over("memory_used_ratio")), ask()))
    assert len(seen["top_memory"]) == 8
    assert any("python" in line and "MiB" in line for line in seen["top_memory"]) or seen["top_memory"]
    assert all("% of a core" in line for line in seen["top_cpu"])


def test_a_healthy_run_gathers_nothing() -> None:
    class Costly(BlockingProbe):
        kind = "costly"

        def run(self, ask: Ask) -> Reading:
            return Reading(evidence=lambda: pytest.fail("nobody wants to know"))

    assert run_blocking(check(Costly(Options(), Expect())), ask()).evidence is None


def test_a_probe_that_cannot_tell_does_not_lose_its_result(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> dict[str, Any]:
        raise RuntimeError("no")

    assert gather(Reading(status=Status.DOWN, evidence=broken)) == {}
    assert "could not tell what it saw" in caplog.text


@pytest.mark.parametrize(
    ("statement", "shape"),
    [
        ("SELECT * FROM user WHERE name = 'ann' AND pin=4711", "SELECT * FROM user WHERE name = ? AND pin=?"),
        ("UPDATE t SET a = 'it''s', b = E'\\'x' WHERE c = 1.5e3", "UPDATE t SET a = ?, b = ? WHERE c = ?"),
        ("SELECT 'cut in the midd", "SELECT ?"),
        ("SELECT $tag$ sec'ret $tag$, $$ more $$ FROM t2", "SELECT ?, ? FROM t2"),
    ],
    ids=["text and number", "escapes", "cut", "dollars"],
)
def test_statements_are_shown_without_data(statement: str, shape: str) -> None:
    assert without_literals(statement) == shape


def test_who_holds_the_lock_is_told(postgresql_url: str) -> None:
    probe = PostgresqlProbe(PostgresqlProbe.Options.model_validate({"url": postgresql_url}), PostgresqlProbe.Expect())
    table = f"locked_{time.time_ns()}"
    with psycopg.connect(postgresql_url) as holder, psycopg.connect(postgresql_url) as waiter:
        holder.execute(f"CREATE TABLE {table} (n int)".encode())
        holder.commit()
        try:
            holder.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
            thread = threading.Thread(
                target=lambda: waiter.execute(f"SELECT n, 'canary-4711' FROM {table}".encode()), daemon=True
            )
            thread.start()
            time.sleep(0.3)
            seen = gather(run_blocking(check(probe, over("waiting_on_lock")), ask()))
            (told,) = [line for line in seen["blocking_sessions"] if table in line]
            assert f"in: SELECT n, ? FROM {table}" in told
            assert "idle in transaction) holds the lock" in told
            assert "canary" not in told
            holder.rollback()
            thread.join(5)
        finally:
            holder.rollback()
            waiter.rollback()
            holder.execute(f"DROP TABLE {table}".encode())
            holder.commit()
