"""Rollups, charts and summaries agree with a plain count of the results, whatever order they came in."""

import math
import random
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from probes.result import Phases, Reason, Result, Status
from probes.store import packing
from probes.store.charts import load_changes, load_series, load_uptime
from probes.store.database import reading
from probes.store.integrity import db_check
from probes.store.results import ResultWriter, load_results
from probes.store.retention import prune
from probes.store.rollups import roll_up
from probes.store.summary import load_summaries, write_summaries
from probes.store.tables import block, due_hour, hot, rollup_d, rollup_h

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
T0 = 1_760_000_000_000 // DAY * DAY  # a UTC midnight
CHECK = "shop/db/postgresql"


@dataclass(frozen=True)
class Ages:
    raw_s: float = 14 * 86400
    hourly_s: float = 90 * 86400
    daily_s: float = 730 * 86400


def make_results(days: float, check_id: str = CHECK, every_ms: int = 5 * MINUTE, seed: int = 1) -> list[Result]:
    rnd = random.Random(seed)
    made = []
    for slot_ms in range(T0, T0 + int(days * DAY), every_ms):
        status = rnd.choices([Status.UP, Status.DEGRADED, Status.DOWN, Status.UNKNOWN], [90, 5, 4, 1])[0]
        made.append(
            Result(
                check_id,
                "default",
                slot_ms,
                slot_ms + rnd.randrange(50),
                status,
                reason=Reason.TCP_REFUSED if status is Status.DOWN else None,
                message="refused" if status is Status.DOWN else "",
                duration_s=rnd.lognormvariate(-3, 1),
                code=rnd.choice([200, 500]) if rnd.random() < 0.5 else None,
                phases=Phases(0.001, 0.002, None, rnd.random(), 0.0),
                metrics={"hit_ratio": rnd.random()} if rnd.random() < 0.5 else {},
            )
        )
    return made


def dump(engine: Engine) -> list[object]:
    with reading(engine) as connection:
        return [
            tuple(row)
            for table in (rollup_h, rollup_d)
            for row in connection.execute(select(table).order_by(table.c.bucket_ms, table.c.series_id))
        ]


def latencies(results: list[Result]) -> list[float]:
    answered = [
        one
        for one in results
        if one.status in (Status.UP, Status.DEGRADED) or (one.status is Status.DOWN and one.code is not None)
    ]
    return sorted(one.duration_s or 0 for one in answered)


@pytest.mark.parametrize("hours", [1, 24, 24 * 5], ids=["raw", "raw day", "hourly"])
def test_series_are_what_was_measured(engine: Engine, hours: int) -> None:
    results = make_results(6)
    ResultWriter(engine).save(results)
    roll_up(engine, T0 + 6 * DAY + 3 * MINUTE)
    from_ms, to_ms = T0 + 3 * HOUR, T0 + (3 + hours) * HOUR
    wanted = [one for one in results if from_ms <= one.slot_ms < to_ms]
    points = load_series(engine, CHECK, from_ms, to_ms)
    assert sum(point.n for point in points) == len(wanted)
    for name, status in zip(("up", "degraded", "down", "unknown"), Status, strict=True):
        assert sum(getattr(point, name) for point in points) == sum(one.status is status for one in wanted)
    assert len(points) <= 500
    whole = load_series(engine, CHECK, T0, T0 + 6 * DAY, points=3)
    for point, later in zip(whole, [*whole[1:], None], strict=True):
        of_point = [one for one in results if point.t_ms <= one.slot_ms < (later.t_ms if later else 2**60)]
        exact = latencies(of_point)
        for q, measured in ((0.5, point.p50_s), (0.95, point.p95_s), (0.99, point.p99_s)):
            assert measured == pytest.approx(exact[math.floor(q * (len(exact) - 1))], rel=0.0101)
        assert sum(point.codes.values()) == sum(one.code is not None for one in of_point)
        ratios = [one.metrics["hit_ratio"] for one in of_point if one.metrics]
        assert point.metrics["hit_ratio"] == pytest.approx(sum(ratios) / len(ratios))
        assert point.phases.dns_s == pytest.approx(0.001)
        assert point.phases.tls_s is None


@pytest.mark.parametrize("span", [HOUR, DAY, 7 * DAY, 90 * DAY, 365 * DAY, 730 * DAY])
def test_any_range_has_at_most_500_points_and_all_results(engine: Engine, span: int) -> None:
    results = make_results(4, every_ms=10 * MINUTE)
    ResultWriter(engine).save(results)
    now = T0 + 4 * DAY
    roll_up(engine, now)
    points = load_series(engine, CHECK, now - span, now)
    assert len(points) <= 500
    assert sum(point.n for point in points) == sum(one.slot_ms >= now - span for one in results)


def test_rollups_are_the_same_in_whatever_order_results_came(engine: Engine, tmp_path: Path) -> None:
    results = make_results(2.3) + make_results(2.3, "shop/web/http", seed=2)
    now = T0 + int(2.3 * DAY) + HOUR
    ResultWriter(engine).save(results)
    roll_up(engine, now)
    ordered = dump(engine)

    from probes.store.database import open_database
    from probes.store.schema import upgrade

    other_url = f"sqlite:///{tmp_path / 'other.db'}"
    upgrade(other_url)
    other = open_database(other_url)
    writer = ResultWriter(other)
    writer.save([results[0], results[len(results) // 2]])  # the same numbers for the same series
    shuffled = results * 2
    rnd = random.Random(7)
    rnd.shuffle(shuffled)
    while shuffled:
        batch, shuffled = shuffled[:97], shuffled[97:]
        writer.save(batch)
        if rnd.random() < 0.2:
            roll_up(other, T0 + rnd.randrange(3 * DAY))
    roll_up(other, now)
    assert len(dump(other)) == len(ordered) == 2 * (56 + 2)
    assert dump(other) == ordered
    assert db_check(other) == []
    other.dispose()


def test_late_result_rolls_its_hour_and_day_again(engine: Engine) -> None:
    results = make_results(3)
    late = [one for one in results if T0 + 5 * HOUR <= one.slot_ms < T0 + 6 * HOUR]
    writer = ResultWriter(engine)
    writer.save(results)
    roll_up(engine, T0 + 3 * DAY + HOUR)
    complete = dump(engine)
    extra = [replace(one, slot_ms=one.slot_ms + 1, status=Status.DOWN) for one in late]
    writer.save(extra)
    points = load_series(engine, CHECK, T0, T0 + 3 * DAY)
    assert sum(point.n for point in points) == len(results) + len(extra)  # before it is rolled up again
    assert roll_up(engine, T0 + 3 * DAY + HOUR) == 1
    with reading(engine) as connection:
        hour = connection.execute(select(rollup_h).where(rollup_h.c.bucket_ms == T0 + 5 * HOUR)).one()
        day = connection.execute(select(rollup_d).where(rollup_d.c.bucket_ms == T0)).one()
    assert (hour.n, day.n) == (24, 288 + 12)
    assert len(dump(engine)) == len(complete)
    assert db_check(engine) == []


def test_hour_is_rolled_up_again_after_a_crash_between_its_slices(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = make_results(1.5)
    writer = ResultWriter(engine)
    writer.save(results)
    real, calls = packing.put_rows, 0

    def crash(*arguments: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 8:  # the block of the fourth hour is written, its rollup is not
            raise KeyboardInterrupt
        real(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(packing, "put_rows", crash)
        with pytest.raises(KeyboardInterrupt):
            roll_up(engine, T0 + 2 * DAY)
    assert sum(point.n for point in load_series(engine, CHECK, T0, T0 + 3 * DAY)) == len(results)
    assert roll_up(engine, T0 + 2 * DAY) > 0
    assert roll_up(engine, T0 + 2 * DAY) == 0
    assert db_check(engine) == []


def test_result_that_comes_in_while_its_hour_is_rolled_up_is_not_lost(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = ResultWriter(engine)
    writer.save(make_results(0.2))
    late = replace(make_results(0.2)[0], slot_ms=T0 + 7)
    real = packing.pack

    def interfere(*arguments: object) -> bytes:
        writer.save([late])
        return real(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(packing, "pack", interfere)
        roll_up(engine, T0 + HOUR + 2 * MINUTE)
    roll_up(engine, T0 + HOUR + 2 * MINUTE)
    with reading(engine) as connection:
        assert connection.scalar(select(rollup_h.c.n).where(rollup_h.c.bucket_ms == T0)) == 13
        assert connection.execute(select(due_hour)).all() == []


def test_an_hour_is_rolled_up_120_seconds_after_its_end(engine: Engine) -> None:
    ResultWriter(engine).save(make_results(0.1))
    assert roll_up(engine, T0 + HOUR + 119_999) == 0
    assert roll_up(engine, T0 + HOUR + 120_000) == 1


def test_retention_deletes_what_is_old_and_charts_go_on(engine: Engine) -> None:
    results = make_results(8)
    writer = ResultWriter(engine)
    writer.save(results)
    now = T0 + 8 * DAY
    ages = Ages(raw_s=2 * 86400, hourly_s=4 * 86400, daily_s=6 * 86400)
    assert prune(engine, ages, now) == 0  # nothing is rolled up yet
    roll_up(engine, now + 3 * MINUTE)
    assert prune(engine, ages, now) > 0
    assert load_results(engine, CHECK, 0, now)[-1].slot_ms == now - 2 * DAY
    with reading(engine) as connection:
        assert connection.scalars(select(rollup_h.c.bucket_ms).order_by(rollup_h.c.bucket_ms)).first() == now - 4 * DAY
        assert connection.scalars(select(rollup_d.c.bucket_ms).order_by(rollup_d.c.bucket_ms)).first() == now - 6 * DAY
    kept = [one for one in results if one.slot_ms >= now - 6 * DAY]
    assert sum(point.n for point in load_series(engine, CHECK, T0, now)) == len(kept)
    assert load_uptime(engine, CHECK, T0, now).judged == sum(one.status is not Status.UNKNOWN for one in kept)
    assert writer.save([replace(results[0], slot_ms=T0 + 5)]) == 0
    assert db_check(engine) == []


def test_retention_deletes_in_pieces(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("probes.store.retention.BLOCKS", 10)
    results = make_results(2)
    ResultWriter(engine).save(results)
    roll_up(engine, T0 + 3 * DAY)
    assert prune(engine, Ages(raw_s=3600), T0 + 3 * DAY) == 48
    with reading(engine) as connection:
        assert connection.execute(select(hot)).all() == connection.execute(select(block)).all() == []


def test_uptime_leaves_unknown_out_and_says_how_much_is_covered(engine: Engine) -> None:
    results = make_results(3)
    gone = [one for one in results if not T0 + DAY <= one.slot_ms < T0 + DAY + 12 * HOUR]
    ResultWriter(engine).save(gone)
    roll_up(engine, T0 + 3 * DAY + HOUR)
    from_ms, to_ms = T0 + 30 * MINUTE, T0 + 3 * DAY - 30 * MINUTE
    wanted = [one for one in gone if from_ms <= one.slot_ms < to_ms]
    for interval_s in (300, None):
        uptime = load_uptime(engine, CHECK, from_ms, to_ms, interval_s=interval_s)
        assert uptime.judged == sum(one.status is not Status.UNKNOWN for one in wanted)
        assert uptime.ok == sum(one.status in (Status.UP, Status.DEGRADED) for one in wanted)
        assert uptime.coverage == pytest.approx(uptime.judged / (12 * 71), abs=0.005)


def test_uptime_of_nothing_is_none(engine: Engine) -> None:
    uptime = load_uptime(engine, CHECK, T0, T0 + DAY)
    assert (uptime.ratio, uptime.coverage) == (None, None)


def test_faster_rhythm_of_an_outage_does_not_hide_a_gap(engine: Engine) -> None:
    steady = make_results(1, every_ms=MINUTE)
    outage = [replace(one, slot_ms=one.slot_ms + 15_000 * n) for one in steady[60:120] for n in range(1, 4)]
    ResultWriter(engine).save([*steady[:720], *outage])
    roll_up(engine, T0 + 2 * DAY)
    known = sum(one.status is not Status.UNKNOWN for one in steady[:720])
    uptime = load_uptime(engine, CHECK, T0, T0 + DAY, interval_s=60)
    assert uptime.coverage == pytest.approx(known / 1440, abs=0.01)


@pytest.mark.parametrize("rolled", [False, True])
def test_changes_are_found_with_their_reasons(engine: Engine, rolled: bool) -> None:
    results = [replace(one, status=Status.UP, reason=None, message="") for one in make_results(2)]
    for index in (100, 101, 300, 575):
        results[index] = replace(results[index], status=Status.DOWN, reason=Reason.DEADLINE, message="no answer")
    ResultWriter(engine).save(results)
    if rolled:
        roll_up(engine, T0 + 3 * DAY)
    changes = load_changes(engine, CHECK, T0 + HOUR, T0 + 3 * DAY)
    assert [(change.slot_ms, change.after) for change in changes] == [
        (results[100].slot_ms, Status.DOWN),
        (results[102].slot_ms, Status.UP),
        (results[300].slot_ms, Status.DOWN),
        (results[301].slot_ms, Status.UP),
        (results[575].slot_ms, Status.DOWN),
    ]
    assert (changes[0].before, changes[0].reason, changes[0].message) == (Status.UP, Reason.DEADLINE, "no answer")
    first = load_changes(engine, CHECK, T0, T0 + HOUR)
    assert [(change.before, change.after) for change in first] == [(None, Status.UP)]


def test_summary_is_what_was_measured_with_the_open_hour(engine: Engine) -> None:
    results = make_results(9.52)
    now = T0 + int(9.52 * DAY)
    until = now // HOUR * HOUR
    ResultWriter(engine).save(results)
    key = (CHECK, "default")
    before = load_summaries(engine)[key]  # nothing is written yet: all of it is counted
    assert before.uptime_90d == pytest.approx(uptime_of(results))
    roll_up(engine, now)
    write_summaries(engine, now)
    found = load_summaries(engine)[key]
    assert found.uptime_24h == pytest.approx(uptime_of([one for one in results if one.slot_ms >= until - DAY]))
    assert found.uptime_7d == pytest.approx(uptime_of([one for one in results if one.slot_ms >= T0 + 3 * DAY]))
    assert found.uptime_90d == pytest.approx(uptime_of(results))
    assert found.coverage_24h is not None
    assert found.coverage_24h == pytest.approx(0.99, abs=0.01)
    assert found.bars == before.bars
    assert len(found.bars) == 90
    assert [sum(bar) for bar in found.bars[-10:]] == [288] * 9 + [150]
    assert len(found.sparkline) == 24
    exact = latencies([one for one in results if until - HOUR <= one.slot_ms < until])
    assert found.sparkline[-1] == pytest.approx(exact[(len(exact) - 1) // 2], rel=0.0101)
    day = latencies([one for one in results if until - DAY <= one.slot_ms < until])
    assert found.p95_s == pytest.approx(day[math.floor(0.95 * (len(day) - 1))], rel=0.0101)


def test_a_check_with_14_days_of_history_covers_a_sixth_of_90_days(engine: Engine) -> None:
    up = [replace(one, status=Status.UP, reason=None, message="") for one in make_results(14)]
    now = T0 + 14 * DAY + 3 * MINUTE
    ResultWriter(engine).save(up)
    roll_up(engine, now)
    write_summaries(engine, now)
    uptime, summary = load_uptime(engine, CHECK, now - 90 * DAY, now), load_summaries(engine)[CHECK, "default"]
    assert uptime.ratio == summary.uptime_90d == 1.0
    assert uptime.coverage == pytest.approx(14 / 90, abs=0.002)
    assert summary.coverage_90d == pytest.approx(14 / 90, abs=0.002)
    assert summary.coverage_7d == pytest.approx(1.0, abs=0.002)


def test_a_check_of_two_hours_covers_a_twelfth_of_a_day(engine: Engine) -> None:
    ResultWriter(engine).save([one for one in make_results(1) if one.slot_ms < T0 + 2 * HOUR])
    roll_up(engine, T0 + 2 * HOUR + 3 * MINUTE)
    write_summaries(engine, T0 + 2 * HOUR + 3 * MINUTE)
    found = load_summaries(engine)[CHECK, "default"]
    assert found.coverage_24h == pytest.approx(2 / 24, abs=0.01)
    assert found.coverage_90d == pytest.approx(2 / 24 / 90, abs=0.0002)


def test_summary_counts_on_while_results_come_in(engine: Engine) -> None:
    results = make_results(1.9, every_ms=MINUTE)
    writer, now = ResultWriter(engine), T0 + int(1.2 * DAY)
    writer.save([one for one in results if one.slot_ms < now])
    roll_up(engine, now)
    write_summaries(engine, now)
    for minutes in (1, 2, 30, 31, 90):
        writer.save([one for one in results if one.slot_ms < now + minutes * MINUTE])
        expected = [one for one in results if one.slot_ms < now + minutes * MINUTE]
        found = load_summaries(engine)[CHECK, "default"]
        assert sum(map(sum, found.bars)) == len(expected)
        assert found.uptime_90d == pytest.approx(uptime_of(expected))
    later = now + 90 * MINUTE
    roll_up(engine, later)
    write_summaries(engine, later)
    again = load_summaries(engine)[CHECK, "default"]
    assert (again.bars, again.uptime_90d) == (found.bars, pytest.approx(found.uptime_90d))


def test_summary_shows_our_own_gap_as_not_covered(engine: Engine) -> None:
    results = [one for one in make_results(10) if not T0 + 4 * DAY <= one.slot_ms < T0 + 6 * DAY]
    ResultWriter(engine).save(results)
    roll_up(engine, T0 + 10 * DAY + 3 * MINUTE)
    write_summaries(engine, T0 + 10 * DAY + 3 * MINUTE)
    found = load_summaries(engine)[CHECK, "default"]
    assert found.coverage_7d == pytest.approx((5 * 288) / (7 * 288), abs=0.02)


def uptime_of(results: list[Result]) -> float:
    judged = [one for one in results if one.status is not Status.UNKNOWN]
    return sum(one.status is not Status.DOWN for one in judged) / len(judged)
