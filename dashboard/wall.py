"""What the wall draws: every check in one small document, built at most once a second and packed once."""

import gzip
import hashlib
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dashboard.context import Context
from dashboard.maintenance import checks_in_maintenance
from dashboard.queries import Snapshot, load_all_summaries, load_snapshot
from dashboard.theme import TIER_WORDS
from probes.store.summary import Summary

FIELDS = (
    "check", "title", "site", "tier", "kind", "tags", "look", "since", "message",
    "duration_s", "uptime_90d", "p95_s", "bars", "spark",
)  # fmt: skip
LASTS_S = 1.0
SUMMARIES_LAST_S = 30.0
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_DOWN_SHARE = 0.01  # of a day: a quarter of an hour makes it a day of being down, less makes it degraded


@dataclass(frozen=True, slots=True)
class Page:
    """The document ready to send; `newest_ms` is the newest result in it."""

    body: bytes
    packed: bytes
    etag: str
    newest_ms: int | None


class Wall:
    """Builds the document on demand; requests that come together share one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._page: Page | None = None
        self._built = 0.0
        self._summaries: dict[str, Summary] = {}
        self._summarised = -SUMMARIES_LAST_S

    def page(self, context: Context) -> Page:
        """The document as of at most a second ago. Raises what the store raises."""
        with self._lock:
            now = time.monotonic()
            if self._page is None or now - self._built >= LASTS_S:
                if now - self._summarised >= SUMMARIES_LAST_S:
                    self._summaries = load_all_summaries(context.engine)
                    self._summarised = now
                self._page = self._build(context)
                self._built = time.monotonic()
            return self._page

    def _build(self, context: Context) -> Page:
        snapshot = load_snapshot(context.engine, context.estate, checks_in_maintenance(context))
        body = json.dumps(document(context, snapshot, self._summaries), separators=(",", ":")).encode()
        etag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
        if self._page is not None and self._page.etag == etag:
            return Page(self._page.body, self._page.packed, etag, snapshot.newest_ms)
        return Page(body, gzip.compress(body, 5, mtime=0), etag, snapshot.newest_ms)


def document(context: Context, snapshot: Snapshot, summaries: dict[str, Summary]) -> dict[str, Any]:
    """The document as plain data."""
    estate = context.estate
    tiers = sorted({check.tier for check in estate.checks.values()}, key=lambda tier: tier.rank)
    rows = []
    for check_id, now in snapshot.checks.items():
        check = now.check
        target = estate.targets[check.target]
        summary = summaries.get(check_id)
        rows.append(
            [
                check_id,
                target.title,
                check.site,
                check.tier.value,
                check.kind,
                sorted({*check.tags, *target.tags}),
                now.look.value,
                now.since_ms,
                now.message[:160],
                _round(now.duration_s),
                _round(summary.uptime_90d, 5) if summary else None,
                _round(summary.p95_s) if summary else None,
                bars_text(summary.bars) if summary else "",
                spark_text(summary.sparkline) if summary else "",
            ]
        )
    return {
        "fields": FIELDS,
        "rows": rows,
        "sites": {name: site.title for name, site in estate.sites.items()},
        "tiers": {tier.value: TIER_WORDS[tier] for tier in tiers},
        "notices": notices(context, snapshot),
    }


def notices(context: Context, snapshot: Snapshot) -> list[dict[str, Any]]:
    """What is wrong with ourselves, as sentences for the top of the page."""
    said: list[dict[str, Any]] = []
    for absence in snapshot.absences:
        if absence.role == "worker":
            text = "No worker is running: nothing is being probed, and what you see gets old"
        else:
            text = "No alert engine is running: nobody will be told of trouble"
        said.append({"text": text, "since": absence.since_ms})
    if context.problem:
        said.append({"text": context.problem.splitlines()[0], "since": None})
    return said


def bars_text(bars: Sequence[Sequence[int]]) -> str:
    """One digit a day, oldest first: 0 nothing known, 1 up, 2 degraded, 3 down."""
    return "".join(_day(*day) if day else "0" for day in bars)


def spark_text(values: Sequence[float | None]) -> str:
    """One character an hour, 0–z of the largest value, a dot where there is none."""
    most = max((value for value in values if value is not None), default=0.0)
    if not most:
        return ""
    return "".join("." if value is None else _DIGITS[round(value / most * 35)] for value in values)


def _day(up: int, degraded: int, down: int, _unknown: int) -> str:
    judged = up + degraded + down
    if not judged:
        return "0"
    if down / judged >= _DOWN_SHARE:
        return "3"
    return "2" if down or degraded / judged >= _DOWN_SHARE else "1"


def _round(value: float | None, digits: int = 4) -> float | None:
    return None if value is None else round(value, digits)
