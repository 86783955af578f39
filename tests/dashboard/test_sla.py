"""The report of uptime says what was measured, by the rules that it states, and nothing that was not."""

import base64
import csv
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dashboard.cli import main
from dashboard.reporting import period_of
from dashboard.sla import load_sla
from probes.commands import Refusal
from probes.config import load_config
from probes.result import Reason, Status
from probes.result import Result as Answer
from probes.store.events import record_event
from probes.store.results import ResultWriter
from probes.store.retention import prune
from probes.store.rollups import roll_up

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
T0 = 1_772_323_200_000  # 2026-03-01T00:00Z, a Sunday
SITE = {
    "sites": {
        "shop": {
            "title": "Web shop",
            "targets": {
                "web": {
                    "tier": "web",
                    "needs": ["db"],
                    "checks": [
                        {"kind": "tcp", "name": "front", "url": "tcp://127.0.0.1:9"},
                        {"kind": "tcp", "name": "deep", "url": "tcp://127.0.0.1:9"},
                    ],
                },
                "db": {"tier": "database", "checks": [{"kind": "tcp", "url": "tcp://127.0.0.1:9"}]},
            },
        },
        "quiet": {"targets": {"x": {"tier": "app", "checks": [{"kind": "tcp", "url": "tcp://127.0.0.1:9"}]}}},
    },
}
WORK = {"match": {"target": "shop/web"}, "rrule": "FREQ=WEEKLY;BYDAY=MO", "at": "02:10", "for": "50m", "zone": "UTC"}


def answers(check: str, bad: dict[int, Status], days: int = 3, took_s: float = 0.1) -> list[Answer]:
    """One a minute; `bad` by number of the minute."""
    made = []
    for number in range(days * 1440):
        at = T0 + number * MINUTE
        status = bad.get(number, Status.UP)
        reason = Reason.TCP_REFUSED if status is Status.DOWN else None
        seconds = took_s * (10 if number % 20 == 0 else 1)
        made.append(Answer(check, "default", at, at, status, reason, "", seconds))
    return made


@pytest.fixture
def march(estate, tmp_path):
    """Three days: the front was down for 72 minutes, 60 of unknown; 30 minutes of bad answers lie in maintenance."""
    made = estate.make(tmp_path, {**SITE, "maintenance": [WORK]})
    bad = dict.fromkeys(range(600, 672), Status.DOWN) | dict.fromkeys(range(700, 760), Status.UNKNOWN)
    in_work = dict.fromkeys(range(1440 + 135, 1440 + 165), Status.DOWN)
    writer = ResultWriter(made.engine)
    writer.save(answers("shop/web/front", bad | in_work))
    writer.save(answers("shop/web/deep", {}))
    writer.save(answers("shop/db/tcp", dict.fromkeys(range(432), Status.DOWN), took_s=0.01))
    roll_up(made.engine, T0 + 3 * DAY + 10 * MINUTE)
    return made


def figures(made, windows=True, from_ms=T0, to_ms=T0 + 3 * DAY, site=None):
    from alerts.config import load_all

    config, alerting = load_all(made.config, made.data)
    held = alerting.maintenance if windows else ()
    return load_sla(made.engine, config.estate, held, from_ms, to_ms, now_ms=T0 + 4 * DAY, site=site)


def test_uptime_leaves_out_unknown_and_maintenance(march):
    shop, _ = figures(march).sites
    web, db = shop.targets
    front, deep = web.checks
    minutes = 3 * 1440 - 50
    assert front.figures.uptime == pytest.approx(1 - 72 / (minutes - 60))
    assert front.figures.coverage == pytest.approx((minutes - 60) / minutes, abs=0.002)
    assert front.figures.down_s == pytest.approx(72 * 60, rel=0.01)
    assert deep.figures.uptime == 1.0
    assert web.figures.uptime == front.figures.uptime  # as good as its worst check
    assert web.maintenance_s == 50 * 60
    assert (db.figures.uptime, db.maintenance_s) == (pytest.approx(0.9), 0)
    assert shop.figures.uptime == web.figures.uptime  # the tier nearest to users
    assert front.days[T0] == (1440 - 72 - 60, 1440 - 60)


def test_without_the_window_its_bad_answers_count(march):
    front = figures(march, windows=False).sites[0].targets[0].checks[0]
    assert front.figures.uptime == pytest.approx(1 - 102 / (3 * 1440 - 60))


def test_percentiles_are_of_the_answers(march):
    deep = figures(march).sites[0].targets[0].checks[1]
    assert deep.figures.p50_s == pytest.approx(0.1, rel=0.011)
    assert deep.figures.p99_s == pytest.approx(1.0, rel=0.011)
    assert deep.figures.answered == 3 * 1440 - 50
    db = figures(march).sites[0].targets[1]
    assert db.figures.answered == 3 * 1440 - 432  # a refused connection is no answer


def test_where_single_results_are_gone_maintenance_goes_by_whole_hours(march, estate):
    class Ages:
        raw_s, hourly_s, daily_s = 3 * 3600.0, 90 * 86400.0, 730 * 86400.0

    prune(march.engine, Ages(), T0 + 3 * DAY)
    front = figures(march).sites[0].targets[0].checks[0]
    minutes = 3 * 1440 - 60
    assert front.figures.uptime == pytest.approx(1 - 72 / (minutes - 60))
    Ages.hourly_s = 86400.0
    prune(march.engine, Ages(), T0 + 3 * DAY)
    found = figures(march)
    assert any("could not be taken out" in note for note in found.notes)
    assert found.sites[0].targets[0].checks[0].figures.uptime == pytest.approx(1 - 102 / (3 * 1440 - 60))


def test_a_month_of_three_days_is_a_tenth_covered(march):
    from_ms, to_ms = period_of("2026-03", None, T0 + 60 * DAY)
    assert (from_ms, to_ms) == (T0, T0 + 31 * DAY)
    config = load_config(march.config, data_dir=march.data)
    found = load_sla(march.engine, config.estate, (), from_ms, to_ms, now_ms=T0 + 60 * DAY)
    assert found.sites[0].figures.coverage == pytest.approx((3 * 1440 - 60) / (31 * 1440), abs=0.002)


def test_gaps_of_our_own_and_an_unfinished_period_are_told(march):
    record_event(march.engine, T0 + HOUR, "gap", "its worker was not running", end_ms=T0 + 2 * HOUR)
    found = figures(march, to_ms=T0 + 31 * DAY)
    assert [gap.text for gap in found.gaps] == ["its worker was not running"]
    assert any("not over" in note for note in found.notes)
    assert any("did not run 1 times, 60 min" in note for note in found.notes)


def run(made, *words: str) -> Result:
    result = CliRunner().invoke(main, ["report", "sla", "-c", str(made.config), "--data", str(made.data), *words])
    assert result.exit_code == 0, result.output
    return result


def test_json_and_csv_say_the_same(march):
    whole = json.loads(run(march, "--month", "2026-03", "--format", "json").output)
    rows = list(csv.DictReader(io.StringIO(run(march, "--month", "2026-03", "--format", "csv").output)))
    (shop,) = [one for one in whole["sites"] if one["site"] == "shop"]
    by_id = {(row["level"], row["id"]): row for row in rows}
    for target in shop["targets"]:
        assert float(by_id["target", target["target"]]["uptime"]) == target["uptime"]
        for check in target["checks"]:
            assert float(by_id["check", check["check"]]["p95_s"]) == check["p95_s"]
    assert by_id["check", "quiet/x/tcp"]["uptime"] == ""
    assert [row["title"] for row in rows if row["level"] == "rule"] == whole["rules"]


def test_one_site_alone(march):
    whole = json.loads(run(march, "--site", "quiet", "--format", "json", "--month", "2026-03").output)
    assert [one["site"] for one in whole["sites"]] == ["quiet"]
    refused = CliRunner().invoke(main, ["report", "sla", "-c", str(march.config), "--site", "shpo"])
    assert refused.exit_code == 2
    assert "shop" in refused.output


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_nothing_else_and_runs_nothing(march, tmp_path):
    file = tmp_path / "report.html"
    run(march, "--month", "2026-03", "-o", str(file))
    html = file.read_text()
    page = Page(html)
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "img", "iframe", "object", "form"}
    assert not [
        key for _, attrs in page.tags for key in attrs if key in ("src", "href", "style") or key.startswith("on")
    ]
    (policy,) = [attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'"
    assert "prefers-color-scheme:dark" in style[1]
    assert "@media print" in style[1]
    assert "url(" not in style[1]
    assert "How this was counted" in page.text
    assert "98.290 %" in page.text
    assert sum(tag == "svg" for tag, _ in page.tags) == 4


def test_a_title_that_is_markup_is_text(estate, tmp_path):
    made = estate.make(tmp_path, estate.hostile())
    estate.history(made, 2, 60)
    html = run(made, "--days", "1").output
    assert "<script" not in html
    assert "<img" not in html
    assert "&lt;script&gt;window.pwned=1" in html
    rows = list(csv.reader(io.StringIO(run(made, "--days", "1", "--format", "csv").output)))
    assert not [cell for row in rows for cell in row if cell[:1] in ("=", "+", "@")]


def test_nothing_measured_is_said_and_is_no_uptime(estate, tmp_path):
    made = estate.make(tmp_path, SITE)
    html = run(made).output
    assert "Nothing was measured" in html
    assert "100 %" not in html
    whole = json.loads(run(made, "--format", "json").output)
    assert {site["uptime"] for site in whole["sites"]} == {None}


def test_incidents_of_the_period_are_listed(estate, tmp_path):
    made = estate.make(tmp_path, estate.shop())
    estate.history(made, 2, 60)
    estate.open_incident(made)
    whole = json.loads(run(made, "--days", "1", "--format", "json").output)
    (incident,) = whole["incidents"]
    assert incident["within_s"] == pytest.approx(21 * 60, abs=60)
    (db,) = [one for site in whole["sites"] for one in site["targets"] if one["target"] == "shop/db"]
    assert db["incidents"] == 1
    assert "shop/db is down" in run(made, "--days", "1").output


@pytest.mark.parametrize("month", ["2026-13", "March", "2099-01"])
def test_a_month_that_is_none_is_refused(month):
    with pytest.raises(Refusal):
        period_of(month, None, T0)


def test_december_ends_with_the_year():
    from_ms, to_ms = period_of("2025-12", None, T0)
    assert to_ms - from_ms == 31 * DAY


def test_the_page_shows_in_a_browser_without_complaint(march, browser, tmp_path: Path):
    file = tmp_path / "report.html"
    run(march, "--month", "2026-03", "-o", str(file))
    said: list[str] = []
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme, viewport={"width": 1280, "height": 900})
        page.on("console", lambda message: said.append(message.text))
        page.goto(file.as_uri())
        assert page.locator("svg rect.down").count() >= 2
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.screenshot(path=str(tmp_path / f"{scheme}.png"))
        page.close()
    assert said == []
