"""How has this check behaved?"""

import streamlit as st

from alerts.incident import Incident, Severity
from alerts.store import acknowledge, add_silence
from dashboard import charts, frame, phrase, queries
from dashboard.components import panel as draw
from dashboard.context import current
from dashboard.queries import CheckHistory
from dashboard.standing import CheckNow
from dashboard.theme import TIER_WORDS, Look
from probes.evidence_text import as_text
from probes.result import Result
from probes.store.asks import request_run
from probes.store.summary import Summary
from probes.target import Check

_RANGES = {"1h": 3600.0, "6h": 21_600.0, "24h": 86_400.0, "7d": 604_800.0, "30d": 2_592_000.0, "90d": 7_776_000.0}
_SILENCES = {"1 h": 3600, "4 h": 14_400, "1 d": 86_400, "7 d": 604_800}
_POINTS = 180
_PHASES = {"dns_s": "DNS", "connect_s": "Connect", "tls_s": "TLS", "ttfb_s": "TTFB", "transfer_s": "Transfer"}
_IN_FIGURES = ("days_left",)


@frame.guarded
def page() -> None:
    """Choose a check and a range; the rest refreshes by itself."""
    context = current()
    if frame.nothing_watched(context):
        return
    ids = list(context.estate.checks)
    asked = st.query_params.get("check")
    if not frame.known(asked, ids):
        said = f"The configuration has no check {asked!r}. It may have been renamed or removed."
        draw.panel("unknown", [draw.nothing("Check not found", said)])
        st.selectbox("Check", ids, index=None, placeholder="Choose another check", key="other", on_change=_choose)
        return
    chooser, span, actions = st.columns([4, 4, 4], vertical_alignment="bottom")
    with chooser:
        check_id = st.selectbox("Check", ids, index=_first(ids), key="check", bind="query-params")
    with span:
        chosen = st.segmented_control(
            "Range", list(_RANGES), default="6h", required=True, key="range", bind="query-params"
        )
    check = context.estate.checks[check_id or ids[0]]
    with actions, st.container(horizontal=True, horizontal_alignment="right"):
        _actions(check)
    _live(check.id, _RANGES[chosen or "6h"])


def _choose() -> None:
    st.query_params["check"] = st.session_state["other"]


def _first(ids: list[str]) -> int:
    """Without an address: the check in the worst state."""
    checks = frame.snapshot().checks
    return min(range(len(ids)), key=lambda index: checks[ids[index]].look.rank)


def _actions(check: Check) -> None:
    incident = _incident_of(check)
    if incident is not None and incident.acked_by is None:
        with st.popover("Acknowledge", icon=":material/done_all:"):
            name = frame.author("ack-author")
            comment = st.text_input("Comment", key="ack-comment", max_chars=300)
            if st.button("I have it", type="primary", key="ack"):
                acknowledge(current().engine, incident.id, name, comment)
                frame.forget()
                st.rerun()
    with st.popover("Silence", icon=":material/notifications_paused:"):
        name = frame.author("silence-author")
        length = st.segmented_control("For", list(_SILENCES), default="1 h", required=True, key="silence-for")
        comment = st.text_input("Why", key="silence-comment", max_chars=300)
        if st.button("Silence this target", type="primary", key="silence"):
            ends_ms = queries.now_ms() + _SILENCES[length or "1 h"] * 1000
            add_silence(current().engine, {"target": check.target}, ends_ms, name, comment)
            st.toast("Silenced. Results are kept; nobody is told until it ends.")
    if st.button("Run now", icon=":material/play_arrow:", key="run"):
        request_run(current().engine, check.id, "dashboard")
        st.toast("A worker runs it as soon as it can.")


def _incident_of(check: Check) -> Incident | None:
    return next((one for one in frame.open_incidents() if one.member(check.target)), None)


@st.fragment(run_every=10.0, key="check-live")
@frame.guarded
def _live(check_id: str, range_s: float) -> None:
    context = current()
    snapshot = frame.snapshot()
    now = snapshot.checks[check_id]
    history = queries.load_history(context.engine, check_id, now.check.target, range_s, _POINTS)
    summary = queries.load_all_summaries(context.engine).get(check_id)
    frame.top("check", now.slot_ms, snapshot.at_ms)
    blocks = [
        frame.sample_banner(history.sample_until_ms, history.from_ms),
        _head(now),
        _silence_banner(now.check),
        _figures(now, history, summary),
    ]
    draw.panel("check-head", blocks, snapshot.at_ms)
    left, right = st.columns([2.35, 1], gap="medium")
    with left:
        _charts(now.check, history)
    with right:
        draw.panel(
            "check-side", [_incidents(history), _errors(history), _changes(history), _events(history)], snapshot.at_ms
        )
        _evidence(check_id, history)


def _head(now: CheckNow) -> draw.Block:
    check = now.check
    target = current().estate.targets[check.target]
    notes: list[draw.Cell] = [
        draw.text(target.title),
        draw.text(TIER_WORDS[check.tier], href=frame.path_href(check.site)),
        draw.text(check.probe.describe()),
        draw.text(f"every {phrase.span(check.interval_s)}"),
    ]
    if now.since_ms is not None and not now.stale:
        notes.append([draw.text(f"{now.look.word.lower()} "), draw.since(now.since_ms)])
    if now.message and now.look is not Look.UP:
        notes.append(draw.text(now.message, tone="bad" if now.look is Look.DOWN else "warn"))
    return draw.head(check.id, now.look, notes)


def _silence_banner(check: Check) -> draw.Block | None:
    target_name = current().estate.targets[check.target].name
    silences = [
        one
        for one in queries.load_current_silences(current().engine)
        if one.matchers.get("target") in (check.target, target_name) or one.matchers == {"site": check.site}
    ]
    if not silences:
        return None
    one = max(silences, key=lambda silence: silence.ends_ms)
    why = f": {one.comment}" if one.comment else ""
    said = [draw.text(f"Silenced by {one.author}{why}. Ends "), draw.at(one.ends_ms), draw.text(".")]
    return draw.banner(said, quiet=True)


def _figures(now: CheckNow, history: CheckHistory, summary: Summary | None) -> draw.Block:
    items = []
    for name, uptime in history.uptimes.items():
        covered = uptime.coverage
        note = "nothing judged" if covered is None else f"{covered * 100:.0f} % covered"
        items.append(draw.figure(f"Uptime {name}", phrase.uptime(uptime.ratio), note))
    latency = phrase.latency(now.duration_s) if now.look is not Look.DOWN else "—"
    items.append(draw.figure("Newest answer", latency, f"code {now.code}" if now.code else ""))
    if summary:
        items.append(draw.figure("p50, 24 h", phrase.latency(summary.p50_s)))
        items.append(draw.figure("p95, 24 h", phrase.latency(summary.p95_s)))
    for name, value in (history.newest.metrics if history.newest else {}).items():
        if name.endswith(_IN_FIGURES):
            items.append(draw.figure("Certificate", f"{value:.0f} days", "until it expires"))
    return draw.figures(items)


def _charts(check: Check, history: CheckHistory) -> None:
    if not history.points:
        draw.panel("no-points", [draw.nothing("No results in this range", "Choose a longer range.")])
        return
    palette = frame.colours()
    marks = [
        (one.opened_ms, one.resolved_ms or history.to_ms, one.title, one.severity is Severity.PAGE)
        for one in history.incidents
    ]
    option = charts.check_chart(history.points, marks, palette, history.from_ms, history.to_ms)
    alt = f"Latency, phases, answers and states of {check.id}"
    st.echarts_chart(option, height=charts.check_chart_height(option), key="chart", alt=alt)
    names = sorted({name for point in history.points for name in point.metrics})
    limited = {limit.metric for limit in check.limits}
    names.sort(key=lambda name: (name not in limited, not name.endswith("_ratio"), name))
    for row in range(0, min(len(names), 12), 2):
        columns = st.columns(2)
        for column, name in zip(columns, names[row : row + 2], strict=False):
            with column:
                limits = [limit for limit in check.limits if limit.metric == name]
                option = charts.metric_chart(
                    name, history.points, limits, palette, from_ms=history.from_ms, to_ms=history.to_ms
                )
                st.text(charts.metric_title(name))
                st.echarts_chart(option, height=160, key=f"metric-{name}", alt=charts.metric_title(name))


def _incidents(history: CheckHistory) -> draw.Block:
    rows = [
        [
            draw.state(Look.UP if not one.is_open else Look.DOWN, one.state.value.capitalize()),
            draw.text(one.title, href=frame.incident_href(one.id)),
            phrase.span(((one.resolved_ms or history.to_ms) - one.opened_ms) / 1000),
        ]
        for one in history.incidents[:8]
    ]
    return draw.table("Incidents", ["State", "Incident", "For"], rows, "No incident in this range.")


def _errors(history: CheckHistory) -> draw.Block:
    rows: list[list[draw.Cell]] = []
    for run in history.errors[:8]:
        one = run.newest
        said = draw.text(one.reason.value if one.reason else one.status.value, mono=True)
        times = draw.text(f" × {run.n}", tone="quiet") if run.n > 1 else None
        rows.append([draw.at(one.slot_ms), draw.text(_reached(one), tone="quiet"), [said, f" {one.message}", times]])
    return draw.table("Last errors", ["When", "Reached", "Error"], rows, "No error in this range.")


def _evidence(check_id: str, history: CheckHistory) -> None:
    """What failing runs saw. It came from outside, so it is shown as text and nothing else."""
    for seen in queries.load_seen(current().engine, check_id, history.from_ms, history.to_ms, limit=4):
        label = f"What the {seen.kind.value} failing run saw, {phrase.utc(seen.slot_ms)}"
        with st.expander(label, icon=":material/search:"):
            st.code(as_text(seen.content), language=None, wrap_lines=True)


def _reached(result: Result) -> str:
    """The last phase that a run reached."""
    reached = [word for field, word in _PHASES.items() if getattr(result.phases, field) is not None]
    if result.code:
        return f"{reached[-1] if reached else 'answer'} {result.code}"
    return reached[-1] if reached else "—"


def _changes(history: CheckHistory) -> draw.Block:
    rows = []
    for one in history.changes[:10]:
        before = Look.of(one.before).word if one.before else "No data"
        after = Look.of(one.after)
        why = one.message or (one.reason.value if one.reason else "answers again" if after is Look.UP else "")
        rows.append([draw.at(one.slot_ms), [draw.text(f"{before} → ", tone="quiet"), draw.state(after)], why])
    return draw.table("State changes", ["When", "Change", "Why"], rows, "No change in this range.")


def _events(history: CheckHistory) -> draw.Block | None:
    """What a run found to be another than before: certificate, DNS answer, redirects, address family."""
    if not history.events:
        return None
    rows: list[list[draw.Cell]] = [[draw.at(one.at_ms), one.text] for one in history.events]
    return draw.table("What changed at the target", ["When", "What"], rows)
