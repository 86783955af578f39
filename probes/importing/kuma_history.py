"""How does the history of Uptime Kuma come into the store? Single results the way a worker writes them, then sums."""

import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Engine

from probes.importing.kuma_file import KumaFile
from probes.redact import clean
from probes.result import Reason, Result, Status
from probes.store.due import CLOSE_MS, DAY_MS, HOUR_MS
from probes.store.meta import PRUNED_MS, get_meta
from probes.store.past import Sum, save_past_days, save_past_hours
from probes.store.results import ResultWriter
from probes.store.rollups import roll_up
from probes.store.summary import write_summaries

BATCH = 5000
_DOWN, _UP, _PENDING, _MAINTENANCE = 0, 1, 2, 3
_REASONS = (
    (r"ECONNREFUSED|connection refused", Reason.TCP_REFUSED),
    (r"ENOTFOUND|NXDOMAIN", Reason.DNS_NXDOMAIN),
    (r"EAI_AGAIN|ESERVFAIL", Reason.DNS_SERVFAIL),
    (r"EHOSTUNREACH|ENETUNREACH", Reason.NET_UNREACHABLE),
    (r"ECONNRESET|socket hang up", Reason.TCP_RESET),
    (r"certificate has expired", Reason.TLS_EXPIRED),
    (r"self[- ]signed|unable to (verify|get)|certificate", Reason.TLS_UNTRUSTED),
    (r"status code [0-9]{3}", Reason.HTTP_STATUS),
    (r"keyword|JSON query|does not match", Reason.BODY_MISMATCH),
    (r"no heartbeat in the time window", Reason.STALE_TARGET),
    (r"timeout|ETIMEDOUT|timed out", Reason.DEADLINE),
    (r"password|authentication|access denied|NOAUTH|WRONGPASS", Reason.AUTH_FAILED),
)
_PATTERNS = tuple((re.compile(pattern, re.IGNORECASE), reason) for pattern, reason in _REASONS)
_CODE = re.compile(r"^([1-5][0-9]{2}) - |status code ([1-5][0-9]{2})")

Progress = Callable[[str, int, int], object]
"""Told what is being done, how many of it are done, and of how many."""


@dataclass(frozen=True, slots=True)
class Past:
    """What was brought over: results and sums that were new, and those that had no check or were maintenance."""

    results: int
    known: int
    hours: int
    days: int
    left: int


def bring_history(
    kuma: KumaFile, database: Engine, checks: Mapping[int, str], *, location: str, now_ms: int, progress: Progress
) -> Past:
    """Write the history of these monitors under the ids of their checks. What is there already stays: call it again.

    Raises StoreError; then what was written so far stands, and another call goes on.
    """
    pruned_ms = int(get_meta(database, PRUNED_MS) or 0)
    bringing = _Bringing(ResultWriter(database), checks, location, pruned_ms)
    bringing.bring(kuma, progress)
    _roll_up(kuma, database, now_ms, progress)
    # Results older than the store keeps single ones count in their hours; what Kuma summed up itself comes after.
    hours = save_past_hours(database, location, list(bringing.old.values()))
    hours += save_past_hours(database, location, list(_hours(kuma, checks)))
    days = save_past_days(database, location, list(_sums(kuma, "stat_daily", checks, DAY_MS)))
    progress("adding up", 0, 1)
    roll_up(database, now_ms)
    write_summaries(database, now_ms)
    progress("adding up", 1, 1)
    return Past(bringing.saved, bringing.seen - bringing.saved, hours, days, bringing.left)


def to_result(row: sqlite3.Row, check_id: str, location: str) -> Result | None:
    """A heartbeat as a result; None for one in maintenance, in which nothing was asked."""
    if row["status"] == _MAINTENANCE:
        return None
    at_ms = _epoch_ms(row["time"])
    said = clean(row["msg"] or "", 300)
    found = _CODE.search(said)
    code = int(found[1] or found[2]) if found else None
    took_s = row["ping"] / 1000 if row["ping"] is not None and row["ping"] >= 0 else None
    if row["status"] == _UP:
        return Result(check_id, location, at_ms, at_ms, Status.UP, duration_s=took_s, code=code)
    # Pending is a failure that was tried again: the answer itself was as bad.
    reason = next((reason for pattern, reason in _PATTERNS if pattern.search(said)), None)
    return Result(check_id, location, at_ms, at_ms, Status.DOWN, reason, said, took_s, code)


class _Bringing:
    """Single results on their way into the store, with the count of them."""

    def __init__(self, writer: ResultWriter, checks: Mapping[int, str], location: str, pruned_ms: int) -> None:
        self._writer, self._checks, self._location, self._pruned_ms = writer, checks, location, pruned_ms
        self.saved = self.seen = self.left = 0
        self.old: dict[tuple[str, int], Sum] = {}

    def bring(self, kuma: KumaFile, progress: Progress) -> None:
        total = kuma.count("heartbeat")
        batch: list[Result] = []
        for number, row in enumerate(kuma.heartbeats(), start=1):
            result = self._take(row)
            if result is not None:
                batch.append(result)
            if len(batch) >= BATCH or number == total:
                self.saved += self._writer.save(batch)
                batch = []
                progress("single results", number, total)

    def _take(self, row: sqlite3.Row) -> Result | None:
        check_id = self._checks.get(row["monitor_id"])
        result = to_result(row, check_id, self._location) if check_id else None
        if result is None:
            self.left += 1
            return None
        if result.slot_ms < self._pruned_ms:
            is_up = result.status is Status.UP
            took_s = result.duration_s if is_up else None
            hour_ms = result.slot_ms - result.slot_ms % HOUR_MS
            one = Sum(result.check_id, hour_ms, int(is_up), int(not is_up), took_s, took_s)
            known = self.old.get((one.check_id, hour_ms))
            self.old[one.check_id, hour_ms] = _add(known, one) if known else one
            return None
        self.seen += 1
        return result


def _roll_up(kuma: KumaFile, database: Engine, now_ms: int, progress: Progress) -> None:
    """Day by day, so that progress can be told: half a year of single results takes a while."""
    first_ms = kuma.first_ms()
    if first_ms is None:
        roll_up(database, now_ms)
        return
    ends = list(range(first_ms - first_ms % DAY_MS + DAY_MS, now_ms, DAY_MS))
    for number, end_ms in enumerate([*(end_ms + CLOSE_MS for end_ms in ends if end_ms + CLOSE_MS < now_ms), now_ms]):
        roll_up(database, end_ms)
        progress("adding up days", number + 1, len(ends) + 1)


def _hours(kuma: KumaFile, checks: Mapping[int, str]) -> Iterator[Sum]:
    """Hourly sums, and those of the hours that only the minutes know."""
    known: set[tuple[str, int]] = set()
    for one in _sums(kuma, "stat_hourly", checks, HOUR_MS):
        known.add((one.check_id, one.bucket_ms))
        yield one
    parts: dict[tuple[str, int], Sum] = {}
    for one in _sums(kuma, "stat_minutely", checks, HOUR_MS):
        key = (one.check_id, one.bucket_ms)
        if key not in known:
            parts[key] = _add(parts[key], one) if key in parts else one
    yield from parts.values()


def _add(one: Sum, other: Sum) -> Sum:
    least = [value for value in (one.min_s, other.min_s) if value is not None]
    greatest = [value for value in (one.max_s, other.max_s) if value is not None]
    return Sum(
        one.check_id,
        one.bucket_ms,
        one.up + other.up,
        one.down + other.down,
        min(least, default=None),
        max(greatest, default=None),
    )


def _sums(kuma: KumaFile, table: str, checks: Mapping[int, str], width_ms: int) -> Iterator[Sum]:
    for row in kuma.statistics(table):
        check_id = checks.get(row["monitor_id"])
        if check_id is None:
            continue
        at_ms = int(row["timestamp"]) * 1000
        # Where nothing was up there is no latency, though the columns say 0.
        least, greatest = (row["ping_min"] / 1000, row["ping_max"] / 1000) if row["up"] else (None, None)
        yield Sum(check_id, at_ms - at_ms % width_ms, row["up"], row["down"], least, greatest)


def _epoch_ms(text: str) -> int:
    """Kuma writes UTC without saying so."""
    found = datetime.fromisoformat(text)
    return round((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)
