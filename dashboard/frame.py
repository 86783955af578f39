"""What every page shares: shared reads, the colours in force, what is wrong with ourselves, and a store that fails."""

import logging
from collections.abc import Callable, Sequence
from functools import wraps
from typing import ParamSpec
from urllib.parse import quote

import streamlit as st

from alerts.incident import Incident
from dashboard import queries
from dashboard.components import panel as draw
from dashboard.context import Context, current
from dashboard.maintenance import checks_in_maintenance
from dashboard.theme import Mode, Palette, palette
from dashboard.wall import notices
from probes.store.database import StoreError

log = logging.getLogger(__name__)
P = ParamSpec("P")
SHARED_S = 2.0


def mode() -> Mode:
    """Light or dark, as the browser shows it."""
    return "dark" if st.context.theme.type == "dark" else "light"


def colours() -> Palette:
    """The colours in force."""
    return palette(mode())


@st.cache_resource(ttl=SHARED_S, show_spinner=False)
def _snapshot(_digest: str) -> queries.Snapshot:
    context = current()
    return queries.load_snapshot(context.engine, context.estate, checks_in_maintenance(context))


@st.cache_resource(ttl=SHARED_S, show_spinner=False)
def _open_incidents(_digest: str) -> list[Incident]:
    return queries.load_open_incidents(current().engine)


def snapshot() -> queries.Snapshot:
    """The estate as it stands, read once for all sessions and at most two seconds old."""
    return _snapshot(current().config.digest)


def open_incidents() -> list[Incident]:
    """Incidents that are not over, shared like `snapshot`."""
    return _open_incidents(current().config.digest)


def forget() -> None:
    """Read again at once: somebody has just changed something."""
    _snapshot.clear()
    _open_incidents.clear()


def guarded(page: Callable[P, None]) -> Callable[P, None]:
    """Wrap a page or a part of one: where the store cannot be read it says so loudly and shows nothing else."""

    @wraps(page)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            page(*args, **kwargs)
        except StoreError as error:
            log.warning("the store cannot be read: %s", error)
            said = [draw.text("The store cannot be read, so nothing is known: "), draw.text(str(error))]
            draw.panel(f"broken-{page.__name__}", [draw.banner(said)])

    return wrapped


def top(key: str, newest_ms: int | None, loaded_ms: int, note: str = "") -> None:
    """The first lines of a page: what is wrong with ourselves, and how old the data is."""
    own = [draw.banner([draw.text(notice["text"])]) for notice in notices(current(), snapshot())]
    draw.panel(f"{key}-notices", own)
    draw.panel(f"{key}-age", [draw.age(newest_ms, loaded_ms, note)])


def sample_banner(sample_until_ms: int | None, from_ms: int) -> draw.Block | None:
    """Says that what is shown reaches back into sample data; None where it does not."""
    if sample_until_ms is None or from_ms >= sample_until_ms:
        return None
    said = [draw.text("History before "), draw.at(sample_until_ms), draw.text(" is sample data, not measured.")]
    return draw.banner(said, quiet=True)


def check_href(check_id: str) -> str:
    """The address of a check's page."""
    return f"/check?check={quote(check_id, safe='')}"


def incident_href(incident_id: str) -> str:
    """The address of an incident's page."""
    return f"/incidents?incident={quote(incident_id, safe='')}"


def path_href(site: str) -> str:
    """The address of a site's request path."""
    return f"/request-path?site={quote(site, safe='')}"


def author(key: str) -> str:
    """Asks who acts; remembered for the session."""
    st.session_state.setdefault("author", "")
    st.session_state.setdefault(key, st.session_state["author"])
    name = st.text_input("Your name", key=key, placeholder="who does this", max_chars=60)
    st.session_state["author"] = name
    return name.strip() or "dashboard"


def nothing_watched(context: Context) -> bool:
    """Draw the state of an estate without checks; False where there are some."""
    if context.estate.checks:
        return False
    said = f"Add a site with targets and checks to {context.config_path.name}; this page follows the file."
    draw.panel("nothing-watched", [draw.nothing("Nothing is watched yet", said)])
    return True


def known(asked: str | None, options: Sequence[str]) -> bool:
    """False where an address names something that is not there (any more)."""
    return asked is None or asked in options
