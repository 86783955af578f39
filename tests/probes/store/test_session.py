"""A connection that is kept loses no transaction, keeps no half of one, and notices another file in its place."""

from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from probes.store.database import Store, StoreError, is_sqlite, open_database, reading
from probes.store.meta import get_meta, put, set_meta
from probes.store.schema import upgrade
from probes.store.session import Session
from probes.store.statement import change
from probes.store.tables import meta


def test_transactions_follow_one_another_on_one_connection(store: Store) -> None:
    session = Session(store)
    for number in range(3):
        with session.writing() as link:
            put(link, "number", str(number))
        assert get_meta(store, "number") == str(number)
    session.close()


def test_what_raises_leaves_nothing_and_locks_nobody(store: Store) -> None:
    session = Session(store)

    def write_half() -> None:
        with session.writing() as link:
            put(link, "half", "1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    set_meta(store, "other", "1")
    assert get_meta(store, "half") is None
    with session.writing() as link:
        put(link, "whole", "1")
    assert get_meta(store, "whole") == "1"
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


def test_errors_are_told_as_errors_of_the_store(store: Store) -> None:
    session = Session(store)
    with pytest.raises(StoreError):
        session.look("SELECT 1 FROM no_such_table")
    with pytest.raises(StoreError), session.writing() as link:
        change(link, "INSERT INTO no_such_table VALUES (1)")
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
