"""Migrations: they make the tables of the code, once, whoever asks, and refuse what they do not know."""

import importlib
import multiprocessing
import pkgutil
import sqlite3
import stat
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, text

import alerts
from probes.result import Result, Status
from probes.store import schema
from probes.store.database import open_database, reading, writing
from probes.store.maintenance import db_backup
from probes.store.results import ResultWriter, load_results
from probes.store.schema import SchemaError, check_schema, newest_revision, upgrade
from probes.store.tables import metadata


def import_alert_tables() -> None:
    for module in pkgutil.iter_modules(alerts.__path__):
        if module.name.startswith("store"):
            importlib.import_module(f"alerts.{module.name}")


def test_migrated_database_has_the_tables_of_the_code(engine: Engine) -> None:
    import_alert_tables()
    with reading(engine) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_upgrade_of_an_upgraded_database_does_nothing(url: str) -> None:
    first = upgrade(url)
    assert (first.before, first.after, first.backup) == (None, newest_revision(), None)
    assert upgrade(url) == schema.Upgrade(newest_revision(), newest_revision())
    engine = open_database(url)
    check_schema(engine)
    engine.dispose()


def _upgrade_and_save(url: str, number: int) -> None:
    upgrade(url)
    engine = open_database(url)
    ResultWriter(engine).save([Result("shop/db/tcp", "default", number, number, Status.UP)])
    engine.dispose()


def test_many_processes_may_upgrade_and_write_at_once(url: str) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_upgrade_and_save, args=(url, number)) for number in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 6
    engine = open_database(url)
    assert len(load_results(engine, "shop/db/tcp", 0, 100)) == 6
    engine.dispose()


def test_pages_are_set_before_the_first_table(sqlite_engine: Engine) -> None:
    with reading(sqlite_engine) as connection:
        pragmas = {
            name: connection.scalar(text(f"PRAGMA {name}")) for name in ("page_size", "auto_vacuum", "journal_mode")
        }
    assert pragmas == {"page_size": 8192, "auto_vacuum": 2, "journal_mode": "wal"}


def test_file_is_readable_by_its_owner_only(sqlite_engine: Engine, tmp_path: Path) -> None:
    ResultWriter(sqlite_engine).save([Result("shop/db/tcp", "default", 1, 1, Status.UP)])
    db_backup(sqlite_engine, tmp_path / "copy.db")
    for name in ("backwatch.db", "backwatch.db-wal", "backwatch.db-shm", "copy.db"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600, name


def test_database_without_tables_is_named(url: str) -> None:
    engine = open_database(url)
    with pytest.raises(SchemaError, match="has no tables yet: run `backwatch db upgrade`"):
        check_schema(engine)
    engine.dispose()


def test_newer_schema_is_refused_with_words(engine: Engine) -> None:
    _set_revision(engine, "9999")
    for refuse in (check_schema, upgrade):
        with pytest.raises(SchemaError, match="newer Backwatch \\(schema 9999") as refused:
            refuse(engine)
        assert "postgres:" not in str(refused.value)


def test_tables_of_another_program_are_refused(url: str) -> None:
    engine = open_database(url)
    with writing(engine) as connection:
        connection.execute(text("CREATE TABLE heartbeat (id INTEGER)"))
    with pytest.raises(SchemaError, match=r"another program \(heartbeat"):
        upgrade(engine)
    engine.dispose()


def test_older_file_is_copied_before_it_is_changed(sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    ResultWriter(sqlite_engine).save([Result("shop/db/tcp", "default", 1, 1, Status.UP)])
    _pretend_an_upgrade(monkeypatch, "CREATE TABLE later (id INTEGER)")
    done = upgrade(sqlite_engine)
    assert done.backup is not None
    with sqlite3.connect(done.backup) as copy:
        assert copy.execute("SELECT count(*) FROM hot").fetchone() == (1,)
        assert copy.execute("SELECT name FROM sqlite_master WHERE name = 'later'").fetchone() is None
    copy.close()


def test_upgrade_that_fails_changes_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    _pretend_an_upgrade(monkeypatch, "CREATE TABLE later (id INTEGER)", "SELECT * FROM nowhere")
    with pytest.raises(Exception, match="nowhere"):
        upgrade(engine)
    with pytest.raises(Exception, match="later"), reading(engine) as connection:
        connection.execute(text("SELECT * FROM later"))


def _pretend_an_upgrade(monkeypatch: pytest.MonkeyPatch, *statements: str) -> None:
    def run(connection: object) -> None:
        for statement in statements:
            connection.execute(text(statement))  # type: ignore[attr-defined]

    monkeypatch.setattr(schema, "newest_revision", lambda: "0999")
    monkeypatch.setattr(schema, "_run", run)


def _set_revision(engine: Engine, revision: str) -> None:
    with writing(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
