"""Since when a check is known, over restarts."""

from sqlalchemy import Engine

from probes.store.first_seen import remember_first_seen


def test_restart_keeps_the_first_time(engine: Engine) -> None:
    assert remember_first_seen(engine, ["a/b/job"], 1000) == {"a/b/job": 1000}
    assert remember_first_seen(engine, ["a/b/job", "a/b/new"], 2000) == {"a/b/job": 1000, "a/b/new": 2000}


def test_removed_check_begins_anew(engine: Engine) -> None:
    remember_first_seen(engine, ["a/b/job"], 1000)
    remember_first_seen(engine, [], 2000)
    assert remember_first_seen(engine, ["a/b/job"], 3000) == {"a/b/job": 3000}


def test_ids_may_be_as_long_as_they_may_be(engine: Engine) -> None:
    long = ["/".join(["x" * 63] * 3), "/".join(["x" * 63] * 2 + ["y" * 63])]
    assert len(remember_first_seen(engine, long, 1000)) == 2
    assert set(remember_first_seen(engine, long, 2000).values()) == {1000}
