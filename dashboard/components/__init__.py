"""Our own components: the wall, the request path, and panels of text."""

from functools import cache
from pathlib import Path

import streamlit as st
from streamlit.components.v2.types import ComponentRenderer

_HERE = Path(__file__).parent


@cache
def renderer(name: str) -> ComponentRenderer:
    """The component of a folder of this package, its own style and script behind those that all share."""
    return st.components.v2.component(
        f"backwatch_{name}",
        css=(_HERE / "colours.css").read_text() + (_HERE / name / f"{name}.css").read_text(),
        js=(_HERE / "shared.js").read_text() + (_HERE / name / f"{name}.js").read_text(),
    )
