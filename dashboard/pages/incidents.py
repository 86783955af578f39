"""What happened, what is open, who has it?"""

import streamlit as st

from alerts.incident import Incident, IncidentState, Notification, Severity
from alerts.store import acknowledge, add_comment, add_silence, expire_silence, resolve
from dashboard import frame, phrase, queries
from dashboard.components import panel as draw
from dashboard.context import current
from dashboard.queries import IncidentDetail
from dashboard.theme import TIER_WORDS, Look

_STATES = {"open": (IncidentState.OPEN, IncidentState.ACKED), "resolved": (IncidentState.RESOLVED,), "all": None}
_SILENCES = {"1 h": 3600, "4 h": 14_400, "1 d": 86_400}
_EVENT_LOOKS = {"opened": Look.DOWN, "joined": Look.DEGRADED, "resolved": Look.UP, "acked": Look.MAINTENANCE}
_DELIVERY_LOOKS = {"sent": Look.UP, "dead": Look.DOWN, "pending": Look.UNKNOWN, "sending": Look.UNKNOWN}


@frame.guarded
def page() -> None:
    """The list, or the one incident that the address names."""
    asked = st.query_params.get("incident")
    if asked:
        _one(asked)
        return
    shown = st.segmented_control(
        "Show",
        list(_STATES),
        default="all",
        required=True,
        key="state",
        bind="query-params",
        format_func=str.capitalize,
    )
    _list(shown or "all")
    _silences()


@st.fragment(run_every=5.0, key="incident-list")
@frame.guarded
def _list(shown: str) -> None:
    at_ms = queries.now_ms()
    incidents = queries.load_incident_list(current().engine, _STATES[shown])
    open_ones = [one for one in incidents if one.is_open]
    blocks: list[draw.Block | None] = [draw.head("Incidents")]
    if shown != "resolved":
        blocks.append(_summary(open_ones))
    rows = [_row(one, at_ms) for one in incidents]
    columns = ["State", "Incident", "Root", "Members", "Opened", "For", "Who has it"]
    if rows:
        blocks.append(draw.table("", columns, rows))
    else:
        said = "When a target fails, the incident that names it appears here with everything that waits for it."
        blocks.append(draw.nothing("No incident", said))
    frame.top("incidents", frame.snapshot().newest_ms, at_ms)
    draw.panel("incidents", blocks, at_ms)


def _summary(open_ones: list[Incident]) -> draw.Block:
    if not open_ones:
        return draw.sentence(Look.UP, [draw.text("No incident is open.")])
    unanswered = [one for one in open_ones if one.acked_by is None]
    said = f"{len(open_ones)} open, {len(unanswered)} of them with nobody. "
    look = Look.DOWN if any(one.severity is Severity.PAGE for one in open_ones) else Look.DEGRADED
    newest = open_ones[0]
    link = draw.text(newest.title, href=frame.incident_href(newest.id))
    return draw.sentence(look, [draw.text(said, strong=True), draw.text("Newest: "), link])


def _row(one: Incident, at_ms: int) -> list[draw.Cell]:
    return [
        draw.state(_look(one), one.state.value.capitalize()),
        draw.text(one.title, href=frame.incident_href(one.id), strong=True),
        one.root,
        ", ".join(member.target for member in one.members if member.target != one.root) or "—",
        draw.at(one.opened_ms),
        phrase.span(((one.resolved_ms or at_ms) - one.opened_ms) / 1000),
        one.acked_by or "—",
    ]


def _look(one: Incident) -> Look:
    if not one.is_open:
        return Look.UP
    return Look.DOWN if one.severity is Severity.PAGE else Look.DEGRADED


def _one(incident_id: str) -> None:
    detail = queries.load_incident_detail(current().engine, incident_id)
    draw.panel("back", [draw.head("", notes=[draw.text("← All incidents", href="/incidents")])])
    if detail is None:
        said = "The address names an incident that is not in the store. Resolved ones are kept for a time only."
        draw.panel("unknown", [draw.nothing("Incident not found", said)])
        return
    _answers(detail.incident)
    _detail(incident_id)


def _answers(incident: Incident) -> None:
    with st.container(horizontal=True):
        if incident.state is IncidentState.OPEN:
            _answer("Acknowledge", "done_all", "I have it", incident)
        _answer("Comment", "comment", "Write it down", incident)
        if incident.is_open:
            _silence(incident)
            _answer("Resolve", "check_circle", "Close by hand", incident)


def _answer(label: str, icon: str, button: str, incident: Incident) -> None:
    with st.popover(label, icon=f":material/{icon}:"):
        name = frame.author(f"{label}-author")
        comment = st.text_area("Comment", key=f"{label}-comment", max_chars=500)
        if not st.button(button, type="primary", key=f"{label}-do"):
            return
        engine = current().engine
        if label == "Acknowledge":
            done = acknowledge(engine, incident.id, name, comment)
        elif label == "Resolve":
            done = resolve(engine, incident.id, name, comment)
        else:
            done = bool(comment.strip()) and add_comment(engine, incident.id, name, comment)
        frame.forget()
        if done:
            st.rerun()
        st.toast("Nothing was changed: it is over already, or there was nothing to say.")


def _silence(incident: Incident) -> None:
    with st.popover("Silence", icon=":material/notifications_paused:"):
        name = frame.author("silence-author")
        length = st.segmented_control("For", list(_SILENCES), default="1 h", required=True, key="silence-for")
        comment = st.text_input("Why", key="silence-comment", max_chars=300)
        if st.button("Silence its root", type="primary", key="silence-do"):
            ends_ms = queries.now_ms() + _SILENCES[length or "1 h"] * 1000
            add_silence(current().engine, {"target": incident.root}, ends_ms, name, comment)
            st.toast("Silenced. Nobody is told about this target until it ends.")


@st.fragment(run_every=5.0, key="incident-detail")
@frame.guarded
def _detail(incident_id: str) -> None:
    at_ms = queries.now_ms()
    detail = queries.load_incident_detail(current().engine, incident_id)
    if detail is None:
        return
    one = detail.incident
    notes: list[draw.Cell] = [
        draw.text(f"severity {one.severity.value}"),
        [draw.text("opened "), draw.at(one.opened_ms)],
        draw.text(f"lasts {phrase.span(((one.resolved_ms or at_ms) - one.opened_ms) / 1000)}"),
        draw.text(f"{one.acked_by} has it" if one.acked_by else "nobody has it" if one.is_open else one.closed_as),
    ]
    head = draw.head(one.title, _look(one), notes, word=one.state.value.capitalize())
    cause = draw.sentence(_look(one), _cause(one)) if one.is_open else None
    frame.top("incident", frame.snapshot().newest_ms, at_ms)
    draw.panel("incident-head", [head, cause], at_ms)
    left, right = st.columns([1.2, 1], gap="medium")
    with left:
        items = [
            {
                "at": event.at_ms,
                "kind": event.kind.replace("_", " ").capitalize(),
                "text": event.text,
                "author": event.author,
                "look": _EVENT_LOOKS.get(event.kind, ""),
            }
            for event in reversed(detail.events)
        ]
        draw.panel("incident-time", [draw.timeline("What happened, newest first", items)], at_ms)
    with right:
        draw.panel("incident-side", [_members(one), _deliveries(detail)], at_ms)


def _cause(one: Incident) -> list[draw.Cell]:
    target = current().estate.targets.get(one.root)
    if target is None:
        return [draw.text(one.root, strong=True), draw.text(f": {one.cause}")]
    start = frame.check_href(target.checks[0]) if target.checks else frame.path_href(target.site)
    return [
        draw.text(f"{TIER_WORDS[target.tier]}: ", strong=True),
        draw.text(f"{one.root}, {one.cause}. "),
        draw.text("Start here: ", strong=True),
        draw.text(target.name, href=start),
        draw.text(" · "),
        draw.text("request path", href=frame.path_href(target.site)),
    ]


def _members(one: Incident) -> draw.Block:
    rows: list[list[draw.Cell]] = []
    for member in one.members:
        word = "root" if member.target == one.root else "waits"
        look = Look.UP if not member.active else Look.DEGRADED if member.level == "degraded" else Look.DOWN
        said = draw.text(word, strong=word == "root")
        rows.append(
            [member.target, said, draw.state(look, "" if member.active else "Well again"), draw.at(member.joined_ms)]
        )
    return draw.table("Targets", ["Target", "Role", "Now", "Joined"], rows)


def _deliveries(detail: IncidentDetail) -> draw.Block:
    rows = [delivery(one)[:5] for one in detail.notifications]
    return draw.table("Who was told", ["State", "Notifier", "About", "Attempts", "When"], rows, "Nobody was told yet.")


def delivery(one: Notification) -> list[draw.Cell]:
    """A delivery as the cells of a table: state, notifier, what about, attempts, when, and its last error."""
    error = f"{one.last_code or ''} {one.last_error}".strip()
    return [
        draw.state(_DELIVERY_LOOKS.get(one.state, Look.UNKNOWN), one.state.capitalize()),
        one.notifier,
        one.kind,
        str(one.attempts),
        draw.at(one.sent_ms or one.due_ms),
        draw.text(error, tone="bad" if one.state == "dead" else "quiet"),
    ]


@frame.guarded
def _silences() -> None:
    silences = queries.load_current_silences(current().engine)
    rows: list[list[draw.Cell]] = [
        [
            ", ".join(f"{label} is {value}" for label, value in one.matchers.items()),
            one.author,
            one.comment or "—",
            draw.at(one.starts_ms),
            draw.at(one.ends_ms),
        ]
        for one in silences
    ]
    columns = ["What", "By", "Why", "Since", "Ends"]
    draw.panel("silences", [draw.table("Silences", columns, rows, "Nothing is silenced.")])
    if silences:
        names = {one.id: ", ".join(one.matchers.values()) + f" by {one.author}" for one in silences}
        with st.popover("End a silence", icon=":material/notifications_active:"):
            chosen = st.selectbox("Silence", list(names), format_func=names.__getitem__)
            name = frame.author("expire-author")
            if st.button("End it now", type="primary") and chosen:
                expire_silence(current().engine, chosen, name)
                st.rerun()
