"""Packed or hot, late or in time, killed in between or not: the same results, each once."""

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Engine, func, select, text

from probes.result import Phases, Reason, Result, Status
from probes.store import due, packing, retention, rollups, schema, upkeep
from probes.store.charts import load_changes, load_series, load_uptime
from probes.store.database import StoreError, open_database, reading, writing
from probes.store.history import first_ms
from probes.store.integrity import db_check
from probes.store.meta import HOT_MS, ROLLED_MS, UNPACKED_MS, get_meta, get_ms, set_meta
from probes.store.results import ResultWriter, load_fresh_results, load_results
from probes.store.retention import prune
from probes.store.rollups import roll_up
from probes.store.schema import upgrade
from probes.store.session import Session
from probes.store.states import load_standings
from probes.store.summary import load_summaries, write_summaries
from probes.store.tables import block, hot, rollup_d, rollup_h

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
T0 = 1_760_000_000_000 // DAY * DAY
CHECKS = ("shop/db/postgresql", "shop/web/http", "shop/cache/redis")


@dataclass(frozen=True)
class Ages:
    raw_s: float = 14 * 86400
    hourly_s: float = 90 * 86400
    daily_s: float = 730 * 86400


def make_results(hours: float, every_ms: int = 5 * MINUTE, seed: int = 1) -> list[Result]:
    rnd = random.Random(seed)
    made = []
    for slot_ms in range(T0, T0 + int(hours * HOUR), every_ms):
        for number, check_id in enumerate(CHECKS):
            status = rnd.choices(list(Status), [90, 5, 4, 1])[0]
            down = status is Status.DOWN
            made.append(
                Result(
                    check_id,
                    "default",
                    slot_ms + number,
                    slot_ms + number + rnd.randrange(50),
                    status,
                    reason=Reason.TCP_REFUSED if down else None,
                    message=f"refused by port {rnd.randrange(4)}" if down else "",
                    duration_s=round(rnd.lognormvariate(-5, 1), 5),
                    code=rnd.choice([200, 500, None]),
                    phases=Phases(0.001, None, None, round(rnd.random(), 5), 0.0),
                    metrics={"hit_ratio": rnd.random(), "n": rnd.randrange(5)} if rnd.random() < 0.5 else {},
                )
            )
    return made


def dump(engine: Engine) -> list[object]:
    """Everything that is said of the results, whatever numbers stand for series and errors."""
    found: list[object] = []
    for check_id in CHECKS:
        found += load_results(engine, check_id, 0, 2**53, newest_first=False)
    with reading(engine) as connection:
        for table in (rollup_h, rollup_d):
            found += map(tuple, connection.execute(select(table).order_by(table.c.bucket_ms, table.c.series_id)))
        found.append(connection.scalar(select(func.count()).select_from(hot)))
        found += map(tuple, connection.execute(select(block.c.id, block.c.n).order_by(block.c.id)))
    return [*found, *load_standings(engine)]


def register(engine: Engine, given: list[Result]) -> None:
    """The same numbers for the same series in every store."""
    ResultWriter(engine).save(given[: len(CHECKS)])


class Crash(BaseException):
    """The process dies here."""


@contextmanager
def crashing(monkeypatch: pytest.MonkeyPatch, rnd: random.Random, one_in: int) -> Iterator[None]:
    """Now and then a transaction dies: before it begins, before it commits, or after it has committed."""

    def deadly(begin: Callable[[Any], AbstractContextManager[object]]) -> Callable[[Any], object]:
        @contextmanager
        def write(of: Any) -> Iterator[object]:
            at = rnd.choice(["before", "within", "after"]) if rnd.randrange(one_in) == 0 else ""
            if at == "before":
                raise Crash
            with begin(of) as connection:
                yield connection
                if at == "within":
                    raise Crash
            if at == "after":
                raise Crash

        return write

    with monkeypatch.context() as patch:
        for room in (due, packing, retention, rollups, Session):
            patch.setattr(room, "writing", deadly(room.writing))
        yield


@pytest.mark.parametrize(
    ("engine", "seed"),
    [*(("sqlite", seed) for seed in range(8)), ("postgresql", 0), ("postgresql", 1)],
    indirect=["engine"],
)
def test_any_order_with_crashes_between_any_two_steps_ends_in_the_same_store(
    engine: Engine, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(packing, "PIECE", 17)
    monkeypatch.setattr(packing, "SLICE", 2)
    monkeypatch.setattr(packing, "ROWS", 20)
    monkeypatch.setattr(packing, "PAUSE_S", 0)
    rnd = random.Random(seed)
    given, now = make_results(27, 10 * MINUTE, seed), T0 + 27 * HOUR + 2 * MINUTE
    url = f"sqlite:///{tmp_path_factory.mktemp('ordered') / 'ordered.db'}"
    upgrade(url)
    ordered = open_database(url)
    register(ordered, given)
    ResultWriter(ordered).save(given)
    roll_up(ordered, now)

    register(engine, given)
    waiting = given * 2
    # Mostly in order; some late by minutes, some by hours.
    waiting.sort(key=lambda one: one.slot_ms + rnd.choice([0, 0, 0, rnd.randrange(HOUR), rnd.randrange(12 * HOUR)]))
    with crashing(monkeypatch, rnd, 10):
        writer = ResultWriter(engine)
        while waiting:
            clock = waiting[0].slot_ms
            try:
                writer.save(waiting[:60])
                waiting = waiting[60:]
                if rnd.random() < 0.3:
                    roll_up(engine, clock + 3 * MINUTE)
                    prune(engine, Ages(), clock)
            except Crash:
                writer = ResultWriter(engine)
    for _ in range(3):
        roll_up(engine, now)
    assert db_check(engine) == []
    assert dump(engine) == dump(ordered)
    ordered.dispose()


@pytest.fixture
def packed(engine: Engine) -> Engine:
    """Thirty hours of results, the first 28 of them closed."""
    given = make_results(30)
    ResultWriter(engine).save(given)
    roll_up(engine, T0 + 28 * HOUR + 2 * MINUTE)
    return engine


def test_hot_keeps_the_open_hours_and_blocks_the_rest(packed: Engine) -> None:
    with reading(packed) as connection:
        slots = connection.execute(select(func.min(hot.c.slot_ms), func.count())).one()
        blocks = connection.execute(select(func.count(), func.sum(block.c.n)).select_from(block)).one()
        assert get_ms(connection, HOT_MS) == T0 + 28 * HOUR
        assert first_ms(connection) == T0
    assert tuple(slots) == (T0 + 28 * HOUR, 2 * 12 * 3)
    assert (blocks[0], int(blocks[1])) == (28 * 3, 28 * 12 * 3)


def test_readers_see_packed_and_hot_results_as_one(packed: Engine) -> None:
    given = [one for one in make_results(30) if one.check_id == CHECKS[1]]
    assert load_results(packed, CHECKS[1], 0, 2**53, newest_first=False) == given
    assert load_results(packed, CHECKS[1], 0, 2**53) == given[::-1]
    for limit in (1, 5, 30, 100, 500):
        assert load_results(packed, CHECKS[1], 0, 2**53, limit=limit) == given[::-1][:limit]
    from_ms, to_ms = T0 + 5 * HOUR + 7 * MINUTE, T0 + 29 * HOUR + 31 * MINUTE
    inside = [one for one in given if from_ms <= one.slot_ms < to_ms]
    assert load_results(packed, CHECKS[1], from_ms, to_ms, newest_first=False) == inside
    points = load_series(packed, CHECKS[1], from_ms, to_ms)
    assert sum(point.n for point in points if point.t_ms >= from_ms) >= len(inside) - 1
    uptime = load_uptime(packed, CHECKS[1], from_ms, to_ms)
    assert uptime.judged == sum(one.status is not Status.UNKNOWN for one in inside)
    assert uptime.ok == sum(one.status in (Status.UP, Status.DEGRADED) for one in inside)
    changed = [(a.status, b) for a, b in pairwise(given) if a.status != b.status]
    expected = [(old, b.status, b.slot_ms, b.message) for old, b in changed if from_ms <= b.slot_ms < to_ms]
    found = load_changes(packed, CHECKS[1], from_ms, to_ms)
    assert [(one.before, one.after, one.slot_ms, one.message) for one in found] == expected


def test_fresh_results_reach_into_blocks(packed: Engine) -> None:
    seen = {(check_id, "default"): T0 + 27 * HOUR + 30 * MINUTE for check_id in CHECKS}
    fresh = load_fresh_results(packed, seen)
    assert len(fresh) == 3 * 30 - 1  # the first check's own slot was seen
    assert db_check(packed) == []


def test_late_result_waits_in_hot_and_is_merged(packed: Engine) -> None:
    given = make_results(30)
    late = replace(given[0], slot_ms=T0 + 4 * HOUR + 77_000, started_ms=T0 + 4 * HOUR + 77_000)
    again = next(one for one in given if one.slot_ms == T0 + 5 * HOUR)
    assert ResultWriter(packed).save([late, replace(again, status=Status.DOWN)]) == 1
    expected = sorted([*(one for one in given if one.check_id == CHECKS[0]), late], key=lambda one: one.slot_ms)
    assert load_results(packed, CHECKS[0], 0, 2**53, newest_first=False) == expected
    assert load_results(packed, CHECKS[0], 0, 2**53) == expected[::-1]
    assert db_check(packed) == []
    assert roll_up(packed, T0 + 28 * HOUR + 3 * MINUTE) == 1
    assert load_results(packed, CHECKS[0], 0, 2**53, newest_first=False) == expected
    with reading(packed) as connection:
        assert connection.scalar(select(func.count()).where(hot.c.slot_ms < T0 + 28 * HOUR)) == 0
        n = connection.scalar(
            select(rollup_h.c.n).where(rollup_h.c.bucket_ms == T0 + 4 * HOUR, rollup_h.c.series_id == 1)
        )
    assert n == 13
    assert db_check(packed) == []


def test_late_result_that_comes_while_rows_are_deleted_stays(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = ResultWriter(engine)
    given = make_results(30)
    writer.save(given)
    late = replace(given[0], slot_ms=T0 + 4 * HOUR + 77_000)
    real = packing._delete_piece

    def interfere(*arguments: object) -> int:
        writer.save([late])
        return real(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(packing, "_delete_piece", interfere)
        roll_up(engine, T0 + 30 * HOUR + 2 * MINUTE)
    assert late.slot_ms in [one.slot_ms for one in load_results(engine, CHECKS[0], 0, 2**53)]
    roll_up(engine, T0 + 30 * HOUR + 2 * MINUTE)
    assert db_check(engine) == []
    assert late.slot_ms in [one.slot_ms for one in load_results(engine, CHECKS[0], 0, 2**53)]


def test_slice_that_another_process_wrote_meanwhile_is_done_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = ResultWriter(engine)
    given = make_results(1)
    writer.save(given)
    late = replace(given[0], slot_ms=T0 + 77_000)
    real, calls = packing.pack, 0

    def interfere(*arguments: object) -> bytes:
        nonlocal calls
        calls += 1
        if calls == 1:  # as if we had read long ago: the late one came, was packed, and its row is gone
            writer.save([late])
            packing.pack_hour(engine, T0)
            with writing(engine) as connection:
                connection.execute(text("DELETE FROM hot"))
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(packing, "pack", interfere)
    packing.pack_hour(engine, T0)
    with reading(engine) as connection:
        assert connection.scalar(select(block.c.n).order_by(block.c.id)) == 13


def test_summary_counts_hours_that_were_packed_since_it_was_written(engine: Engine) -> None:
    given = make_results(12)
    writer = ResultWriter(engine)
    writer.save([one for one in given if one.slot_ms < T0 + 3 * HOUR])
    roll_up(engine, T0 + 3 * HOUR + 2 * MINUTE)
    write_summaries(engine, T0 + 3 * HOUR + 2 * MINUTE)
    load_summaries(engine)
    writer.save(given)
    roll_up(engine, T0 + 12 * HOUR + 2 * MINUTE)  # the summaries are not rewritten
    found = load_summaries(engine)[CHECKS[0], "default"]
    assert sum(map(sum, found.bars)) == 12 * 12


def test_store_of_the_first_release_is_packed(engine: Engine) -> None:
    # As migration 0004 finds it: everything in `hot`, hours rolled up, and no blocks.
    given = make_results(20)
    ResultWriter(engine).save(given)
    roll_up(engine, T0 + 20 * HOUR + 2 * MINUTE)
    with writing(engine) as connection:
        connection.execute(text("DELETE FROM block"))
        connection.execute(text("DELETE FROM hot"))
        connection.execute(text("DELETE FROM meta WHERE key = 'hot_ms'"))
    set_meta(engine, UNPACKED_MS, str(T0 + 20 * HOUR))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(due, "mark", lambda *_: None)
        ResultWriter(engine).save(given)
    expected = load_results(engine, CHECKS[0], 0, 2**53)
    assert db_check(engine) == []
    assert upkeep.is_due(engine, T0 + 20 * HOUR + 3 * MINUTE)
    assert roll_up(engine, T0 + 20 * HOUR + 3 * MINUTE) == 20
    with reading(engine) as connection:
        assert connection.scalar(select(func.count()).select_from(hot)) == 0
    assert load_results(engine, CHECKS[0], 0, 2**53) == expected
    assert get_meta(engine, UNPACKED_MS) is None
    assert not upkeep.is_due(engine, T0 + 20 * HOUR + 3 * MINUTE)
    assert db_check(engine) == []


def test_database_made_before_blocks_is_upgraded_and_packed(url: str) -> None:
    engine, given = open_database(url), make_results(20)
    with writing(engine) as connection:
        config = schema._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
    ResultWriter(engine).save(given)
    set_meta(engine, ROLLED_MS, str(T0 + 20 * HOUR))
    done = upgrade(url)
    assert done.before == "0002"
    expected = [one for one in given if one.check_id == CHECKS[2]]
    assert load_results(engine, CHECKS[2], 0, 2**53, newest_first=False) == expected
    assert roll_up(engine, T0 + 20 * HOUR + 3 * MINUTE) == 20
    assert load_results(engine, CHECKS[2], 0, 2**53, newest_first=False) == expected
    with reading(engine) as connection:
        assert connection.scalar(select(func.count()).select_from(hot)) == 0
    assert db_check(engine) == []
    engine.dispose()


def test_damaged_block_is_left_out_and_said(packed: Engine, caplog: pytest.LogCaptureFixture) -> None:
    with writing(packed) as connection:
        key = connection.scalar(select(block.c.id).order_by(block.c.id))
        connection.execute(block.update().where(block.c.id == key).values(data=b"\x01" + b"x" * 90))
    assert len(load_results(packed, CHECKS[0], 0, 2**53)) == 29 * 12
    assert "is left out" in caplog.text
    assert any("a block is damaged" in problem for problem in db_check(packed))
    late = replace(make_results(1)[0], slot_ms=T0 + 77_000)
    assert ResultWriter(packed).save([late]) == 1
    roll_up(packed, T0 + 28 * HOUR + 3 * MINUTE)
    assert len(load_results(packed, CHECKS[0], 0, 2**53)) == 29 * 12 + 1


def test_upkeep_runs_in_a_process_of_its_own(engine: Engine) -> None:
    ResultWriter(engine).save(make_results(6))
    work = upkeep.Upkeep(engine.url.render_as_string(hide_password=False))
    work.run(Ages(), T0 + 6 * HOUR + 2 * MINUTE)
    with reading(engine) as connection:
        assert connection.scalar(select(func.count()).select_from(block)) == 18
    assert load_summaries(engine)[CHECKS[0], "default"].p50_s
    assert db_check(engine) == []


def test_upkeep_that_fails_says_why(tmp_path: object) -> None:
    with pytest.raises(StoreError, match="run `backwatch db upgrade`"):
        upkeep.Upkeep(f"sqlite:///{tmp_path}/empty.db").run(Ages(), T0)


def test_second_upkeep_leaves_the_first_alone(engine: Engine) -> None:
    with upkeep._alone(engine) as first, upkeep._alone(engine) as second:
        assert (first, second) == (True, False)
    assert upkeep.keep_up(engine, Ages(), T0)
