"""The look at the whole file: what it finds, and what keeps others from writing."""

import contextlib
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import Engine

from probes.result import Result, Status
from probes.store.damage import look_for_damage
from probes.store.database import StoreError, database_file
from probes.store.maintenance import checkpoint, why_not_writable
from probes.store.results import ResultWriter

T0 = 1_760_000_400_000


@pytest.fixture
def file(sqlite_engine: Engine) -> Path:
    at = [T0 + number * 1000 for number in range(3000)]
    ResultWriter(sqlite_engine).save([Result("shop/db/tcp", "default", slot, slot, Status.UP) for slot in at])
    checkpoint(sqlite_engine)
    found = database_file(sqlite_engine)
    assert found is not None
    return found


def test_a_sound_file_is_sound_and_a_server_is_not_asked(file: Path) -> None:
    assert look_for_damage(f"sqlite:///{file}") == ""
    assert look_for_damage("postgresql+psycopg://nobody@127.0.0.1:1/none") == ""


def test_a_flipped_page_in_the_middle_is_named_with_its_table(file: Path, sqlite_engine: Engine) -> None:
    with contextlib.closing(sqlite3.connect(file)) as connection:
        query = "SELECT pageno FROM dbstat WHERE name = 'hot' AND pagetype = 'leaf' ORDER BY path"
        try:
            pages = [page for (page,) in connection.execute(query)]
        except sqlite3.OperationalError:
            pytest.skip("this SQLite has no dbstat")
    sqlite_engine.dispose()
    data = bytearray(file.read_bytes())
    start = (pages[len(pages) // 2] - 1) * 8192
    data[start : start + 8192] = bytes(byte ^ 0x5A for byte in data[start : start + 8192])
    file.write_bytes(data)
    said = look_for_damage(f"sqlite:///{file}")
    assert "is damaged (table hot)" in said
    assert "db salvage" in said


def test_a_file_that_cannot_be_asked_is_no_sound_file(file: Path, sqlite_engine: Engine) -> None:
    sqlite_engine.dispose()
    file.unlink()
    file.mkdir()
    with pytest.raises(StoreError):
        look_for_damage(f"sqlite:///{file}")


def test_a_lock_is_said_while_it_is_held(file: Path, sqlite_engine: Engine) -> None:
    assert why_not_writable(sqlite_engine) == ""
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert why_not_writable(sqlite_engine) == "the store is locked by another process"
        other.execute("ROLLBACK")
    assert why_not_writable(sqlite_engine) == ""
