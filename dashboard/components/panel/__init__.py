"""Headings, figures, tables and timelines on a page: blocks of plain data, drawn as text and never parsed as markup."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from dashboard.components import renderer
from dashboard.theme import Look

Cell = str | Mapping[str, Any] | None | Sequence[Any]
Block = Mapping[str, Any]


def panel(key: str, blocks: Sequence[Block | None], now_ms: int | None = None) -> None:
    """Draw blocks one under the other; None is left out. `key` is unique on its page."""
    shown = [block for block in blocks if block is not None]
    if shown:
        renderer("panel")(key=key, data={"blocks": shown, "now": now_ms or int(time.time() * 1000)})


def head(title: str, look: Look | None = None, notes: Sequence[Cell] = (), word: str = "") -> Block:
    """The page's heading with a state and short notes beside it."""
    return {"type": "head", "title": title, "look": look, "notes": list(notes), "word": word}


def age(newest_ms: int | None, loaded_ms: int, note: str = "") -> Block:
    """How old the data is; counts on in the browser and turns loud when the page is no longer renewed."""
    return {"type": "age", "newest": newest_ms, "loaded": loaded_ms, "note": note}


def figure(label: str, value: Cell, note: Cell = "", look: Look | None = None) -> Mapping[str, Any]:
    """One figure for `figures`."""
    return {"label": label, "value": value, "note": note, "look": look}


def figures(items: Sequence[Mapping[str, Any]]) -> Block:
    """A line of figures."""
    return {"type": "cards", "items": list(items)}


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], empty: str = "Nothing here.") -> Block:
    """A table; says `empty` when it has no rows."""
    return {
        "type": "table",
        "title": title,
        "columns": list(columns),
        "rows": [list(row) for row in rows],
        "empty": empty,
    }


def sentence(look: Look, parts: Sequence[Cell]) -> Block:
    """One sentence that answers the page's question, announced as an alert unless it is good news."""
    return {"type": "sentence", "look": look, "parts": list(parts)}


def banner(parts: Sequence[Cell], *, quiet: bool = False) -> Block:
    """A loud strip over the page; `quiet` for a notice that is no trouble."""
    return {"type": "banner", "parts": list(parts), "tone": "quiet" if quiet else ""}


def nothing(title: str, said: str) -> Block:
    """The state of a page or part that has nothing to show."""
    return {"type": "empty", "title": title, "text": said}


def plain(said: str) -> Block:
    """Text as it came, in fixed width."""
    return {"type": "text", "text": said}


def timeline(title: str, items: Sequence[Mapping[str, Any]]) -> Block:
    """Events with `at` (epoch ms), `kind`, `text`, `author`, `look`."""
    return {"type": "timeline", "title": title, "items": list(items)}


def text(said: str, *, href: str | None = None, strong: bool = False, tone: str = "", mono: bool = False) -> Cell:
    """A piece of text: a link, strong, quiet, bad, warn or in fixed width."""
    return {"text": said, "href": href, "strong": strong, "tone": tone, "mono": mono}


def state(look: Look, word: str = "") -> Cell:
    """A state as a badge."""
    return {"look": look, "word": word}


def at(ms: int | None) -> Cell:
    """A time, said relative with the exact one on hover."""
    return {"at": ms}


def since(ms: int | None) -> Cell:
    """A beginning: the clock's time and how long ago."""
    return {"since": ms} if ms is not None else ""
