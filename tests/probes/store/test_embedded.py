"""The driver alone reads an address as SQLAlchemy does, opens a file as it is opened there, and says the same words."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from probes.store.database import StoreError, database_file, open_database, open_store, reading, say_where, writing
from probes.store.embedded import EmbeddedStore, embedded_store, file_of
from probes.store.meta import get_meta, put, set_meta
from probes.store.schema import upgrade
from probes.store.statement import change, rows, scalar

PRAGMAS = ("journal_mode", "page_size", "auto_vacuum", "synchronous", "journal_size_limit", "busy_timeout")


@pytest.fixture
def store(sqlite_url: str) -> Iterator[EmbeddedStore]:
    upgrade(sqlite_url)
    store = embedded_store(sqlite_url)
    assert store is not None
    yield store
    store.dispose()


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///own.db",
        "sqlite:////tmp/own.db",
        "sqlite+pysqlite:////tmp/own.db",
        "sqlite:////tmp/a b%20c/own.db",
        "sqlite:////tmp/%C3%BC%40%3A/own.db",
        "sqlite:////tmp/own.db?timeout=3",
        "sqlite://",
        "sqlite:///:memory:",
        "postgresql+psycopg://user:secret@host/own.db",
    ],
)
def test_an_address_names_the_file_that_sqlalchemy_opens(url: str) -> None:
    parsed = make_url(url)
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:")
    expected = Path(str(parsed.database)).absolute() if is_file else None
    assert file_of(url) == database_file(url) == database_file(parsed) == expected


@pytest.mark.parametrize("name", ["own.db", "ü @:%20#.db"])
def test_a_file_of_any_name_is_the_same_for_both(tmp_path: Path, name: str) -> None:
    url = make_url("sqlite://").set(database=str(tmp_path / name)).render_as_string(hide_password=False)
    upgrade(url)
    store, engine = open_store(url), open_database(url)
    assert isinstance(store, EmbeddedStore)
    assert database_file(store) == database_file(engine) == tmp_path / name
    assert say_where(store) == say_where(engine) == str(tmp_path / name)
    set_meta(store, "key", "value")
    assert get_meta(engine, "key") == "value"
    store.dispose()
    engine.dispose()


@pytest.mark.parametrize("url", ["sqlite:///own.db?timeout=3", "sqlite://", "postgresql+psycopg://host/own"])
def test_what_is_more_or_other_than_a_file_is_left_to_sqlalchemy(url: str) -> None:
    assert embedded_store(url) is None


def test_a_file_is_opened_as_sqlalchemy_opens_it(tmp_path: Path) -> None:
    found = []
    for name, begin in (("one", open_store), ("other", open_database)):
        store = begin(f"sqlite:///{tmp_path / name}/own.db")
        with reading(store) as link:
            found.append([scalar(link, f"PRAGMA {pragma}") for pragma in PRAGMAS])
        assert (tmp_path / name / "own.db").stat().st_mode & 0o777 == 0o600
        store.dispose()
    assert found[0] == found[1]


def test_a_connection_is_used_again_unless_its_user_raised(store: EmbeddedStore) -> None:
    with reading(store) as first:
        pass
    with reading(store) as again, reading(store) as beside:
        assert again is first
        assert beside is not first

    def fail() -> None:
        with writing(store) as link:
            put(link, "half", "1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert get_meta(store, "half") is None


def test_a_reader_sees_one_moment_of_the_store(store: EmbeddedStore) -> None:
    with reading(store) as link:
        assert scalar(link, "SELECT value FROM meta WHERE key = 'late'") is None
        set_meta(store, "late", "1")
        assert scalar(link, "SELECT value FROM meta WHERE key = 'late'") is None
    assert get_meta(store, "late") == "1"


def test_threads_write_one_after_another(store: EmbeddedStore) -> None:
    def add() -> None:
        for _ in range(50):
            with writing(store) as link:
                put(link, "count", str(int(scalar(link, "SELECT value FROM meta WHERE key = 'count'") or 0) + 1))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert get_meta(store, "count") == "200"


def test_a_store_that_is_locked_is_said_in_words(store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("probes.store.embedded.BUSY_TIMEOUT_MS", 100)
    with closing(sqlite3.connect(store.file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"locked by another process for more than 0\.1 s"):
            set_meta(store, "key", "value")
    set_meta(store, "key", "value")


def test_a_file_that_is_no_store_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "own.db").write_bytes(b"something else entirely, and long enough to be looked at" * 20)
    store = open_store(f"sqlite:///{tmp_path / 'own.db'}")
    with pytest.raises(StoreError, match="is no SQLite database"):
        get_meta(store, "key")


def test_a_broken_promise_of_the_caller_is_not_the_stores_state(store: EmbeddedStore) -> None:
    with pytest.raises(sqlite3.IntegrityError), writing(store) as link:
        change(link, "INSERT INTO meta (key, value) VALUES ('key', NULL)")


def test_lists_stand_after_in_even_when_they_are_empty(store: EmbeddedStore) -> None:
    with writing(store) as link:
        for key in ("a", "b", "c"):
            put(link, key, key)
        query = "SELECT key FROM meta WHERE key IN :keys AND key <> :key ORDER BY key"
        assert rows(link, query, keys=["a", "c", "b"], key="b") == [("a",), ("c",)]
        assert rows(link, query, keys=[], key="b") == []
