"""The request path as a drawing: tiers as columns, targets as cards, who needs whom as lines."""

from collections.abc import Mapping
from typing import Any

from dashboard.components import renderer


def request_path(drawing: Mapping[str, Any]) -> None:
    """Draw `drawing`: label, tiers with their nodes, edges of kind calm, soft, wait or root."""
    renderer("request_path")(key="request_path", data=drawing)
