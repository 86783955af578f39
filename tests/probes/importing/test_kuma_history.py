"""What Uptime Kuma measured goes on in our store: single results, older sums, and why something was down."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from alerts.config import load_all
from probes.importing.kuma_history import to_result
from probes.prober import now_ms
from probes.result import Reason, Status
from probes.store.charts import load_series, load_uptime
from probes.store.database import open_database
from probes.store.integrity import db_check
from probes.store.meta import PRUNED_MS, set_meta
from probes.store.results import load_results
from probes.store.schema import upgrade
from probes.store.summary import load_summaries

HOUR, DAY = 3_600_000, 86_400_000
Bring = Callable[..., Result]


def test_history_goes_on_where_it_ended(kuma: Any, bring: Bring) -> None:
    monitor = kuma.add("monitor", name="Web", type="http", url="http://127.0.0.1/", interval=60)
    now = now_ms()
    midnight = now - now % DAY
    begin = midnight - 3 * DAY
    beats = [(monitor, at, 1, "200 - OK", 20.0) for at in range(begin, now - HOUR, 60_000)]
    beats[100] = (monitor, beats[100][1], 2, "connect ECONNREFUSED 127.0.0.1:80", None)
    beats[101] = (monitor, beats[101][1], 0, "Request failed with status code 503", None)
    beats[102] = (monitor, beats[102][1], 3, "Monitor under maintenance", None)
    kuma.beats(beats)
    for hour in range(24 * 5):  # older than any single result
        at = midnight - 8 * DAY + hour * HOUR
        kuma.add(
            "stat_hourly", monitor_id=monitor, timestamp=at // 1000, ping=30, up=57, down=3, ping_min=10, ping_max=90
        )
    for day in range(9, 100):
        at = midnight - day * DAY
        kuma.add(
            "stat_daily", monitor_id=monitor, timestamp=at // 1000, ping=30, up=1430, down=10, ping_min=5, ping_max=95
        )
    result = bring("uptime-kuma", kuma.path)
    assert result.exit_code == 0, result.output
    assert f"{len(beats) - 1:,} results, 120 hours and 91 days were new" in result.output

    engine = open_database(load_all(Path("backwatch.yaml"))[0].database)
    check = "imported/web/http"
    singles = load_results(engine, check, 0, now, newest_first=False)
    assert len(singles) == len(beats) - 1
    down = [(one.status, one.reason, one.code) for one in singles if one.status is Status.DOWN]
    assert down == [(Status.DOWN, Reason.TCP_REFUSED, None), (Status.DOWN, Reason.HTTP_STATUS, 503)]
    whole = load_uptime(engine, check, midnight - 99 * DAY, midnight)
    assert whole.judged == 91 * 1440 + 120 * 60 + 3 * 1440 - 1
    assert whole.judged - whole.ok == 91 * 10 + 120 * 3 + 2
    assert whole.coverage == pytest.approx(1.0, abs=0.01)
    points = load_series(engine, check, midnight - 20 * DAY, midnight)
    assert points[-1].p95_s == pytest.approx(0.02, rel=0.011)
    assert points[0].p95_s is None  # of sums no percentile can be had
    assert load_summaries(engine)[check, "default"].bars[-20] == (1430, 0, 10, 0)
    assert db_check(engine) == []
    engine.dispose()


def test_a_second_call_changes_nothing_and_brings_what_is_new(kuma: Any, bring: Bring) -> None:
    monitor = kuma.add("monitor", name="Web", type="port", hostname="h", port=1)
    at = now_ms() - 5 * HOUR
    kuma.beat(monitor, at)
    assert "1 results, 0 hours" in bring("uptime-kuma", kuma.path).output
    before = Path("backwatch.yaml").read_bytes()
    kuma.beat(monitor, at + 60_000)
    again = bring("uptime-kuma", kuma.path)
    assert "unchanged: backwatch.yaml" in again.output
    assert "1 results, 0 hours and 0 days were new; 1 results were there already" in again.output
    assert Path("backwatch.yaml").read_bytes() == before


def test_results_that_are_not_yet_in_its_main_file_are_read(kuma: Any, bring: Bring) -> None:
    kuma.add("monitor", name="Web", type="port", hostname="h", port=1)
    running = sqlite3.connect(kuma.path)
    running.execute("PRAGMA journal_mode = WAL")
    running.execute("SELECT count(*) FROM monitor").fetchone()  # so that the log is in use
    kuma.beat(1, now_ms() - HOUR)
    assert Path(f"{kuma.path}-wal").stat().st_size
    assert "1 results, 0 hours" in bring("uptime-kuma", kuma.path).output
    running.close()


def test_results_older_than_the_store_keeps_come_as_hours(kuma: Any, bring: Bring) -> None:
    monitor = kuma.add("monitor", name="Web", type="port", hostname="h", port=1)
    hour = now_ms() // HOUR * HOUR - 400 * HOUR
    kuma.beats([(monitor, hour + number * 60_000, int(number != 7), "", 10.0 + number) for number in range(60)])
    assert bring("uptime-kuma", kuma.path, "-o", "first.yaml", "--no-history").exit_code == 0
    config, _ = load_all(Path("first.yaml"))
    upgrade(config.database)
    engine = open_database(config.database)
    set_meta(engine, PRUNED_MS, str(hour + 100 * HOUR))
    assert "0 results, 1 hours" in bring("uptime-kuma", kuma.path, "-o", "first.yaml").output
    (point,) = load_series(engine, "imported/web/tcp", hour - 24 * HOUR, hour + 300 * HOUR)
    assert (point.up, point.down) == (59, 1)
    engine.dispose()


@pytest.mark.parametrize(
    ("status", "msg", "wanted"),
    [
        (1, "200 - OK", (Status.UP, None, 200)),
        (0, "timeout of 48000ms exceeded", (Status.DOWN, Reason.DEADLINE, None)),
        (0, "getaddrinfo ENOTFOUND nowhere", (Status.DOWN, Reason.DNS_NXDOMAIN, None)),
        (0, "certificate has expired", (Status.DOWN, Reason.TLS_EXPIRED, None)),
        (0, "200 - OK, but keyword is not in [x]", (Status.DOWN, Reason.BODY_MISMATCH, 200)),
        (2, "something nobody has seen", (Status.DOWN, None, None)),
    ],
)
def test_messages_become_reasons(status: int, msg: str, wanted: tuple[Status, Reason | None, int | None]) -> None:
    row: Any = {"status": status, "msg": msg, "time": "2026-11-20 13:06:38.550", "ping": 4}
    found = to_result(row, "a/b/c", "default")
    assert found is not None
    assert (found.status, found.reason, found.code) == wanted
    assert found.slot_ms == 1_795_179_998_550
