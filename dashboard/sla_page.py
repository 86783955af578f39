"""How the report of uptime reads: one HTML file with everything in it, for screens light and dark and for paper."""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from html import escape

from dashboard import phrase
from dashboard.sla import CheckSla, Figures, IncidentSla, SiteSla, Sla, TargetSla
from dashboard.theme import DARK, LIGHT, TIER_WORDS, Palette

DAY_MS = 86_400_000
_BAR, _GAP, _HEIGHT = 7, 2, 22
_HEADS = ("", "Uptime", "Covered", "Downtime", "p50", "p95", "p99", "Incidents", "Days")


def to_html(sla: Sla) -> str:
    """The page. It loads nothing and runs nothing: its own policy allows its style sheet and no more."""
    style = _style()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    title = f"Uptime {_date(sla.from_ms)} to {_date(sla.to_ms)}"
    body = _nothing(sla) if sla.is_empty else "".join(_site(site, sla) for site in sla.sites)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{digest}'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body><main>"
        f"<h1>{escape(title)}</h1><p class=quiet>{_span(sla)} UTC. Made by Backwatch on {_moment(sla.made_ms)} UTC.</p>"
        f"{_list('Of this period', sla.notes, 'note')}{body}{_incidents(sla)}{_gaps(sla)}"
        f"{_list('How this was counted', sla.rules, 'rules')}</main></body></html>\n"
    )


def _site(site: SiteSla, sla: Sla) -> str:
    front = f" ({TIER_WORDS[site.front].lower()})" if site.front else ""
    rows = [_row("site", f"{site.title}{front}", "", site.figures, site.incidents, "")]
    for target in site.targets:
        rows.append(_target(target))
        rows += [_check(check, sla) for check in target.checks]
    heads = "".join(f'<th scope="col">{head}</th>' for head in _HEADS)
    return (
        f"<section><h2>{escape(site.title)}</h2><p class=lead><strong>{phrase.uptime(site.figures.uptime)}</strong> "
        f"uptime, {_share(site.figures.coverage)} covered, {_count(site.incidents, 'incident')}</p>"
        f"<div class=wide><table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _target(target: TargetSla) -> str:
    quiet = TIER_WORDS[target.tier]
    if target.maintenance_s:
        quiet += f", {phrase.span(target.maintenance_s)} of maintenance taken out"
    return _row("target", target.title, quiet, target.figures, target.incidents, "")


def _check(check: CheckSla, sla: Sla) -> str:
    return _row("check", check.id.split("/", 2)[-1], check.kind, check.figures, None, _days(check, sla))


def _row(kind: str, name: str, quiet: str, figures: Figures, incidents: int | None, days: str) -> str:  # noqa: PLR0917
    down = "—" if figures.down_s is None else phrase.span(figures.down_s)
    cells = (
        phrase.uptime(figures.uptime),
        _share(figures.coverage),
        down,
        *(phrase.latency(value) for value in (figures.p50_s, figures.p95_s, figures.p99_s)),
        "" if incidents is None else str(incidents),
    )
    said = f" <span class=quiet>{escape(quiet)}</span>" if quiet and quiet != name else ""
    columns = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return f'<tr class={kind}><th scope="row">{escape(name)}{said}</th>{columns}<td class=days>{days}</td></tr>'


def _days(check: CheckSla, sla: Sla) -> str:
    """A bar a day: what was good stands above, what was bad grows from below; a low grey one where nothing is known."""
    first_ms = sla.from_ms - sla.from_ms % DAY_MS
    starts = list(range(first_ms, sla.to_ms, DAY_MS))
    bars = "".join(_bar(number, day_ms, check.days) for number, day_ms in enumerate(starts))
    width = len(starts) * (_BAR + _GAP)
    bad = sum(1 for ok, judged in check.days.values() if ok < judged)
    said = f"{len(starts)} days, {_count(bad, 'day')} with bad answers"
    return f'<svg width="{width}" height="{_HEIGHT}" role="img" aria-label="{said}">{bars}</svg>'


def _bar(number: int, day_ms: int, days: Mapping[int, tuple[int, int]]) -> str:
    ok, judged = days.get(day_ms, (0, 0))
    x = number * (_BAR + _GAP)
    if not judged:
        return (
            f'<rect class=none x="{x}" y="{_HEIGHT - 5}" width="{_BAR}" height="5">'
            f"<title>{_date(day_ms)}: nothing judged</title></rect>"
        )
    # A single bad answer of a day must be seen.
    bad = 0 if ok == judged else max(3, round((1 - ok / judged) * _HEIGHT))
    said = f"<title>{_date(day_ms)}: {phrase.uptime(ok / judged)}</title>"
    good = f'<rect class=up x="{x}" y="0" width="{_BAR}" height="{_HEIGHT - bad}">{said}</rect>'
    down = f'<rect class=down x="{x}" y="{_HEIGHT - bad}" width="{_BAR}" height="{bad}">{said}</rect>'
    return (good if bad < _HEIGHT else "") + (down if bad else "")


def _incidents(sla: Sla) -> str:
    if not sla.incidents:
        return "<section><h2>Incidents</h2><p>None in this period.</p></section>"
    rows = "".join(_incident(one) for one in sla.incidents)
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("Root", "What", "Severity", "From", "To", "Lasted"))
    return (
        f"<section><h2>Incidents</h2><div class=wide><table class=list><thead><tr>{heads}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div></section>"
    )


def _incident(one: IncidentSla) -> str:
    incident = one.incident
    end = "still open" if incident.resolved_ms is None else _moment(incident.resolved_ms)
    cells = (incident.title, str(incident.severity), _moment(incident.opened_ms), end, phrase.span(one.within_s))
    columns = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return f'<tr><th scope="row">{escape(incident.root)}</th>{columns}</tr>'


def _gaps(sla: Sla) -> str:
    said = [
        f"{_moment(gap.at_ms)} to {_moment(gap.end_ms) if gap.end_ms else 'unknown'}: {gap.text}" for gap in sla.gaps
    ]
    return _list("Gaps of our own", said, "gaps")


def _list(title: str, lines: Iterable[str], name: str) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<section class={name}><h2>{title}</h2><ul>{items}</ul></section>" if items else ""


def _nothing(sla: Sla) -> str:
    names = ", ".join(site.title for site in sla.sites)
    watched = f" of {escape(names)}" if names else ""
    return (
        f"<section class=empty><h2>Nothing was measured</h2><p>The store holds no answer{watched} between "
        f"{_moment(sla.from_ms)} and {_moment(sla.to_ms)} UTC, so there is no uptime to report: neither good nor bad."
        "</p></section>"
    )


def _share(value: float | None) -> str:
    return "—" if value is None else f"{int(value * 1000) / 10:g} %"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _span(sla: Sla) -> str:
    return f"{_moment(sla.from_ms)} to {_moment(sla.to_ms)}"


def _date(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d}"


def _moment(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M}"


def _style() -> str:
    return (
        f":root{{{_colours(LIGHT)}}}@media (prefers-color-scheme:dark){{:root{{{_colours(DARK)}}}}}"
        # Paper is white, whatever the screen was.
        f"@media print{{:root{{{_colours(LIGHT)}}}section{{break-inside:auto}}tr,h2{{break-inside:avoid}}"
        "thead{display:table-header-group}body{font-size:10px}main{padding:0}.wide{overflow:visible}}"
        "*{box-sizing:border-box}body{margin:0;background:var(--surface);color:var(--ink);"
        "font:14px/1.45 system-ui,sans-serif;-webkit-print-color-adjust:exact;print-color-adjust:exact}"
        "main{max-width:1180px;margin:0 auto;padding:32px 20px}h1{font-size:24px;margin:0 0 4px}"
        "h2{font-size:17px;margin:32px 0 6px}.quiet{color:var(--quiet);font-weight:400}.lead{margin:0 0 10px}"
        ".lead strong{font-size:20px}.wide{overflow-x:auto}"
        "table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}"
        "th,td{padding:5px 10px 5px 0;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}"
        "th[scope=row],thead th:first-child{text-align:left;white-space:normal}thead th{color:var(--quiet);"
        "font-weight:500}.site th,.site td{font-weight:650}.target th{padding-left:12px}.check th{padding-left:28px;"
        "font-weight:400}.days{padding-right:0}.list td,.list thead th{text-align:left}.list td{white-space:normal}"
        ".note ul{background:var(--raised);padding:10px 10px 10px 28px;border-radius:6px}"
        ".up{fill:var(--up)}.down{fill:var(--down)}.none{fill:var(--unknown)}svg{display:block;margin-left:auto}"
    )


def _colours(palette: Palette) -> str:
    names = ("up", "down", "unknown", "surface", "raised", "line", "ink", "quiet")
    return "".join(f"--{name}:{getattr(palette, name)};" for name in names)
