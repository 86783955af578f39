"""Did the message go out?"""

import os
from pathlib import Path

import streamlit as st

from alerts.store import request_test
from alerts.store.notifications import NotifierState
from dashboard import frame, phrase, queries
from dashboard.components import panel as draw
from dashboard.context import current
from dashboard.inbox import Message, list_messages
from dashboard.pages.incidents import delivery
from dashboard.theme import Look

INBOX = "BACKWATCH_INBOX"


@frame.guarded
def page() -> None:
    """Notifiers, deliveries, and in the demo the inbox they arrive in."""
    names = list(current().alerting.notifiers)
    if names:
        _test(names)
    _live()


def _test(names: list[str]) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        notifier = st.selectbox("Notifier", names, key="notifier", bind="query-params", width=280)
        if st.button("Send a test", icon=":material/send:", key="test") and notifier:
            request_test(current().engine, notifier, "dashboard")
            st.toast("Queued. The alert engine sends it; its attempts appear below.")


@st.fragment(run_every=5.0, key="deliveries")
@frame.guarded
def _live() -> None:
    at_ms = queries.now_ms()
    notifications, pending, states = queries.load_deliveries(current().engine)
    late_s = (at_ms - pending.oldest_due_ms) / 1000 if pending.oldest_due_ms else 0.0
    dead = [one for one in notifications if one.state == "dead"]
    blocks: list[draw.Block | None] = [draw.head("Notifications")]
    if pending.dead:
        what = "message" if pending.dead == 1 else "messages"
        said = f"{pending.dead} {what} could not be delivered and will not be tried again."
        why = dead[0].last_error if dead else ""
        blocks.append(draw.banner([draw.text(said), draw.text(f" Last reason: {why}" if why else "")]))
    overdue = phrase.span(late_s) if pending.n and late_s > 0 else "—"
    blocks.append(
        draw.figures(
            [
                draw.figure("Waiting", str(pending.n), "to be sent"),
                draw.figure("Oldest overdue", overdue, "", Look.DEGRADED if pending.n and late_s > 60 else None),
                draw.figure("Given up", str(pending.dead), "", Look.DOWN if pending.dead else None),
            ]
        )
    )
    blocks.append(_notifiers(states, at_ms))
    columns = ["State", "Notifier", "About", "Attempts", "When", "Answer", "Message"]
    rows: list[list[draw.Cell]] = [
        [*delivery(one), draw.text(one.title, href=frame.incident_href(one.incident_id) if one.incident_id else None)]
        for one in notifications[:100]
    ]
    blocks.append(draw.table("Deliveries", columns, rows, "No message was ever due. Send a test to see one go out."))
    frame.top("deliveries", frame.snapshot().newest_ms, at_ms)
    draw.panel("deliveries", [*blocks, *_inbox()], at_ms)


def _notifiers(states: dict[str, NotifierState], at_ms: int) -> draw.Block:
    rows: list[list[draw.Cell]] = []
    for name, notifier in current().alerting.notifiers.items():
        known = states.get(name)
        look, word, why = _fares(known, at_ms)
        last = draw.at(known.last_ok_ms) if known else "—"
        rows.append([draw.text(name, strong=True), notifier.kind, draw.state(look, word), last, why])
    empty = "No notifier is configured: nobody is told of anything."
    return draw.table("Notifiers", ["Name", "Kind", "State", "Last delivered", "Last error"], rows, empty)


def _fares(known: NotifierState | None, at_ms: int) -> tuple[Look, str, str]:
    if known is None:
        return Look.UNKNOWN, "Never used", ""
    if known.disabled:
        return Look.DOWN, "Gone", known.last_error
    if known.open_until_ms and known.open_until_ms > at_ms:
        return Look.DOWN, "Failing", known.last_error
    if known.paused_until_ms and known.paused_until_ms > at_ms:
        return Look.DEGRADED, "Paused", known.last_error
    if known.failures:
        return Look.DEGRADED, f"{known.failures} failed", known.last_error
    return Look.UP, "Delivers", ""


def _inbox() -> list[draw.Block | None]:
    """The messages in the demo's own inbox; nothing where there is none."""
    folder = os.environ.get(INBOX)
    if not folder:
        return []
    messages = list_messages(Path(folder))
    rows: list[list[draw.Cell]] = [
        [draw.at(one.at_ms), _by(one), one.to, draw.text(one.subject, strong=True), one.text[:300]]
        for one in messages[:50]
    ]
    empty = "Nothing has arrived yet. Break something: python -m sample_targets break db_down"
    newest = [_whole(messages[0])] if messages else []
    columns = ["Arrived", "By", "To", "Subject", "Text"]
    return [draw.table("The demo's inbox: what really arrived", columns, rows, empty), *newest]


def _by(message: Message) -> str:
    if message.verified is None:
        return message.channel
    return f"{message.channel}, signature {'holds' if message.verified else 'is WRONG'}"


def _whole(message: Message) -> draw.Block:
    return draw.plain(f"{message.subject}\n\n{message.text}")
