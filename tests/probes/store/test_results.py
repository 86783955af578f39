"""Results: what is saved comes back, once, and the state follows forward only."""

from dataclasses import replace

import pytest
from sqlalchemy import Engine, func, select

from probes.result import Phases, Reason, Result, Status
from probes.store.database import Store, reading
from probes.store.results import ResultWriter, load_fresh_results, load_results
from probes.store.states import load_standings
from probes.store.tables import error, hot, state

T0 = 1_760_000_400_000
MINUTE = 60_000


def result(slot: int = 0, status: Status = Status.UP, check_id: str = "shop/db/postgresql", **values: object) -> Result:
    slot_ms = T0 + slot * MINUTE
    base = Result(check_id, "default", slot_ms, slot_ms + 7, status, duration_s=0.0123)
    return replace(base, **values)  # type: ignore[arg-type]


def down(slot: int, message: str = "connection refused by 10.0.0.5:5432", **values: object) -> Result:
    return result(slot, Status.DOWN, reason=Reason.TCP_REFUSED, message=message, **values)


def load_all(store: Store, check_id: str = "shop/db/postgresql") -> list[Result]:
    return load_results(store, check_id, 0, 2**53, newest_first=False)


def test_result_comes_back_as_it_was_saved(store: Store) -> None:
    saved = result(
        status=Status.DEGRADED,
        reason=Reason.VALUE_LIMIT,
        message="hit_ratio 0.43 below 0.85",
        duration_s=0.204001,
        code=200,
        phases=Phases(0.001, 0.002, None, 0.2, 0.001001),
        metrics={"hit_ratio": 0.43, "connections": 17},
    )
    assert ResultWriter(store).save([saved]) == 1
    assert load_all(store) == [saved]


def test_second_result_of_a_slot_is_ignored(engine: Engine) -> None:
    writer = ResultWriter(engine)
    assert writer.save([result(0), result(1), replace(result(1), status=Status.DOWN)]) == 2
    assert writer.save([replace(result(1), status=Status.DOWN), result(2)]) == 1
    assert [one.status for one in load_all(engine)] == [Status.UP] * 3
    assert load_standings(engine)[0].since_ms == T0


def test_newest_results_come_first_and_limited(store: Store) -> None:
    ResultWriter(store).save([result(slot) for slot in range(5)])
    found = load_results(store, "shop/db/postgresql", T0 + MINUTE, T0 + 4 * MINUTE, limit=2)
    assert [one.slot_ms for one in found] == [T0 + 3 * MINUTE, T0 + 2 * MINUTE]


def test_standing_says_since_when_and_why(engine: Engine) -> None:
    writer = ResultWriter(engine)
    writer.save([result(0), down(1)])
    writer.save([down(2), result(0, check_id="shop/web/http")])
    first, second = load_standings(engine)
    assert (first.status, first.since_ms, first.slot_ms) == (Status.DOWN, T0 + MINUTE, T0 + 2 * MINUTE)
    assert (first.reason, first.message) == (Reason.TCP_REFUSED, "connection refused by 10.0.0.5:5432")
    assert (second.check_id, second.status) == ("shop/web/http", Status.UP)


@pytest.mark.parametrize(
    ("batches", "since", "prev"),
    [
        ([[result(0), result(2)], [result(1)]], 0, 1),
        ([[result(0), result(2)], [down(1)]], 2, 1),
        ([[down(0), result(2)], [result(1)]], 1, 1),
        ([[down(0), result(3)], [result(1), result(2)]], 1, 2),
        ([[result(5)], [result(1), down(2), result(3)]], 3, 3),
        ([[result(5)], [down(5)]], 5, None),
        ([[result(1), result(3)], [down(1), result(2)]], 1, 2),
        ([[result(4), down(0)], [result(2)], [down(3), result(1)]], 4, 3),
    ],
    ids=["filled gap", "other status", "earlier since", "two", "before all", "duplicate", "duplicate late", "mixed"],
)
def test_late_result_never_turns_the_state_back(
    engine: Engine, batches: list[list[Result]], since: int, prev: int | None
) -> None:
    writer = ResultWriter(engine)
    for batch in batches:
        writer.save(batch)
    newest = max(one.slot_ms for batch in batches for one in batch)
    with reading(engine) as connection:
        row = connection.execute(select(state)).one()
    assert (row.slot_ms, row.since_ms) == (newest, T0 + since * MINUTE)
    assert row.prev_slot_ms == (None if prev is None else T0 + prev * MINUTE)


def test_fresh_results_are_all_that_came_since(store: Store) -> None:
    writer = ResultWriter(store)
    key = ("shop/db/postgresql", "default")
    writer.save([result(slot) for slot in range(3)])
    assert [one.slot_ms for one in load_fresh_results(store, {key: T0 + MINUTE})] == [T0 + 2 * MINUTE]
    writer.save([down(3), result(4), result(4, check_id="shop/web/http")])
    fresh = load_fresh_results(store, {key: T0 + 2 * MINUTE})
    assert [(one.check_id, one.slot_ms) for one in fresh] == [
        (key[0], T0 + 3 * MINUTE),
        (key[0], T0 + 4 * MINUTE),
        ("shop/web/http", T0 + 4 * MINUTE),
    ]
    assert fresh[0] == down(3)
    assert load_fresh_results(store, {(one.check_id, "default"): one.slot_ms for one in fresh}) == []


def test_fresh_results_include_one_that_came_late_between(store: Store) -> None:
    writer = ResultWriter(store)
    writer.save([result(0), result(2)])
    writer.save([down(1)])
    fresh = load_fresh_results(store, {("shop/db/postgresql", "default"): T0})
    assert [one.status for one in fresh] == [Status.DOWN, Status.UP]


def test_fresh_results_of_a_stopped_check_are_its_newest(store: Store) -> None:
    writer = ResultWriter(store)
    writer.save([result(slot, check_id="shop/old/tcp") for slot in range(3)])
    writer.save([result(slot + 600) for slot in range(200)])
    fresh = load_fresh_results(store, {})
    assert [one.slot_ms for one in fresh if one.check_id == "shop/old/tcp"] == [T0 + 2 * MINUTE]
    assert len(fresh) == 1 + 180


def test_ids_are_right_after_a_rollback(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = ResultWriter(store)
    with monkeypatch.context() as patch:
        patch.setattr("probes.store.results.update_states", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            writer.save([down(0, check_id="shop/lost/tcp", message="lost")])
    ResultWriter(store).save([down(0, check_id="shop/other/tcp", message="other")])
    writer.save([down(1, check_id="shop/lost/tcp", message="lost")])
    found = load_all(store, "shop/lost/tcp")
    assert [(one.slot_ms, one.message) for one in found] == [(T0 + MINUTE, "lost")]
    assert [one.message for one in load_all(store, "shop/other/tcp")] == ["other"]


def test_texts_that_are_always_new_do_not_fill_the_store(engine: Engine) -> None:
    writer = ResultWriter(engine)
    for start in range(0, 400, 100):
        writer.save(
            [down(slot, message=f"session {slot} of pid {slot * 7} lost") for slot in range(start, start + 100)]
        )
    with reading(engine) as connection:
        assert connection.scalar(select(func.count()).select_from(error)) <= 51
    assert load_all(engine)[-1].message == "session # of pid # lost"


def test_what_no_column_can_hold_is_kept_as_far_as_it_goes(store: Store) -> None:
    odd = down(0, message="a\0b " + "x" * 900, code=2**40, duration_s=-0.1, metrics={"a": float("nan"), "b": 1.0})
    assert ResultWriter(store).save([odd]) == 1
    found = load_all(store)[0]
    assert (found.duration_s, found.metrics, found.code) == (0.0, {"b": 1.0}, 2**31 - 1)
    assert found.message.startswith("a b xxx")
    assert len(found.message) == 500


def test_location_keeps_results_apart(engine: Engine) -> None:
    ResultWriter(engine).save([result(0), replace(result(0, Status.DOWN), location="paris")])
    assert [one.location for one in load_standings(engine)] == ["default", "paris"]
    assert len(load_results(engine, "shop/db/postgresql", 0, 2**53, location="paris")) == 1


def test_large_batch_is_saved_whole(engine: Engine) -> None:
    batch = [result(slot, check_id=f"shop/t{number}/tcp") for slot in range(20) for number in range(1100)]
    assert ResultWriter(engine).save(batch) == len(batch)
    with reading(engine) as connection:
        assert connection.scalar(select(func.count()).select_from(hot)) == len(batch)
    assert len(load_standings(engine)) == 1100
