"""A connection that is kept loses no transaction, keeps no half of one, and notices another file in its place."""

from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from probes.store.database import StoreError, is_sqlite, open_database, reading
from probes.store.meta import get_meta, put, set_meta
from probes.store.schema import upgrade
from probes.store.session import Session
from probes.store.tables import meta


def test_transactions_follow_one_another_on_one_connection(engine: Engine) -> None:
    session = Session(engine)
    for number in range(3):
        with session.writing() as connection:
            put(connection, "number", str(number))
        assert get_meta(engine, "number") == str(number)
    session.close()


def test_statements_of_the_driver_are_committed_too(sqlite_engine: Engine) -> None:
    session = Session(sqlite_engine)
    with session.writing() as connection:
        driver = connection.connection.dbapi_connection
        assert driver is not None
        driver.cursor().execute("INSERT INTO meta VALUES ('raw', '1')")
    assert get_meta(sqlite_engine, "raw") == "1"
    session.close()


@pytest.mark.parametrize("through_sqlalchemy", [True, False])
def test_what_raises_leaves_nothing_and_locks_nobody(sqlite_engine: Engine, through_sqlalchemy: bool) -> None:
    session = Session(sqlite_engine)

    def write_half() -> None:
        with session.writing() as connection:
            if through_sqlalchemy:
                put(connection, "half", "1")
            else:
                connection.connection.cursor().execute("INSERT INTO meta VALUES ('half', '1')")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    set_meta(sqlite_engine, "other", "1")
    assert get_meta(sqlite_engine, "half") is None
    with session.writing() as connection:
        put(connection, "whole", "1")
    assert get_meta(sqlite_engine, "whole") == "1"
    session.close()


def test_a_look_sees_what_others_wrote_and_leaves_no_transaction_open(engine: Engine) -> None:
    session = Session(engine)
    assert session.look("SELECT count(*), max(key) FROM meta WHERE key = 'told'") == (0, None)
    set_meta(engine, "told", "1")
    assert session.look("SELECT count(*), max(key) FROM meta WHERE key = 'told'") == (1, "told")
    if is_sqlite(engine):
        with closing(engine.raw_connection()) as connection:
            cursor = connection.cursor()
            assert cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
    session.close()


def test_errors_are_told_as_errors_of_the_store(engine: Engine) -> None:
    session = Session(engine)
    with pytest.raises(StoreError):
        session.look("SELECT 1 FROM no_such_table")
    with pytest.raises(StoreError), session.writing() as connection:
        connection.exec_driver_sql("INSERT INTO no_such_table VALUES (1)")
    assert session.look("SELECT 1, 2") == (1, 2)
    session.close()


def test_file_put_in_its_place_is_what_is_written_to(sqlite_engine: Engine, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    upgrade(f"sqlite:///{other}")
    session = Session(sqlite_engine)
    with session.writing() as connection:
        put(connection, "first", "1")
    other.replace(str(sqlite_engine.url.database))
    with session.writing() as connection:
        put(connection, "second", "1")
    session.close()
    fresh = open_database(str(sqlite_engine.url))
    with reading(fresh) as connection:
        keys = set(connection.scalars(select(meta.c.key)))
    fresh.dispose()
    assert "second" in keys
    assert "first" not in keys
