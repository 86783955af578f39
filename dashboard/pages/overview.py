"""What is broken now?"""

from dashboard.components.wall import wall


def page() -> None:
    """Counts by state and the wall, live; it reads `/api/v1/wall` by itself, so a broken store is said there."""
    wall()
