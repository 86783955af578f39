"""Charts as ECharts options: pure functions from points to plain dictionaries."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from dashboard import phrase
from dashboard.theme import CODES, P50, P95, P99, PHASES, Look, Palette
from probes.store.charts import Point
from probes.target import Limit

Option = dict[str, Any]
Mark = tuple[int, int, str, bool]
"""From, to (epoch ms), what to call it, and whether it is a page (else a warning)."""
_PHASE_FIELDS = {"DNS": "dns_s", "Connect": "connect_s", "TLS": "tls_s", "TTFB": "ttfb_s", "Transfer": "transfer_s"}
_LEFT, _RIGHT = 62, 14


def step_ms(points: Sequence[Point]) -> int:
    """The usual distance between points."""
    distances = sorted(later.t_ms - earlier.t_ms for earlier, later in pairwise(points))
    return distances[len(distances) // 2] if distances else 60_000


def with_gaps(points: Sequence[Point], values: Sequence[float | None]) -> list[list[float | None]]:
    """[time, value] pairs, broken by an empty one where results are missing, so that no line crosses a gap."""
    step = step_ms(points)
    line: list[list[float | None]] = []
    before: int | None = None
    for point, value in zip(points, values, strict=True):
        if before is not None and point.t_ms - before > 2.5 * step:
            line.append([before + step, None])
        line.append([point.t_ms, value])
        before = point.t_ms
    return line


def check_chart(points: Sequence[Point], marks: Sequence[Mark], palette: Palette, from_ms: int, to_ms: int) -> Option:
    """One check over time: percentiles with incidents marked, phases stacked, answers by code or state, states."""
    parts = [_percentiles(points, marks, palette)]
    if any(_mean(point, field) for point in points for field in _PHASE_FIELDS.values()):
        parts.append(_phases(points))
    if sum(sum(point.codes.values()) for point in points) * 2 > sum(point.n for point in points):
        parts.append(_answers(points))  # a kind that answers with codes
    parts.append(_states(points, palette))
    return _stack(parts, palette, from_ms, to_ms)


def check_chart_height(option: Option) -> int:
    """Pixels that a chart of `check_chart` needs."""
    last = option["grid"][-1]
    return int(last["top"] + last["height"] + 34)


def metric_chart(
    name: str, points: Sequence[Point], limits: Sequence[Limit], palette: Palette, *, from_ms: int, to_ms: int
) -> Option:
    """One metric over time with its limits as lines."""
    scale, unit = _scale(name)
    values = [_scaled(point.metrics.get(name), scale) for point in points]
    lines = [
        {
            "yAxis": limit.bound * scale,
            "lineStyle": {"color": palette.of(Look.of(limit.level)), "type": "dashed", "width": 1.5},
            "label": {
                "formatter": limit.level.value,
                "position": "insideEndTop" if limit.worse == "above" else "insideEndBottom",
                "color": palette.quiet,
                "fontSize": 11,
            },
        }
        for limit in limits
    ]
    known = [value for value in values if value is not None] + [limit.bound * scale for limit in limits]
    series = {
        "type": "line",
        "name": phrase.label(name),
        "data": with_gaps(points, values),
        "showSymbol": sum(value is not None for value in values) < 3,
        "lineStyle": {"width": 1.8, "color": P50},
        "itemStyle": {"color": P50},
        "areaStyle": {"color": P50, "opacity": 0.08},
        "markLine": {"silent": True, "symbol": "none", "data": lines},
    }
    grid = {"left": 56, "right": 12, "top": 14, "height": 110}
    axis = {"type": "value", "scale": unit != "%", **_y_style(palette), "axisLabel": {"color": palette.quiet}}
    if unit == "%":
        axis |= {"min": 0, "max": 100 if max(known, default=0) <= 100 else None}
        axis["axisLabel"]["formatter"] = "{value} %"
    return {
        "animation": False,
        "tooltip": {"trigger": "axis"},
        "grid": grid,
        "xAxis": _x_axis(palette, 0, from_ms, to_ms, True),
        "yAxis": axis,
        "series": [series],
    }


def _percentiles(points: Sequence[Point], marks: Sequence[Mark], palette: Palette) -> dict[str, Any]:
    areas = [
        [
            {
                "xAxis": begin,
                "name": said[:40],
                "itemStyle": {"color": palette.down if is_page else palette.degraded, "opacity": 0.18},
                "label": {"color": palette.down if is_page else palette.ink, "fontSize": 11, "position": "insideTop"},
            },
            {"xAxis": end},
        ]
        for begin, end, said, is_page in marks
    ]
    lines: list[dict[str, Any]] = []
    for name, colour, kind in (("p50", P50, "solid"), ("p95", P95, "solid"), ("p99", P99, "dashed")):
        values = [_milliseconds(getattr(point, f"{name}_s")) for point in points]
        style = {"color": colour, "width": 1.2 if kind == "dashed" else 1.8, "type": kind}
        lines.append(
            {"type": "line", "name": name, "data": with_gaps(points, values), "lineStyle": style, "color": colour}
        )
    if areas:
        lines[0]["markArea"] = {"silent": True, "data": areas}
    return {"title": "Latency percentiles (ms)", "height": 170, "series": lines}


def _phases(points: Sequence[Point]) -> dict[str, Any]:
    series = []
    for name, field in _PHASE_FIELDS.items():
        values = [_milliseconds(_mean(point, field)) for point in points]
        if not any(values):
            continue
        area = {"type": "line", "name": name, "stack": "phases", "data": with_gaps(points, values)}
        series.append({**area, "color": PHASES[name], "lineStyle": {"width": 0}, "areaStyle": {"opacity": 0.85}})
    return {"title": "Phases, mean (ms)", "height": 130, "series": series}


def _answers(points: Sequence[Point]) -> dict[str, Any]:
    series = []
    for family, colour in CODES.items():
        values = [_in_family(point, family) for point in points]
        if any(values):
            series.append(_bar(family if family != "none" else "no answer", "codes", colour, points, values))
    return {"title": "Answers per interval, by status code", "height": 90, "series": series}


def _states(points: Sequence[Point], palette: Palette) -> dict[str, Any]:
    series = []
    for look in (Look.UP, Look.DEGRADED, Look.DOWN, Look.UNKNOWN):
        values = [getattr(point, look.value) for point in points]
        if any(values):
            series.append(_bar(look.word, "states", palette.of(look), points, values))
    return {"title": "Results per interval, by state", "height": 62, "series": series}


def _bar(name: str, stack: str, colour: str, points: Sequence[Point], values: Sequence[int]) -> dict[str, Any]:
    data = [[point.t_ms + step_ms(points) / 2, value] for point, value in zip(points, values, strict=True)]
    return {"type": "bar", "name": name, "stack": stack, "data": data, "color": colour, "barMaxWidth": 14}


def _stack(parts: Sequence[Mapping[str, Any]], palette: Palette, from_ms: int, to_ms: int) -> Option:
    option: Option = {
        "animation": False,
        "tooltip": {"trigger": "axis", "axisPointer": {"type": "line"}},
        "axisPointer": {"link": [{"xAxisIndex": "all"}]},
        "title": [], "legend": [], "grid": [], "xAxis": [], "yAxis": [], "series": [],
    }  # fmt: skip
    top = 4
    for index, part in enumerate(parts):
        title = {"text": part["title"], "left": 0, "top": top, "textStyle": {"fontSize": 13, "fontWeight": 600}}
        option["title"].append({**title, "textStyle": {**title["textStyle"], "color": palette.ink}})
        option["legend"].append(
            {
                "data": [one["name"] for one in part["series"]],
                "right": 0,
                "top": top + 1,
                "itemWidth": 12,
                "itemHeight": 8,
                "itemGap": 12,
                "icon": "roundRect",
                "textStyle": {"color": palette.quiet, "fontSize": 12},
            }
        )
        option["grid"].append({"left": _LEFT, "right": _RIGHT, "top": top + 30, "height": part["height"]})
        option["xAxis"].append(_x_axis(palette, index, from_ms, to_ms, index == len(parts) - 1))
        axis = {"type": "value", "gridIndex": index, "splitNumber": 4 if part["height"] > 100 else 2, "minInterval": 0}
        option["yAxis"].append({**axis, "axisLabel": {"color": palette.quiet}, **_y_style(palette)})
        option["series"] += [
            {"showSymbol": len(one["data"]) < 4, "xAxisIndex": index, "yAxisIndex": index, **one}
            for one in part["series"]
        ]
        top += 30 + part["height"] + 20
    return option


def _x_axis(palette: Palette, index: int, from_ms: int, to_ms: int, labelled: bool) -> dict[str, Any]:
    return {
        "type": "time",
        "gridIndex": index,
        "min": from_ms,
        "max": to_ms,
        "axisLabel": {"show": labelled, "color": palette.quiet, "hideOverlap": True},
        "axisLine": {"lineStyle": {"color": palette.line}},
        "axisTick": {"show": labelled},
        "splitLine": {"show": False},
    }


def _y_style(palette: Palette) -> dict[str, Any]:
    return {"splitLine": {"lineStyle": {"color": palette.line}}, "axisLine": {"show": False}}


def _mean(point: Point, field: str) -> float | None:
    value: float | None = getattr(point.phases, field)
    return value


def _in_family(point: Point, family: str) -> int:
    if family == "none":
        return max(0, point.n - sum(point.codes.values()))
    return sum(n for code, n in point.codes.items() if code // 100 == int(family[0]))


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)


def _scale(name: str) -> tuple[float, str]:
    if name.endswith("_ratio"):
        return 100.0, "%"
    if name.endswith("_s") and not name.endswith("_per_s"):
        return 1000.0, "ms"
    if name.endswith("_bytes"):
        return 1e-6, "MB"
    return 1.0, ""


def _scaled(value: float | None, scale: float) -> float | None:
    return None if value is None else round(value * scale, 4)


def metric_title(name: str) -> str:
    """A metric's name with the unit of its chart: `Hit ratio (%)`."""
    unit = _scale(name)[1]
    return f"{phrase.label(name)} ({unit})" if unit else phrase.label(name)
