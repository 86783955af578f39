"""What does the overview show of every check? Uptime of four windows, daily bars, a sparkline; written hourly."""

import json
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, func, select

from probes.store.database import reading, upsert, writing
from probes.store.due import DAY_MS, HOUR_MS, day_of
from probes.store.meta import ROLLED_MS, SUMMARISED, get_ms, put
from probes.store.open_hour import NOTHING, Counts, count_since, plus, to_counts
from probes.store.rows import to_s
from probes.store.sketch import Sketch
from probes.store.tables import meta, rollup_d, rollup_h, series, summary
from probes.value import value

DAYS = 90
HOURS = 24
SLICE = 200

_KEYS = select(series.c.id, series.c.check_id, series.c.location)
_REVISION = select(meta.c.value).where(meta.c.key == SUMMARISED)
_WINDOWS = {"uptime_24h": 1, "uptime_7d": 7, "uptime_30d": 30, "uptime_90d": DAYS}


@value(frozen=True, slots=True)
class Summary:
    """A check at a location over the last days, up to now; None where nothing was judged.

    `bars` are 90 UTC days and `sparkline` 24 hours of median latency in seconds, oldest first; the last bar is today.
    Coverage is the share of the results that its usual rhythm would have brought in the whole window, whether it was
    watched all that time or not; None before its first hour is over.
    """

    uptime_24h: float | None
    uptime_7d: float | None
    uptime_30d: float | None
    uptime_90d: float | None
    coverage_24h: float | None
    coverage_7d: float | None
    coverage_30d: float | None
    coverage_90d: float | None
    p50_s: float | None
    p95_s: float | None
    bars: tuple[Counts, ...]
    sparkline: tuple[float | None, ...]


def write_summaries(engine: Engine, now_ms: int) -> int:  # noqa: ARG001 - rollups say how far we are, not the clock
    """Rewrite the summary of every series, up to the last hour that is rolled up; call it after `roll_up`.

    Returns the number of series. Raises StoreError.
    """
    with reading(engine) as connection:
        until_ms = get_ms(connection, ROLLED_MS)
        ids = list(connection.scalars(select(series.c.id).order_by(series.c.id)))
        days = _load_days(connection, until_ms) if until_ms else {}
    for start in range(0, len(ids) if until_ms else 0, SLICE):
        part = ids[start : start + SLICE]
        with reading(engine) as connection:
            hours = _load_hours(connection, part, until_ms)
        rows = [summarise(series_id, until_ms, days.get(series_id, {}), hours.get(series_id, [])) for series_id in part]
        with writing(engine) as connection:
            insert = upsert(connection)(summary)
            columns = {column.name: insert.excluded[column.name] for column in summary.c if not column.primary_key}
            connection.execute(insert.on_conflict_do_update(index_elements=["series_id"], set_=columns), rows)
            put(connection, SUMMARISED, uuid4().hex)
    return len(ids)


def load_summaries(engine: Engine) -> dict[tuple[str, str], Summary]:
    """The summary of every (check, location), with the results since it was written added. Raises StoreError."""
    with reading(engine) as connection:
        keys = connection.execute(_KEYS).fetchall()
        written = _load_written(engine, connection)
        fresh = count_since(engine, connection, written.until)
    newest_ms = max(
        (day_ms for days in fresh.values() for day_ms in days), default=day_of(max(written.until, default=0))
    )
    nothing = dict[int, Counts]()
    return {
        (check_id, location): written.shown(series_id, fresh.get(series_id, nothing), newest_ms)
        for series_id, check_id, location in keys
    }


def summarise(
    series_id: int, until_ms: int, days: Mapping[int, Counts], hours: Sequence[tuple[int, Counts, bytes | None]]
) -> dict[str, Any]:
    """The row of a series: `days` by start of day, today's counted from its hours; `hours` of the last 24, in order."""
    last_day = day_of(until_ms - 1)
    sketches = {hour_ms: Sketch.from_bytes(data) for hour_ms, _, data in hours if data}
    total = Sketch()
    for sketch in sketches.values():
        total.merge(sketch)
    today_share = (until_ms - last_day) / DAY_MS
    first_hour = until_ms - HOURS * HOUR_MS
    row: dict[str, Any] = {
        name: json.dumps(_window([days.get(last_day - age * DAY_MS) for age in range(count)], today_share))
        for name, count in _WINDOWS.items()
        if count > 1
    }
    of_hours = {hour_ms: counts for hour_ms, counts, _ in hours}
    row["uptime_24h"] = json.dumps(_window([of_hours.get(until_ms - age * HOUR_MS) for age in range(1, HOURS + 1)]))
    medians = (sketches.get(first_hour + hour * HOUR_MS) for hour in range(HOURS))
    return row | {
        "series_id": series_id,
        "until_ms": until_ms,
        "p50_us": _whole(total.quantile(0.5)),
        "p95_us": _whole(total.quantile(0.95)),
        "bars": json.dumps([days.get(last_day - (DAYS - 1 - age) * DAY_MS, NOTHING) for age in range(DAYS)]),
        "sparkline": json.dumps([_whole(sketch.quantile(0.5)) if sketch else None for sketch in medians]),
    }


def _window(newest_first: Sequence[Counts | None], newest_share: float = 1.0) -> tuple[int, int, int]:
    """(ok, judged, expected) of hours or days; the newest has only `newest_share` of its time behind it.

    As much is expected of every other one, those before the first result as well.
    """
    totals = [sum(counts) if counts else 0 for counts in newest_first]
    filled = [age for age, total in enumerate(totals) if total]
    if not filled:
        return 0, 0, 0
    # The oldest began somewhere within its time, and the newest is not over: neither says what is usual.
    whole = [totals[age] for age in filled[:-1] if age > 0]
    usual = median(whole) if whole else max(totals[filled[-1]], totals[0] / newest_share)
    expected = usual * (newest_share + len(totals) - 1)
    present = [counts for counts in newest_first if counts]
    judged = sum(sum(counts[:3]) for counts in present)
    return sum(counts[0] + counts[1] for counts in present), judged, round(expected)


def _load_days(connection: Connection, until_ms: int) -> dict[int, dict[int, Counts]]:
    today_ms = day_of(until_ms - 1)
    days: dict[int, dict[int, Counts]] = defaultdict(dict)
    columns = [rollup_d.c[name] for name in ("bucket_ms", "series_id", "up", "degraded", "down", "unknown")]
    query = select(*columns).where(rollup_d.c.bucket_ms > today_ms - DAYS * DAY_MS)
    for bucket_ms, series_id, *counts in connection.execute(query):
        days[series_id][bucket_ms] = to_counts(counts)
    sums = [func.sum(rollup_h.c[name]) for name in ("up", "degraded", "down", "unknown")]
    today = select(rollup_h.c.series_id, *sums).where(rollup_h.c.bucket_ms >= today_ms, rollup_h.c.bucket_ms < until_ms)
    for series_id, *counts in connection.execute(today.group_by(rollup_h.c.series_id)):
        days[series_id][today_ms] = to_counts(counts)
    return days


def _load_hours(
    connection: Connection, ids: Sequence[int], until_ms: int
) -> dict[int, list[tuple[int, Counts, bytes | None]]]:
    columns = [rollup_h.c[name] for name in ("bucket_ms", "series_id", "sketch", "up", "degraded", "down", "unknown")]
    query = select(*columns).where(
        rollup_h.c.bucket_ms.in_([until_ms - age * HOUR_MS for age in range(1, HOURS + 1)]),
        rollup_h.c.series_id.in_(ids),
    )
    hours: dict[int, list[tuple[int, Counts, bytes | None]]] = defaultdict(list)
    for bucket_ms, series_id, sketch, *counts in connection.execute(query.order_by(rollup_h.c.bucket_ms)):
        hours[series_id].append((bucket_ms, to_counts(counts), sketch))
    return hours


@value(frozen=True, slots=True)
class _Row:
    """A row of the table as it is shown: [ok, judged, expected] of each window, and the rest."""

    until_ms: int | None
    windows: tuple[tuple[int, int, int], ...]
    p50_s: float | None
    p95_s: float | None
    bars: tuple[Counts, ...]
    sparkline: tuple[float | None, ...]


_UNWRITTEN = _Row(None, ((0, 0, 0),) * 4, None, None, (NOTHING,) * DAYS, (None,) * HOURS)


@dataclass(frozen=True, slots=True)
class _Written:
    """What the table says since it was written last, by series."""

    revision: str | None
    rows: Mapping[int, _Row]
    until: frozenset[int]
    known: dict[int, tuple[Mapping[int, Counts], int, Summary]] = field(default_factory=dict)

    def shown(self, series_id: int, fresh: Mapping[int, Counts], newest_ms: int) -> Summary:
        """The summary of a series; the one of the last look where nothing came since, which is most of them."""
        known = self.known.get(series_id)
        if known is not None and known[1] == newest_ms and known[0] == fresh:
            return known[2]
        summary = _to_summary(self.rows.get(series_id, _UNWRITTEN), fresh, newest_ms)
        self.known[series_id] = (fresh, newest_ms, summary)
        return summary


_written: WeakKeyDictionary[Engine, _Written] = WeakKeyDictionary()
_guard = threading.Lock()


def _load_written(engine: Engine, connection: Connection) -> _Written:
    """The table: written hourly, looked at every few seconds, so it is read and parsed when it was written."""
    revision = connection.scalar(_REVISION)
    with _guard:
        known = _written.get(engine)
    if known is None or revision is None or known.revision != revision:
        rows = {row[0]: _parse(row) for row in connection.execute(select(summary))}
        known = _Written(revision, rows, frozenset(row.until_ms for row in rows.values() if row.until_ms is not None))
        with _guard:
            _written[engine] = known
    return known


def _parse(row: Any) -> _Row:
    (_, until_ms, *windows_said, p50_us, p95_us, bars, sparkline) = row
    counted = ",".join(text or "[0,0,0]" for text in windows_said)
    windows, all_bars, medians = json.loads(f"[[{counted}],{bars or 'null'},{sparkline or 'null'}]")
    return _Row(
        until_ms,
        tuple(map(tuple, windows)),
        to_s(p50_us),
        to_s(p95_us),
        tuple(map(tuple, all_bars)) if all_bars else _UNWRITTEN.bars,
        tuple([to_s(us) for us in medians]) if medians else _UNWRITTEN.sparkline,
    )


def _to_summary(row: _Row, fresh: Mapping[int, Counts], newest_ms: int) -> Summary:
    up = degraded = down = unknown = 0
    for more in fresh.values():
        up, degraded, down, unknown = up + more[0], degraded + more[1], down + more[2], unknown + more[3]
    ok, judged = up + degraded, up + degraded + down
    total = judged + unknown
    ratios: list[float | None] = []
    coverages: list[float | None] = []
    for was_ok, was_judged, expected in row.windows:
        known = was_judged + judged
        ratios.append((was_ok + ok) / known if known else None)
        # Nothing is known of the usual rhythm before an hour of it is counted.
        coverages.append(min(1.0, known / (expected + total)) if expected else None)
    bars = _bars(row.bars, row.until_ms, fresh, newest_ms)
    (day, week, month, quarter), covered = ratios, coverages
    return Summary(
        day, week, month, quarter, covered[0], covered[1], covered[2], covered[3],
        row.p50_s, row.p95_s, bars, row.sparkline,
    )  # fmt: skip


def _bars(
    stored: tuple[Counts, ...], until_ms: int | None, fresh: Mapping[int, Counts], newest_ms: int
) -> tuple[Counts, ...]:
    last_ms = day_of(until_ms - 1) if until_ms else newest_ms
    gone = max(0, newest_ms - last_ms) // DAY_MS
    if not gone and not fresh:
        return stored
    bars = [*stored[gone:], *[NOTHING] * gone] if gone else list(stored)
    first_ms = max(last_ms, newest_ms) - (DAYS - 1) * DAY_MS
    for day_ms, counts in fresh.items():
        index = (day_ms - first_ms) // DAY_MS
        if index >= 0:
            bars[index] = plus(bars[index], counts)
    return tuple(bars)


def _whole(us: float | None) -> int | None:
    return None if us is None else round(us)
