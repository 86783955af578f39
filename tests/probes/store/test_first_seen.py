"""Since when a check is known, over restarts."""

from probes.store.database import Store
from probes.store.first_seen import remember_first_seen


def test_restart_keeps_the_first_time(store: Store) -> None:
    assert remember_first_seen(store, ["a/b/job"], 1000) == {"a/b/job": 1000}
    assert remember_first_seen(store, ["a/b/job", "a/b/new"], 2000) == {"a/b/job": 1000, "a/b/new": 2000}


def test_removed_check_begins_anew(store: Store) -> None:
    remember_first_seen(store, ["a/b/job"], 1000)
    remember_first_seen(store, [], 2000)
    assert remember_first_seen(store, ["a/b/job"], 3000) == {"a/b/job": 3000}


def test_ids_may_be_as_long_as_they_may_be(store: Store) -> None:
    long = ["/".join(["x" * 63] * 3), "/".join(["x" * 63] * 2 + ["y" * 63])]
    assert len(remember_first_seen(store, long, 1000)) == 2
    assert set(remember_first_seen(store, long, 2000).values()) == {1000}
