"""The store's file, deleted or replaced while it is in use."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from probes.result import Result, Status
from probes.store.database import Store, StoreError, open_database, open_store
from probes.store.file_watch import FileWatch
from probes.store.integrity import db_check
from probes.store.results import ResultWriter, load_results
from probes.store.schema import upgrade

HOUR = 1_760_000_400_000


def result(check_id: str, n: int) -> Result:
    return Result(check_id, "here", HOUR + n * 1000, HOUR + n * 1000, Status.UP)


@pytest.fixture(params=[open_store, open_database])
def store(request: pytest.FixtureRequest, url: str) -> Iterator[Store]:
    upgrade(url)
    store: Store = request.param(url)
    yield store
    store.dispose()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'own.db'}"


def test_untouched_file_is_no_trouble(store: Store) -> None:
    watch = FileWatch(store)
    ResultWriter(store).save([result("a/b/c", 1)])
    assert watch.look() == ""


def test_deleted_file_is_said_once_and_results_go_to_the_new_one(store: Store, url: str, tmp_path: Path) -> None:
    watch, writer = FileWatch(store), ResultWriter(store)
    writer.save([result("a/b/first", 1), result("a/b/second", 1)])
    (tmp_path / "own.db").unlink()
    assert "was deleted or replaced" in watch.look()
    with pytest.raises(StoreError, match="no tables"):
        writer.save([result("a/b/second", 2)])
    upgrade(url)
    assert writer.save([result("a/b/second", 2)]) == 1
    assert [one.slot_ms for one in load_results(store, "a/b/second", 0, 10**15)] == [HOUR + 2000]
    assert load_results(store, "a/b/first", 0, 10**15) == []
    assert (tmp_path / "own.db").stat().st_mode & 0o077 == 0


def test_restored_backup_is_used_at_once_with_its_own_ids(store: Store, url: str, tmp_path: Path) -> None:
    """The old file's log lies beside it still: it must not be played into the backup."""
    backup_url = f"sqlite:///{tmp_path / 'backup.db'}"
    upgrade(backup_url)
    backup = open_database(backup_url)
    its_writer = ResultWriter(backup)
    its_writer.save([result("z/z/z", 1), result("a/b/second", 1)])
    its_writer.close()  # or what it wrote stays in its log, which does not move along
    backup.dispose()
    watch, writer = FileWatch(store), ResultWriter(store)
    writer.save([result("a/b/first", n) for n in range(300)] + [result("a/b/second", 1)])
    shutil.move(tmp_path / "backup.db", tmp_path / "own.db")
    assert "was deleted or replaced" in watch.look()
    assert watch.look() == ""
    writer.save([result("a/b/second", 2)])
    assert [one.slot_ms for one in load_results(store, "a/b/second", 0, 10**15, newest_first=False)] == [
        HOUR + 1000,
        HOUR + 2000,
    ]
    assert len(load_results(store, "z/z/z", 0, 10**15)) == 1
    assert load_results(store, "a/b/first", 0, 10**15) == []
    engine = open_database(url)
    assert db_check(engine) == []
    engine.dispose()
