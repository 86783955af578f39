"""The wall on a page: every check at a glance, polling `/api/v1/wall` by itself."""

from dashboard.components import renderer


def wall() -> None:
    """Draw the wall. It refreshes without the script running again and keeps its filters in the URL."""
    renderer("wall")(key="wall", data={})
