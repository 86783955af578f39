"""A damaged store is told of in words, and what can be read of it is saved; open incidents never go silently."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from click.testing import Result as Said

import alerts.store.tables  # noqa: F401 - the tables of incidents are part of a store
from alerts.config import load_all
from probes.commands import commands
from probes.result import Reason, Result, Status
from probes.store.database import StoreError, open_database
from probes.store.integrity import db_check
from probes.store.maintenance import checkpoint
from probes.store.results import ResultWriter, load_results
from probes.store.rollups import roll_up
from probes.store.salvage import salvage
from probes.store.schema import upgrade

T0 = 1_772_323_200_000
MINUTE, HOUR = 60_000, 3_600_000
CHECKS = [f"shop/t{number}/tcp" for number in range(40)]
HOURS, PACKED = 18, 6
"""Hours of results in the store, and how many of them are packed."""
COMMANDS = {command.name: command for command in commands}


def fill(folder: Path) -> Path:
    """A store of some megabytes, of which the first hours are packed, with an open incident."""
    file = folder / "backwatch.db"
    upgrade(f"sqlite:///{file}")
    engine = open_database(f"sqlite:///{file}")
    writer = ResultWriter(engine)
    for minute in range(HOURS * 60):
        writer.save(
            [
                Result(check, "default", at, at, Status.UP, duration_s=0.1, metrics={"n": minute})
                if minute % 50
                else Result(check, "default", at, at, Status.DOWN, Reason.DEADLINE, "no answer", 10.0)
                for at, check in zip(range(T0 + minute * MINUTE, T0 + 2**41, 1400), CHECKS, strict=False)
            ]
        )
    roll_up(engine, T0 + (PACKED + 1) * HOUR)
    with closing(sqlite3.connect(file)) as connection, connection:
        for number in range(400):
            state = "open" if number == 399 else "resolved"
            connection.execute(
                "INSERT INTO incident (id, key, state, severity, root, title, cause, reason, opened_ms, seq, told, "
                "closed_as, refire, unannounced, dismissing) "
                "VALUES (?, 'shop/t1', ?, 'page', 'shop/t1', ?, ?, 'deadline', ?, 1, '[]', '', 0, 0, 0)",
                (f"01J{number:05d}", state, f"shop/t1 is down, {number}", "x" * 200, T0 + number),
            )
    checkpoint(engine)
    engine.dispose()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return file


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "backwatch-data"
    folder.mkdir()
    return Path(shutil.copyfile(whole, folder / whole.name))


def rows_by_page(file: Path, table: str) -> dict[int, int]:
    """How many rows each leaf page of a table has, by its number, in the order of the table."""
    with closing(sqlite3.connect(file)) as connection:
        query = "SELECT pageno, ncell FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY path"
        try:
            return dict(connection.execute(query, (table,)))
        except sqlite3.OperationalError:
            pytest.skip("this SQLite has no dbstat")


def pages_of(file: Path, table: str) -> list[int]:
    return list(rows_by_page(file, table))


def destroy(file: Path, pages: list[int]) -> None:
    with closing(sqlite3.connect(file)) as connection:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with file.open("r+b") as out:
        for page in pages:
            out.seek((page - 1) * size)
            out.write(b"\xa5" * size)


def open_store(file: Path):
    return open_database(f"sqlite:///{file}")


def test_a_whole_store_comes_over_whole(store: Path, tmp_path: Path) -> None:
    before = store.read_bytes()
    found = salvage(store, tmp_path / "new.db")
    assert found.is_whole
    assert store.read_bytes() == before
    engine = open_store(tmp_path / "new.db")
    assert db_check(engine) == []
    assert len(load_results(engine, CHECKS[0], 0, 2**50)) == HOURS * 60
    assert [title for _, title in found.open_incidents] == ["shop/t1 is down, 399"]
    engine.dispose()


@pytest.mark.parametrize(("table", "of", "places"), [("hot", (3, 4, 10, -1), 3), ("block", (1,), 1)])
def test_pages_of_results_are_lost_and_all_others_are_not(
    store: Path, tmp_path: Path, table: str, of: tuple[int, ...], places: int
) -> None:
    rows = rows_by_page(store, table)
    pages = [list(rows)[number] for number in of]
    assert len(rows) > 20 or table == "block"
    destroy(store, pages)
    engine = open_store(store)
    assert any("damaged" in problem for problem in db_check(engine))
    engine.dispose()
    found = salvage(store, tmp_path / "new.db")
    (copied,) = [one for one in found.tables if one.table == table]
    assert copied.broken == places
    assert copied.rows == sum(rows.values()) - sum(rows[page] for page in pages)
    assert not found.lost_incidents
    assert len(found.open_incidents) == 1
    engine = open_store(tmp_path / "new.db")
    assert not any("damaged" in problem for problem in db_check(engine))
    at = T0 + HOURS * HOUR
    assert ResultWriter(engine).save([Result(CHECKS[0], "default", at, at, Status.UP)]) == 1
    engine.dispose()


def test_lost_sums_are_made_again_of_the_results(store: Path, tmp_path: Path) -> None:
    destroy(store, pages_of(store, "rollup_h")[:2])
    found = salvage(store, tmp_path / "new.db")
    assert not found.is_whole
    engine = open_store(tmp_path / "new.db")
    roll_up(engine, T0 + (HOURS + 1) * HOUR)
    assert db_check(engine) == []
    engine.dispose()


def test_lost_incidents_are_told(store: Path, tmp_path: Path) -> None:
    pages = pages_of(store, "incident")
    destroy(store, pages[2:3])
    found = salvage(store, tmp_path / "new.db")
    assert found.lost_incidents
    assert [title for _, title in found.open_incidents] == ["shop/t1 is down, 399"]


def test_the_last_page_of_incidents_takes_the_open_one_and_that_is_told(store: Path, tmp_path: Path) -> None:
    destroy(store, pages_of(store, "incident")[-1:])
    result = run(store, "salvage", str(tmp_path / "new.db"))
    assert result.exit_code == 1
    assert "open incidents that came over: 0" in result.output
    assert "incidents were lost, open ones may be among them" in result.output


def run(store: Path, *words: str) -> Said:
    config = store.parent.parent / "backwatch.yaml"
    config.write_text("sites: {shop: {targets: {t1: {tier: app, checks: [{kind: tcp, url: 'tcp://h:1'}]}}}}\n")
    return CliRunner().invoke(COMMANDS["db"], [*words, "-c", str(config)], obj=load_all)


def test_the_command_says_what_came_over(store: Path, tmp_path: Path) -> None:
    destroy(store, pages_of(store, "hot")[5:7])
    result = run(store, "check")
    assert result.exit_code == 1
    assert "damaged" in result.output
    result = run(store, "salvage", str(tmp_path / "new.db"))
    assert result.exit_code == 1
    assert "could not be read in 1 place" in result.output
    assert "shop/t1 is down, 399" in result.output
    assert (tmp_path / "new.db").stat().st_mode & 0o777 == 0o600
    assert run(store, "salvage", str(tmp_path / "new.db")).exit_code == 2
    assert [file.name for file in tmp_path.glob("*.part*")] == []
    assert list(store.parent.glob(".salvage-*")) == []


@pytest.mark.parametrize("content", [b"", b"this is a letter\n" * 400, b"\x00" * 8192], ids=["empty", "text", "zeros"])
def test_what_is_no_database_cannot_be_salvaged(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "backwatch.db"
    file.write_bytes(content)
    with pytest.raises(StoreError, match="no SQLite database"):
        salvage(file, tmp_path / "new.db")
    assert not (tmp_path / "new.db").exists()


def test_a_start_with_what_is_no_database_refuses_with_words(tmp_path: Path) -> None:
    folder = tmp_path / "backwatch-data"
    folder.mkdir()
    (folder / "backwatch.db").write_bytes(b"this is a letter\n" * 400)
    assert "no SQLite database" in run(folder / "backwatch.db", "check").output
    config = tmp_path / "backwatch.yaml"
    result = CliRunner().invoke(COMMANDS["worker"], ["-c", str(config)], obj=load_all)
    assert result.exit_code == 2
    assert "no SQLite database" in result.output
    assert (folder / "backwatch.db").read_bytes().startswith(b"this is a letter")


def test_a_start_with_a_broken_schema_refuses_and_names_the_way_out(store: Path) -> None:
    with store.open("r+b") as out:
        out.seek(100)
        out.write(b"\xa5" * 900)
    run(store, "check")
    result = CliRunner().invoke(COMMANDS["worker"], ["-c", str(store.parent.parent / "backwatch.yaml")], obj=load_all)
    assert result.exit_code == 2
    assert "damaged" in result.output
    assert "db salvage" in result.output


@pytest.mark.parametrize("keep", [0.0, 0.37, 0.8])
def test_a_truncated_log_costs_its_end_and_nothing_else(store: Path, tmp_path: Path, keep: float) -> None:
    engine = open_store(store)
    writer = ResultWriter(engine)
    for number in range(200):
        at = T0 + HOURS * HOUR + number * 1000
        writer.save([Result(CHECKS[0], "default", at, at, Status.UP)])
    cut = tmp_path / "cut"
    cut.mkdir()
    log = Path(f"{store}-wal")
    assert log.stat().st_size
    for file in (store, log):
        shutil.copyfile(file, cut / file.name)
    engine.dispose()
    with (cut / log.name).open("r+b") as out:
        out.truncate(int(log.stat().st_size * keep) if log.exists() else int((cut / log.name).stat().st_size * keep))
    found = salvage(cut / store.name, tmp_path / "new.db")
    assert found.is_whole
    for file in (tmp_path / "new.db", cut / store.name):
        engine = open_store(file)
        assert db_check(engine) == []
        held = len(load_results(engine, CHECKS[0], 0, 2**50))
        assert HOURS * 60 <= held < HOURS * 60 + 200 * max(keep, 0.01) + 5
        engine.dispose()


def test_a_file_cut_in_half_gives_what_is_left(store: Path, tmp_path: Path) -> None:
    half = store.stat().st_size // 2 // 8192
    left = sum(rows for page, rows in rows_by_page(store, "hot").items() if page <= half)
    with store.open("r+b") as out:
        out.truncate(half * 8192)
    found = salvage(store, tmp_path / "new.db")
    assert not found.is_whole
    (hot,) = [one for one in found.tables if one.table == "hot"]
    assert hot.rows == left > 1000
