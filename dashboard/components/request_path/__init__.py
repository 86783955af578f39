"""The request path as a drawing: tiers as columns, targets as cards, who needs whom as lines."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.components.v2.types import ComponentRenderer

_HERE = Path(__file__).parent


@cache
def _renderer() -> ComponentRenderer:
    return st.components.v2.component(
        "backwatch_request_path",
        css=(_HERE.parent / "colours.css").read_text() + (_HERE / "request_path.css").read_text(),
        js=(_HERE / "request_path.js").read_text(),
    )


def request_path(drawing: Mapping[str, Any]) -> None:
    """Draw `drawing`: label, tiers with their nodes, edges of kind calm, soft, wait or root."""
    _renderer()(key="request_path", data=drawing)
