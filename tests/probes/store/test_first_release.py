"""A database of the first release (schema 0002, results in rows alone) comes over whole.

`data/first_release.db.gz` was written by that release's own writer, rollups, incidents and silences: five checks for 30
hours, with errors of four kinds, an outage and metrics.
"""

import gzip
import math
import signal
import sqlite3
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import Engine

from probes.store.charts import load_series
from probes.store.database import open_database
from probes.store.integrity import db_check
from probes.store.maintenance import db_backup
from probes.store.results import load_results
from probes.store.rows import to_s
from probes.store.schema import current_revision, newest_revision, upgrade
from probes.store.upkeep import Ages, keep_up

DATA = Path(__file__).with_name("data") / "first_release.db.gz"
END = 1_795_262_400_000
DAY = 86_400_000
AGES = Ages(14 * 86400, 90 * 86400, 730 * 86400)
KEPT = ("series", "error", "event", "incident", "incident_event", "incident_member", "silence", "state")
UNHEARD = ("deadline", "dns_timeout")  # whoever did not answer has no latency


@dataclass
class Figures:
    """What single results of a check come to: counts by status, and latencies in microseconds."""

    counts: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    latencies_us: list[int] = field(default_factory=list)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "backwatch.db"
    path.write_bytes(gzip.decompress(DATA.read_bytes()))
    return path


@pytest.fixture
def engine(file: Path) -> Iterator[Engine]:
    engine = open_database(f"sqlite:///{file}")
    yield engine
    engine.dispose()


def read(file: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(query).fetchall()


def count(file: Path) -> dict[str, Figures]:
    """Figures of the rows themselves, past all our code."""
    found: dict[str, Figures] = defaultdict(Figures)
    with closing(sqlite3.connect(file)) as connection:
        for check_id, status, total_us, reason in connection.execute(
            "SELECT check_id, status, total_us, reason FROM hot JOIN series ON series.id = series_id "
            "LEFT JOIN error ON error.id = error_id"
        ):
            found[check_id].counts[status] += 1
            if total_us is not None and reason not in UNHEARD:
                found[check_id].latencies_us.append(total_us)
    return found


def assert_same(engine: Engine, wanted: dict[str, Figures]) -> None:
    assert len(wanted) == 5
    for check_id, figures in wanted.items():
        begin = END - END % (4 * DAY)
        points = load_series(engine, check_id, begin - 4 * DAY, begin + 4 * DAY, points=10)
        held = [sum(counts) for counts in zip(*((p.up, p.degraded, p.down, p.unknown) for p in points), strict=True)]
        assert held == figures.counts
        single = [one.status.value for one in load_results(engine, check_id, 0, 2**53)]
        assert [single.count(word) for word in ("up", "degraded", "down", "unknown")] == figures.counts
        (all_of_it,) = load_series(engine, check_id, begin - 56 * DAY, END + DAY, points=3)
        ordered = sorted(figures.latencies_us)
        for q, measured in ((0.5, all_of_it.p50_s), (0.95, all_of_it.p95_s), (0.99, all_of_it.p99_s)):
            assert measured == pytest.approx(to_s(ordered[math.floor(q * (len(ordered) - 1))]), rel=0.0101)


def test_every_figure_is_the_same_after_the_upgrade_and_after_packing(engine: Engine, file: Path) -> None:
    wanted, kept = count(file), {name: read(file, f"SELECT * FROM {name} ORDER BY 1, 2") for name in KEPT}
    assert sum(sum(figures.counts) for figures in wanted.values()) == 1800
    done = upgrade(engine)
    assert (done.before, done.after) == ("0002", newest_revision())
    assert done.backup is not None
    assert count(done.backup) == wanted
    assert db_check(engine) == []
    assert_same(engine, wanted)
    keep_up(engine, AGES, END + 130_000)
    assert read(file, "SELECT sum(n) FROM block") == [(1800,)]
    assert db_check(engine) == []
    assert_same(engine, wanted)
    assert {name: read(file, f"SELECT * FROM {name} ORDER BY 1, 2") for name in KEPT} == kept


def test_room_of_what_was_packed_is_given_back(engine: Engine, file: Path) -> None:
    upgrade(engine)
    keep_up(engine, AGES, END + 130_000)
    assert read(file, "PRAGMA freelist_count") == [(0,)]


# Dies while the backup is copied, before and after the new tables are committed.
UPGRADER = """
import os, signal, sys
from contextlib import contextmanager
from probes.store import maintenance, schema

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

url, place = sys.argv[1:]
run, writing = schema._run, schema.writing

@contextmanager
def fatal(engine):
    with writing(engine) as connection:
        yield connection
        if place == "within":
            die()
    die()

schema.writing = fatal
schema.upgrade(url, progress=die if place == "backup" else lambda *_: None)
"""


@pytest.mark.parametrize(("place", "revision"), [("backup", "0002"), ("within", "0002"), ("after", newest_revision())])
def test_killed_amid_the_upgrade_it_is_old_or_new(engine: Engine, file: Path, place: str, revision: str) -> None:
    wanted = count(file)
    died = subprocess.run([sys.executable, "-c", UPGRADER, str(engine.url), place], check=False)
    assert died.returncode == -signal.SIGKILL
    assert current_revision(engine) == revision
    assert count(file) == wanted
    upgrade(engine)
    assert db_check(engine) == []
    assert_same(engine, wanted)
    assert not list(file.parent.glob("*.part*"))
    for backup in file.parent.glob("*.backup"):
        assert count(backup) == wanted


def test_backup_is_whole_however_busy_the_writers_are(engine: Engine, file: Path, tmp_path: Path) -> None:
    """A copy that begins anew after each foreign commit is never done under a worker that writes each second."""
    upgrade(engine)
    told = []
    with closing(sqlite3.connect(file, isolation_level=None)) as other:

        def write(_: str, done: int, total: int) -> None:
            told.append(done)
            assert len(told) < 1000, "the copy begins anew and anew"
            other.execute("INSERT INTO meta VALUES (?, '')", (f"busy {len(told)}",))

        # More pages than are copied at a time.
        other.execute("CREATE TABLE ballast AS SELECT zeroblob(8000000) AS data FROM (VALUES (1), (2), (3))").close()
        db_backup(engine, tmp_path / "copy.db", write)
    assert told == sorted(told)
    assert len(told) > 2
    assert count(tmp_path / "copy.db") == count(file)
    assert read(tmp_path / "copy.db", "SELECT * FROM meta WHERE key LIKE 'busy%'") == []
