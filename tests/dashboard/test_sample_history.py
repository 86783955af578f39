"""The made-up past is plausible, marked, written the real way, and tells nobody."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from alerts.incident import IncidentState
from alerts.store import load_incident_events, load_incidents, load_notifications, pending
from dashboard.queries import load_sample_until
from dashboard.sample_history import DAY_MS, load_at, plan_outages, results, slots, write_history
from probes.config import load_config
from probes.result import Phases, Result, Status
from probes.store.charts import load_series, load_uptime
from probes.store.database import open_database
from probes.store.integrity import db_check
from probes.store.results import load_results
from probes.store.schema import upgrade
from probes.store.states import load_standings
from probes.store.summary import load_summaries
from probes.target import Estate

SHOP = """
defaults: {interval: 5s, timeout: 2s}
sites:
  shop:
    targets:
      web: {tier: web, needs: [app], checks: [{kind: http, url: "http://127.0.0.1:9/"}, {kind: tcp, url: "tcp://127.0.0.1:9"}]}
      app: {tier: app, needs: [db], soft_needs: [cache], checks: [{kind: http, url: "http://127.0.0.1:9/"}]}
      db: {tier: database, checks: [{kind: sqlite, path: shop.db}]}
      cache: {tier: cache, checks: [{kind: redis, url: "redis://127.0.0.1:9"}]}
"""
NOW_MS = 1_790_000_000_000


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Estate:
    path = tmp_path_factory.mktemp("shop") / "backwatch.yaml"
    path.write_text(SHOP)
    return load_config(path).estate


def answers(estate: Estate) -> dict[str, Result]:
    phases = Phases(connect_s=0.001, ttfb_s=0.009)
    metrics = {"connections_used": 4.0, "connections_max": 100.0, "uptime_s": 60.0}
    return {
        check_id: Result(check_id, "here", 1, 1, Status.UP, duration_s=0.01, code=200, phases=phases, metrics=metrics)
        for check_id in estate.checks
    }


@pytest.fixture(scope="module")
def store(estate: Estate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, int]]:
    engine = open_database(f"sqlite:///{tmp_path_factory.mktemp('store') / 'backwatch.db'}")
    upgrade(engine)
    now_ms = time.time_ns() // 1_000_000
    write_history(engine, estate, answers(estate), now_ms, location="here")
    yield engine, now_ms
    engine.dispose()


def test_every_check_has_two_weeks(store: tuple[Engine, int], estate: Estate) -> None:
    engine, now_ms = store
    for check_id in estate.checks:
        points = load_series(engine, check_id, now_ms - 14 * DAY_MS, now_ms)
        assert points[0].t_ms < now_ms - 13 * DAY_MS
        assert sum(point.n for point in points) > 5000


def test_it_is_marked_and_ends_now(store: tuple[Engine, int]) -> None:
    engine, now_ms = store
    assert load_sample_until(engine) == now_ms
    assert all(now_ms - 120_000 < standing.slot_ms < now_ms for standing in load_standings(engine))


def test_everything_is_up_at_the_end_and_for_long_before(store: tuple[Engine, int], estate: Estate) -> None:
    engine, now_ms = store
    for check_id in estate.checks:
        recent = load_results(engine, check_id, now_ms - 4 * 3_600_000, now_ms)
        assert {result.status for result in recent} == {Status.UP}


def test_summaries_are_there_at_once(store: tuple[Engine, int], estate: Estate) -> None:
    engine, _ = store
    summaries = load_summaries(engine)
    assert {check_id for check_id, _ in summaries} == set(estate.checks)
    assert all(summary.p50_s and sum(map(sum, summary.bars)) > 5000 for summary in summaries.values())


def test_the_database_was_down_once_and_took_the_site_with_it(store: tuple[Engine, int]) -> None:
    engine, now_ms = store
    for check_id in ("shop/db/sqlite", "shop/web/http", "shop/app/http"):
        uptime = load_uptime(engine, check_id, now_ms - 14 * DAY_MS, now_ms)
        assert 0 < uptime.judged - uptime.ok < 30
    port = load_uptime(engine, "shop/web/tcp", now_ms - 14 * DAY_MS, now_ms)
    assert port.ok == port.judged


def test_past_incidents_are_over_and_nobody_is_told(store: tuple[Engine, int]) -> None:
    engine, _ = store
    incidents = {incident.root: incident for incident in load_incidents(engine)}
    assert set(incidents) == {"shop/db", "shop/cache", "shop/app"}
    assert {member.target for member in incidents["shop/db"].members} == {"shop/db", "shop/app", "shop/web"}
    for incident in incidents.values():
        assert incident.state is IncidentState.RESOLVED
        assert not incident.unannounced
        assert incident.title
        assert "Sample data" in load_incident_events(engine, incident.id)[0].text
    assert pending(engine).n == 0
    assert load_notifications(engine) == []


def test_the_store_is_in_order(store: tuple[Engine, int]) -> None:
    assert db_check(store[0]) == []


def test_the_same_past_is_made_up_twice(estate: Estate) -> None:
    now, outages = answers(estate), plan_outages(estate, NOW_MS)
    first, second = (results(estate, now, outages, NOW_MS, "here") for _ in range(2))
    assert [next(first) for _ in range(500)] == [next(second) for _ in range(500)]


def test_nights_are_quiet() -> None:
    midnight = NOW_MS - NOW_MS % DAY_MS
    assert load_at(midnight + 4 * 3_600_000) < 0.05
    assert load_at(midnight + 16 * 3_600_000) > 0.6


def test_the_last_day_is_dense() -> None:
    times = slots(NOW_MS)
    assert times == sorted(times)
    assert times[-1] < NOW_MS
    assert sum(at_ms >= NOW_MS - DAY_MS for at_ms in times) == 1440


def test_a_cache_has_a_hit_ratio_that_moves_and_limits_stay(estate: Estate) -> None:
    found = [one for one in results(estate, answers(estate), [], NOW_MS, "here") if one.check_id == "shop/cache/redis"]
    ratios = [one.metrics["hit_ratio"] for one in found[:2000]]
    assert 0.86 < min(ratios) < max(ratios) <= 1.0
    assert {one.metrics["connections_max"] for one in found[:200]} == {100.0}
    assert "uptime_s" not in found[0].metrics


def test_a_check_that_does_not_answer_now_still_has_a_past(estate: Estate, tmp_path: Path) -> None:
    first = next(results(estate, {}, [], NOW_MS, "here"))
    assert (first.status, first.duration_s) == (Status.UP, None)
