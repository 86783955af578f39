"""A killed writer, a locked store, a full disk: no result that was kept is lost, and the caller is told of others."""

import contextlib
import random
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from probes.result import Reason, Result, Status
from probes.store.database import StoreError, open_database, reading
from probes.store.embedded import Driver, EmbeddedStore
from probes.store.integrity import db_check
from probes.store.results import ResultWriter, load_results
from probes.store.rollups import roll_up
from probes.store.schema import upgrade

T0 = 1_760_000_400_000

WRITER = """
import random, sys
from dataclasses import dataclass
from probes.result import Reason, Result, Status
from probes.store.database import open_database
from probes.store.results import ResultWriter
from probes.store.retention import prune
from probes.store.rollups import roll_up

@dataclass
class Ages:
    raw_s: float = 6 * 3600
    hourly_s: float = 90 * 86400
    daily_s: float = 730 * 86400

engine = open_database(sys.argv[1])
writer, rnd = ResultWriter(engine), random.Random()
for batch in range(int(sys.argv[2]), 10**9):
    slot = 1_760_000_400_000 + batch * 60_000
    late = slot - 60_000 * rnd.randrange(1, 90)
    results = [Result(f"shop/t{n}/tcp", "default", slot, slot + 1, rnd.choice(list(Status)), Reason.DEADLINE,
               f"answer {rnd.randrange(40)} of {batch}", 0.1, metrics={"n": n}) for n in range(50)]
    results += [Result(f"shop/t{n}/tcp", "default", late + 7, late + 7, Status.DOWN) for n in range(3)]
    writer.save(results)
    print(batch, flush=True)
    if batch % 30 == 0:
        roll_up(engine, slot)
        prune(engine, Ages(), slot)
"""


def make_batch(number: int, size: int = 100) -> list[Result]:
    slot = T0 + number * 10_000
    return [
        Result(f"shop/t{check}/tcp", "default", slot, slot, Status.DOWN, Reason.DEADLINE, "no answer", 10.0)
        for check in range(size)
    ]


def kill_while_writing(url: str, first: int, after_s: float) -> int:
    """Run a writer from batch `first` on, kill it, and return the last batch it was told is kept."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), url, str(first)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    time.sleep(after_s)
    process.kill()
    said = [line, *process.stdout]
    process.wait()
    process.stdout.close()
    return max((int(one) for one in said if one.endswith("\n")), default=first - 1)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_writer_has_lost_nothing_that_was_kept(engine: Engine) -> None:
    rnd = random.Random()
    url = engine.url.render_as_string(hide_password=False)
    kept = -1
    for _ in range(20):
        kept = kill_while_writing(url, kept + 1, rnd.uniform(0, 0.25))
        problems = db_check(engine)
        assert problems == []
        slots = {one.slot_ms for one in load_results(engine, "shop/t7/tcp", 0, 2**53)}
        held_from = max(0, kept - 4 * 60)
        assert {T0 + batch * 60_000 for batch in range(held_from, kept + 1)} <= slots
    roll_up(engine, T0 + (kept + 200) * 60_000)
    assert db_check(engine) == []
    assert kept > 20


def hold_lock(file: Path, seconds: float, held: threading.Event) -> None:
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        held.set()
        time.sleep(seconds)
        other.execute("ROLLBACK")


@pytest.mark.parametrize("seconds", [2.0, 8.0])
def test_results_wait_while_another_process_holds_the_lock(sqlite_engine: Engine, seconds: float) -> None:
    writer = ResultWriter(sqlite_engine)
    writer.save(make_batch(0))
    held = threading.Event()
    other = threading.Thread(target=hold_lock, args=(Path(str(sqlite_engine.url.database)), seconds, held))
    other.start()
    held.wait()
    began = time.monotonic()
    waiting, refused = make_batch(1), []
    while waiting:
        try:
            assert load_results(sqlite_engine, "shop/t7/tcp", 0, 2**53)  # readers go on
            writer.save(waiting)
            waiting = []
        except StoreError as error:
            refused.append(str(error))
    other.join()
    assert time.monotonic() - began < seconds + 5.5
    assert len(refused) == (1 if seconds > 5 else 0)
    assert all("locked by another process" in said for said in refused)
    assert len(load_results(sqlite_engine, "shop/t7/tcp", 0, 2**53)) == 2
    assert db_check(sqlite_engine) == []


class SmallDisk(EmbeddedStore):
    """A store on a disk with room for so many pages: SQLite keeps to the limit of each connection."""

    pages = 0

    def connect(self) -> Driver:
        driver = super().connect()
        driver.execute(f"PRAGMA max_page_count = {self.pages}")
        return driver


def test_full_disk_is_said_and_overcome(sqlite_engine: Engine) -> None:
    disk = SmallDisk(Path(str(sqlite_engine.url.database)))
    with reading(sqlite_engine) as connection:
        disk.pages = connection.scalar(text("PRAGMA page_count")) + 20
    writer = ResultWriter(disk)
    saved = 0
    with contextlib.suppress(StoreError):
        while saved < 10_000:
            writer.save(make_batch(saved))
            saved += 1
    with pytest.raises(StoreError, match="the disk of the store is full"):
        writer.save(make_batch(saved))
    assert len(load_results(sqlite_engine, "shop/t7/tcp", 0, 2**53)) == saved > 0
    assert db_check(sqlite_engine) == []
    disk.pages = 100_000
    assert writer.save(make_batch(saved)) == 100
    assert db_check(sqlite_engine) == []


LIMITED = """
import resource, signal, sys
from probes.result import Result, Status
from probes.store.database import StoreError, open_database
from probes.store.results import ResultWriter

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
engine = open_database(sys.argv[1])
writer = ResultWriter(engine)
def batch(number):
    return [Result(f"shop/t{n}/tcp", "default", number, number, Status.UP, metrics={"n": n}) for n in range(100)]
writer.save(batch(0))
resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))
saved = 0
try:
    while saved < 10_000:
        writer.save(batch(saved + 1))
        saved += 1
except StoreError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert writer.save(batch(saved + 1)) == 100
print(saved + 2)
"""


def test_file_at_its_size_limit_is_said_and_overcome(sqlite_url: str) -> None:
    upgrade(sqlite_url)
    done = subprocess.run([sys.executable, "-c", LIMITED, sqlite_url], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said, saved = done.stdout.splitlines()
    assert "disk full, over quota" in said or "disk of the store is full" in said
    engine = open_database(sqlite_url)
    assert len(load_results(engine, "shop/t7/tcp", 0, 2**53)) == int(saved)
    assert db_check(engine) == []
    engine.dispose()


def test_store_that_cannot_be_reached_is_said_without_its_password() -> None:
    engine = open_database("postgresql+psycopg://someone:S3cr3tCanary@127.0.0.1:1/backwatch")
    with pytest.raises(StoreError) as refused:
        ResultWriter(engine).save(make_batch(0))
    assert "refused" in str(refused.value)
    assert "S3cr3tCanary" not in str(refused.value)
    engine.dispose()


def test_store_without_tables_names_the_command(url: str) -> None:
    engine = open_database(url)
    with pytest.raises(StoreError, match="run `backwatch db upgrade`"):
        ResultWriter(engine).save(make_batch(0))
    engine.dispose()


def test_server_that_drops_its_connections_is_found_again(postgresql_url: str) -> None:
    upgrade(postgresql_url)
    engine, other = open_database(postgresql_url), open_database(postgresql_url)
    writer = ResultWriter(engine)
    writer.save(make_batch(0))
    with other.connect() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    assert writer.save(make_batch(1)) == 100
    engine.dispose()
    other.dispose()
