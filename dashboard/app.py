"""Streamlit's entry: the pages and how to get to them, nothing else."""

from pathlib import Path

import streamlit as st

from dashboard.pages import check, events, incidents, itself, notifications, overview, request_path

st.set_page_config(
    page_title="Backwatch",
    page_icon=str(Path(__file__).parent / "assets" / "icon.svg"),
    layout="wide",
    initial_sidebar_state=216,
)
st.html(Path(__file__).parent / "assets" / "page.css")

st.navigation(
    {
        "Watch": [
            st.Page(overview.page, title="Overview", icon=":material/grid_view:", url_path="overview", default=True),
            st.Page(request_path.page, title="Request path", icon=":material/account_tree:", url_path="request-path"),
            st.Page(check.page, title="Check", icon=":material/monitoring:", url_path="check"),
            st.Page(events.page, title="Events", icon=":material/history:", url_path="events"),
        ],
        "Respond": [
            st.Page(incidents.page, title="Incidents", icon=":material/warning:", url_path="incidents"),
            st.Page(notifications.page, title="Notifications", icon=":material/mail:", url_path="notifications"),
        ],
        "Manage": [st.Page(itself.page, title="Backwatch itself", icon=":material/vital_signs:", url_path="itself")],
    },
    expanded=True,
).run()
