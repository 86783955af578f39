import sqlite3
from contextlib import closing

import pytest

from probes.result import Reason, Status


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "shop #1?.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
        connection.executemany("INSERT INTO t (b) VALUES (?)", [("x" * 100,)] * 1000)
        connection.commit()
    return path


def test_every_metric(asker, database):
    ask = asker("sqlite", {"path": database})
    reading = ask()
    assert (reading.status, reading.message) == (Status.UP, "")
    assert reading.metrics.keys() == ask.probe.metrics.keys()
    assert reading.metrics["quick_check_ok"] == 1
    assert reading.metrics["size_bytes"] > 100_000


def test_wal_in_use_is_measured(asker, database):
    with closing(sqlite3.connect(database)) as writer:
        writer.execute("INSERT INTO t (b) VALUES ('y')")
        writer.commit()
        assert asker("sqlite", {"path": database})().metrics["wal_size_bytes"] > 0


def test_the_structure_is_checked_once_an_hour_and_stays_known(asker, database):
    ask = asker("sqlite", {"path": database})
    first = ask()
    second = ask()
    assert second.metrics["quick_check_ok"] == 1
    assert second.carry is first.carry
    always = asker("sqlite", {"path": database, "quick_check_every": 0})
    assert always().carry is not always().carry


def test_missing_file_says_so(asker, tmp_path):
    reading = asker("sqlite", {"path": tmp_path / "gone.db"})()
    assert (reading.status, reading.reason) == (Status.DOWN, Reason.QUERY_ERROR)
    assert "no such file" in reading.message
    assert not (tmp_path / "gone.db").exists()


def test_file_of_another_kind_says_so(asker, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("dear diary " * 100)
    reading = asker("sqlite", {"path": path})()
    assert reading.reason is Reason.QUERY_ERROR
    assert "not a database" in reading.message


def test_folder_cannot_be_opened(asker, tmp_path):
    assert asker("sqlite", {"path": tmp_path})().reason is Reason.QUERY_ERROR


def test_damaged_file_is_down(asker, database):
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    data = bytearray(database.read_bytes())
    data[4096 : len(data)] = b"\xa5" * (len(data) - 4096)
    database.write_bytes(data)
    reading = asker("sqlite", {"path": database})()
    assert (reading.status, reading.reason) == (Status.DOWN, Reason.QUERY_ERROR)


def test_locked_file_is_deadline_with_words(asker, tmp_path):
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("CREATE TABLE t (a)")
        holder.execute("BEGIN EXCLUSIVE")
        reading = asker("sqlite", {"path": path}, timeout_s=0.5)()
    assert reading.reason is Reason.DEADLINE
    assert "locked" in reading.message


def test_a_hot_journal_is_named(asker, tmp_path):
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("PRAGMA cache_size=1")
        writer.execute("CREATE TABLE t (a)")
        writer.execute("BEGIN")
        writer.executemany("INSERT INTO t VALUES (?)", [("x" * 1000,)] * 500)
        left_behind = tmp_path / "copy.db"
        left_behind.write_bytes(path.read_bytes())
        (tmp_path / "copy.db-journal").write_bytes((tmp_path / "a.db-journal").read_bytes())
    reading = asker("sqlite", {"path": left_behind})()
    assert reading.metrics["hot_journal"] == 1


def test_the_probe_cannot_write(asker, database, monkeypatch):
    ask = asker("sqlite", {"path": database})
    with closing(ask.probe._open(_ask())) as connection, pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM t")


def _ask():
    from probes.probe import Ask, Deadline

    return Ask(Deadline(2), 0, 30)
