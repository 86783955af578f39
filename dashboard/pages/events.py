"""What else happened: changed certificates and DNS answers, deploys, configuration, our own gaps?"""

import streamlit as st

from dashboard import frame, phrase, queries
from dashboard.components import panel as draw
from dashboard.context import current
from probes.store.events import Event

_RANGES = {"24h": 86_400.0, "7d": 604_800.0, "30d": 2_592_000.0, "90d": 7_776_000.0}
_KINDS = {
    "certificate": "Certificate",
    "dns_answer": "DNS answer",
    "redirects": "Redirects",
    "address_family": "Address family",
    "deploy": "Deploy",
    "config": "Configuration",
    "gap": "Gap",
    "clock_jump": "Clock jump",
}
_WORDS = {word: kind for kind, word in _KINDS.items()}


@frame.guarded
def page() -> None:
    """Choose a range and a kind; the rest refreshes by itself."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        span = st.segmented_control(
            "Range", list(_RANGES), default="7d", required=True, key="range", bind="query-params"
        )
        kind = st.selectbox(
            "Kind", list(_WORDS), index=None, placeholder="All kinds", key="kind", bind="query-params", width=280
        )
    _live(_RANGES[span or "7d"], _WORDS.get(kind or ""))


@st.fragment(run_every=10.0, key="events-live")
@frame.guarded
def _live(range_s: float, kind: str | None) -> None:
    at_ms = queries.now_ms()
    rows = [_row(one) for one in queries.load_happened(current().engine, range_s, kind)]
    what = f"{_KINDS[kind].lower()} events" if kind else "events"
    empty = f"No {what} in this range."
    frame.top("events", frame.snapshot().newest_ms, at_ms)
    columns = ["When", "What", "To", "Text", "For"]
    draw.panel("events", [draw.head("Events"), draw.table("What happened", columns, rows, empty)], at_ms)


def _row(one: Event) -> list[draw.Cell]:
    kind = _KINDS.get(one.kind) or phrase.label(one.kind)
    is_check = one.subject in current().estate.checks
    to = draw.text(one.subject or "—", href=frame.check_href(one.subject) if is_check else None)
    length = phrase.span((one.end_ms - one.at_ms) / 1000) if one.end_ms else "—"
    return [draw.at(one.at_ms), kind, to, one.text, length]
