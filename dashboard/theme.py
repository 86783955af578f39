"""How a state looks and reads: its word, glyph, colour and bar height, in light and in dark."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from probes.result import Status
from probes.target import Tier

Mode = Literal["light", "dark"]


class Look(StrEnum):
    """What a page says of a check: its status, or maintenance. Stale and never asked both look unknown."""

    DOWN = "down"
    DEGRADED = "degraded"
    UNKNOWN = "unknown"
    MAINTENANCE = "maintenance"
    UP = "up"

    @property
    def rank(self) -> int:
        """Order on a page, trouble first."""
        return list(Look).index(self)

    @property
    def word(self) -> str:
        """The state as a word for people."""
        return self.value.capitalize()

    @property
    def glyph(self) -> str:
        """The state as a shape, so that colour is never alone."""
        return _GLYPHS[self]

    @property
    def bar_height(self) -> float:
        """Height of its bar in a strip, of 1: trouble stands out for everyone."""
        return _BAR_HEIGHTS[self]

    @classmethod
    def of(cls, status: Status) -> "Look":
        """The look of a status."""
        return cls(str(status))


_GLYPHS = {Look.DOWN: "✖", Look.DEGRADED: "▲", Look.UNKNOWN: "○", Look.MAINTENANCE: "◆", Look.UP: "●"}
_BAR_HEIGHTS = {Look.DOWN: 1.0, Look.DEGRADED: 0.8, Look.UNKNOWN: 0.22, Look.MAINTENANCE: 0.58, Look.UP: 0.58}


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours of one mode. Up and down stay apart for colour-blind eyes (28–35 in Lab under deuteranopia)."""

    up: str
    degraded: str
    down: str
    maintenance: str
    unknown: str
    surface: str
    raised: str
    line: str
    ink: str
    quiet: str
    accent: str

    def of(self, look: Look) -> str:
        """The colour of a state."""
        return str(getattr(self, look.value))


LIGHT = Palette(
    up="#1F9E8A",
    degraded="#D99A00",
    down="#BE123C",
    maintenance="#3B5BDB",
    unknown="#A7AFBA",
    surface="#FFFFFF",
    raised="#F4F6F9",
    line="#DDE3EA",
    ink="#17202B",
    quiet="#5B6673",
    accent="#2F5FD0",
)
DARK = Palette(
    up="#3FCBA4",
    degraded="#F2C12E",
    down="#F0325E",
    maintenance="#6B93FF",
    unknown="#838A93",
    surface="#0F141B",
    raised="#171E27",
    line="#2A3542",
    ink="#E4EAF1",
    quiet="#97A3B0",
    accent="#7AA2FF",
)
P50, P95, P99 = "#3B6FD4", "#E07B39", "#8B5CF6"
PHASES = {"DNS": "#8FB8FF", "Connect": "#5B8DEF", "TLS": "#8B5CF6", "TTFB": "#3B6FD4", "Transfer": "#94A3B8"}
CODES = {"1xx": "#94A3B8", "2xx": "#3FA7D6", "3xx": "#94A3B8", "4xx": "#B26BC9", "5xx": "#7C3AED", "none": "#64748B"}

TIER_WORDS = {
    Tier.WEB: "Web server",
    Tier.LOAD_BALANCER: "Load balancer",
    Tier.APP: "App server",
    Tier.AUTH: "Auth",
    Tier.DATABASE: "Database",
    Tier.CACHE: "Cache",
    Tier.QUEUE: "Queue",
    Tier.THIRD_PARTY: "Third party",
    Tier.HOST: "Host",
}


def palette(mode: Mode) -> Palette:
    """The colours of a mode."""
    return DARK if mode == "dark" else LIGHT


def streamlit_theme() -> dict[str, Any]:
    """Streamlit's configuration for both modes; with neither chosen as base, the page follows the browser."""
    options: dict[str, Any] = {
        "theme.font": "Inter, sans-serif",
        "theme.headingFont": "Inter, sans-serif",
        "theme.fontFaces": [{"family": "Inter", "url": "/assets/inter.woff2", "weight": "100 900", "style": "normal"}],
        "theme.baseFontSize": 14,
        "theme.baseRadius": "6px",
        "theme.showWidgetBorder": True,
        "theme.showSidebarBorder": True,
    }
    for mode, colours in (("light", LIGHT), ("dark", DARK)):
        options |= {
            f"theme.{mode}.primaryColor": colours.accent,
            f"theme.{mode}.linkColor": colours.accent,
            f"theme.{mode}.backgroundColor": colours.surface,
            f"theme.{mode}.secondaryBackgroundColor": colours.raised,
            f"theme.{mode}.textColor": colours.ink,
            f"theme.{mode}.borderColor": colours.line,
            f"theme.{mode}.sidebar.backgroundColor": "#F8F9FB" if mode == "light" else "#0A0E14",
            f"theme.{mode}.sidebar.secondaryBackgroundColor": "#E2E8F1" if mode == "light" else "#232C38",
        }
    return options
