"""Backups, checkpoints and the check of the whole store."""

import re
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from probes.result import Reason, Result, Status
from probes.store.database import StoreError, open_database, writing
from probes.store.integrity import db_check
from probes.store.maintenance import checkpoint, db_backup, wal_bytes
from probes.store.results import ResultWriter, load_results
from probes.store.retention import prune
from probes.store.rollups import roll_up

HOUR = 3_600_000
NOW = 1_760_000_400_000


def fill(engine: Engine, hours: int = 3, checks: int = 5) -> None:
    results = [
        Result(f"shop/t{check}/tcp", "default", slot, slot, Status.UP)
        if check < 4
        else Result(f"shop/t{check}/tcp", "default", slot, slot, Status.DOWN, Reason.TCP_REFUSED, "refused")
        for slot in range(NOW - hours * HOUR, NOW, 30_000)
        for check in range(checks)
    ]
    ResultWriter(engine).save(results)


def test_backup_is_a_store_of_its_own(sqlite_engine: Engine, tmp_path: Path) -> None:
    fill(sqlite_engine)
    copy = tmp_path / "copies" / "copy.db"
    copy.parent.mkdir()
    db_backup(sqlite_engine, copy)
    assert [path.name for path in copy.parent.iterdir()] == ["copy.db"]
    other = open_database(f"sqlite:///{copy}")
    assert len(load_results(other, "shop/t1/tcp", 0, NOW)) == 360
    assert db_check(other) == []
    other.dispose()


def test_backup_never_overwrites(sqlite_engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "copy.db").write_text("mine")
    with pytest.raises(StoreError, match="exists already"):
        db_backup(sqlite_engine, tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_text() == "mine"


def test_backup_of_a_server_names_its_tool(postgresql_url: str, tmp_path: Path) -> None:
    engine = open_database(postgresql_url)
    with pytest.raises(StoreError, match="pg_dump"):
        db_backup(engine, tmp_path / "copy.db")
    engine.dispose()


def test_log_is_cut_off_when_it_grew(sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(sqlite_engine)
    assert checkpoint(sqlite_engine).wal_bytes > 0
    monkeypatch.setattr("probes.store.maintenance.TRUNCATE_BYTES", 1000)
    assert checkpoint(sqlite_engine).wal_bytes == 0


def test_reader_that_holds_a_snapshot_is_named(sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("probes.store.maintenance.TRUNCATE_BYTES", 1000)
    monkeypatch.setattr("probes.store.maintenance.WARN_BYTES", 1000)
    monkeypatch.setattr("probes.store.embedded.BUSY_TIMEOUT_MS", 100)
    engine = open_database(str(sqlite_engine.url))
    with sqlite3.connect(str(engine.url.database), isolation_level=None) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM hot").fetchone()
        fill(engine)
        assert "a reader holds a snapshot" in checkpoint(engine).warning
        reader.execute("ROLLBACK")
    reader.close()
    assert checkpoint(engine).warning == ""
    engine.dispose()


def test_deleted_rows_give_their_pages_back(sqlite_engine: Engine) -> None:
    class Ages:
        raw_s = hourly_s = daily_s = 1.0

    fill(sqlite_engine, hours=40, checks=10)
    checkpoint(sqlite_engine)
    roll_up(sqlite_engine, NOW)
    size = Path(str(sqlite_engine.url.database)).stat().st_size
    prune(sqlite_engine, Ages(), NOW)
    checkpoint(sqlite_engine)
    assert Path(str(sqlite_engine.url.database)).stat().st_size < size / 3


def test_server_needs_no_checkpoint(postgresql_url: str) -> None:
    engine = open_database(postgresql_url)
    assert checkpoint(engine).wal_bytes == wal_bytes(engine) == 0
    engine.dispose()


@pytest.fixture
def filled(engine: Engine) -> Engine:
    """Three hours, of which the last is open."""
    fill(engine)
    roll_up(engine, NOW - HOUR)
    assert db_check(engine) == []
    return engine


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        ("DELETE FROM hot WHERE slot_ms = (SELECT max(slot_ms) FROM hot)", "the state is not the newest result"),
        ("UPDATE state SET status = 1 WHERE series_id = 1", "the state is not the newest result"),
        ("UPDATE state SET since_ms = since_ms + 30000 WHERE series_id = 2", "since when"),
        ("UPDATE state SET prev_slot_ms = 1 WHERE series_id = 2", "since when"),
        ("DELETE FROM series WHERE id = 2", "hot has rows of a series that does not exist: 1 times .2."),
        ("DELETE FROM error", "state has rows with an error text that does not exist"),
        ("DELETE FROM block WHERE id = (SELECT min(id) FROM block)", "does not add up"),
        ("DELETE FROM rollup_h WHERE series_id = 3", "does not add up"),
    ],
)
def test_check_finds_what_is_wrong(filled: Engine, damage: str, problem: str) -> None:
    with writing(filled) as connection:
        connection.execute(text(damage))
    assert re.search(problem, "\n".join(db_check(filled)))


def test_check_finds_a_damaged_page(sqlite_engine: Engine) -> None:
    fill(sqlite_engine, hours=40, checks=10)
    file = Path(str(sqlite_engine.url.database))
    connection = sqlite_engine.raw_connection()
    connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()
    sqlite_engine.dispose()
    data = bytearray(file.read_bytes())
    for at in range(len(data) // 2, len(data) // 2 + 40_000):
        data[at] ^= 0x5A
    file.write_bytes(data)
    try:
        problems = db_check(sqlite_engine)
    except StoreError as error:
        problems = [str(error)]
    assert any("damaged" in problem for problem in problems)
