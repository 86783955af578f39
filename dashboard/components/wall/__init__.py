"""The wall on a page: every check at a glance, polling `/api/v1/wall` by itself."""

from functools import cache
from pathlib import Path

import streamlit as st
from streamlit.components.v2.types import ComponentRenderer

_HERE = Path(__file__).parent


@cache
def _renderer() -> ComponentRenderer:
    return st.components.v2.component(
        "backwatch_wall",
        css=(_HERE.parent / "colours.css").read_text() + (_HERE / "wall.css").read_text(),
        js=(_HERE / "wall.js").read_text(),
    )


def wall() -> None:
    """Draw the wall. It refreshes without the script running again and keeps its filters in the URL."""
    _renderer()(key="wall", data={})
