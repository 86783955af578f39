"""Pure parts of what is drawn: phrases, strips, charts, figures' colours."""

import pytest

from dashboard import charts, phrase
from dashboard.theme import DARK, LIGHT, Look, palette, streamlit_theme
from dashboard.wall import bars_text, spark_text
from probes.result import Phases, Status
from probes.store.charts import Point
from probes.target import Limit


def point(minute, p50_s=0.1, codes=None, **counts):
    counts = {"up": 10, "degraded": 0, "down": 0, "unknown": 0} | counts
    n = sum(counts.values())
    phases = Phases(ttfb_s=p50_s)
    return Point(minute * 60_000, n, **counts, p50_s=p50_s, p95_s=p50_s, p99_s=p50_s, phases=phases, metrics={}, codes=codes or {})  # fmt: skip  # noqa: E501


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min"), (1320, "22 min"), (11_520, "3 h 12 min"), (187_200, "2 d 4 h")],
)
def test_spans(seconds, said):
    assert phrase.span(seconds) == said


@pytest.mark.parametrize(("ratio", "said"), [(None, "—"), (1.0, "100 %"), (0.9999999, "99.999 %"), (0.5, "50.0 %")])
def test_an_uptime_is_never_rounded_up_to_all(ratio, said):
    assert phrase.uptime(ratio) == said


def test_metrics_are_said_in_their_unit():
    assert phrase.metric("hit_ratio", 0.972) == "97.2 %"
    assert phrase.metric("lag_s", 0.4) == "400 ms"
    assert phrase.metric("used_memory_bytes", 4.1e8) == "410.0 MB"
    assert phrase.metric("results_per_s", 33.4) == "33.4"


def test_a_day_is_down_from_a_quarter_of_an_hour():
    days = [(0, 0, 0, 9), (1000, 0, 0, 0), (1000, 0, 1, 0), (1000, 20, 0, 0), (1000, 0, 20, 0)]
    assert bars_text(days) == "01223"


def test_a_sparkline_is_of_its_largest_value():
    assert spark_text([0.0, None, 0.5, 1.0]) == "0.iz"
    assert spark_text([None, None]) == ""


def test_a_line_is_broken_where_results_are_missing():
    points = [point(minute) for minute in (0, 1, 2, 30, 31)]
    line = charts.with_gaps(points, [1.0] * 5)
    assert [value for _, value in line] == [1.0, 1.0, 1.0, None, 1.0, 1.0]


def test_answers_are_counted_by_code_with_those_that_never_came():
    option = charts.check_chart([point(0, codes={200: 8}, down=2), point(1, codes={200: 10})], [], LIGHT, 0, 120_000)
    bars = {one["name"]: [value for _, value in one["data"]] for one in option["series"] if one["type"] == "bar"}
    assert bars["2xx"] == [8, 10]
    assert bars["no answer"] == [4, 0]
    assert bars["Down"] == [2, 0]


def test_an_incident_is_marked_on_the_percentiles():
    option = charts.check_chart([point(0), point(1)], [(0, 60_000, "db is down", True)], DARK, 0, 120_000)
    [[begin, end]] = option["series"][0]["markArea"]["data"]
    assert (begin["xAxis"], end["xAxis"], begin["name"]) == (0, 60_000, "db is down")


def test_a_limit_is_a_line_in_the_unit_of_its_chart():
    limit = Limit("hit_ratio", Status.DEGRADED, 0.85, "below")
    option = charts.metric_chart("hit_ratio", [point(0)], [limit], LIGHT, from_ms=0, to_ms=60_000)
    [line] = option["series"][0]["markLine"]["data"]
    assert (line["yAxis"], line["lineStyle"]["color"]) == (85.0, LIGHT.degraded)


def test_every_state_has_its_own_shape_height_and_colour():
    assert len({look.glyph for look in Look}) == len(Look)
    assert Look.DOWN.bar_height > Look.DEGRADED.bar_height > Look.UP.bar_height > Look.UNKNOWN.bar_height
    for mode in ("light", "dark"):
        assert len({palette(mode).of(look) for look in Look}) == len(Look)


def test_both_themes_are_set_and_neither_is_forced():
    options = streamlit_theme()
    assert "theme.base" not in options
    assert options["theme.light.backgroundColor"] == "#FFFFFF"
    assert options["theme.dark.backgroundColor"] == "#0F141B"
    assert not any("http" in str(value) for value in options.values())
