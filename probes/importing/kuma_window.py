"""Which maintenance window is a maintenance of Uptime Kuma?"""

import re
from collections.abc import Sequence
from datetime import datetime, time
from typing import Any

from probes.importing.draft import Draft, duration
from probes.importing.kuma_file import Row, read_json

_DAYS = ("SU", "MO", "TU", "WE", "TH", "FR", "SA")
LONGEST_S = 7 * 86400


def translate_maintenance(
    draft: Draft, row: Row, server_zone: str | None, targets: Sequence[str]
) -> dict[str, Any] | None:
    """The window over these targets, or None for one that cannot be brought over, which is told."""
    title = f"maintenance {row['title']}"
    zone = row.get("timezone")
    if zone in (None, "", "SAME_AS_SERVER"):
        zone = server_zone or "UTC"
    why = _obstacle(row, targets)
    when = None if why else _when(draft, title, row)
    length_s = _length_s(row)
    if when is None or not 0 < length_s <= LONGEST_S:
        draft.lose(title, why or f"its plan ({row['strategy']}) cannot be written as a rule", whole=True)
        return None
    names = "|".join(re.escape(target) for target in sorted(targets))
    match = {"target": targets[0] if len(targets) == 1 else f"~{names}"}
    return {"match": match, **when, "for": duration(length_s), "zone": zone}


def _obstacle(row: Row, targets: Sequence[str]) -> str:
    if not row.get("active", 1):
        return "it is switched off"
    if row["strategy"] == "manual":
        return "it is begun and ended by hand: see `backwatch silence`"
    return "" if targets else "it holds for no monitor that was brought over"


def _when(draft: Draft, title: str, row: Row) -> dict[str, Any] | None:
    if row["strategy"] == "single":
        return {"at": datetime.fromisoformat(row["start_date"]).isoformat(timespec="minutes")}
    start = row.get("start_time")
    if row["strategy"] == "cron":
        found = _cron(row.get("cron") or "")
        return None if found is None else {"rrule": found[0], "at": found[1]}
    rule = _rule(row)
    if rule is None or not start:
        return None
    if row.get("start_date"):
        draft.lose(title, f"it holds from now on, not from {row['start_date'][:10]}")
    if end := row.get("end_date"):
        rule += f";UNTIL={datetime.fromisoformat(end):%Y%m%dT%H%M%S}"
    return {"rrule": rule, "at": start[:5]}


def _rule(row: Row) -> str | None:
    if row["strategy"] == "recurring-interval":
        # The rule of a window counts its days from a date of its own: every day is the only interval that agrees.
        return "FREQ=DAILY" if row.get("interval_day") in (None, 1) else None
    if row["strategy"] == "recurring-weekday":
        days = [_DAYS[int(day) % 7] for day in read_json(row.get("weekdays"), [])]
        return f"FREQ=WEEKLY;BYDAY={','.join(days)}" if days else None
    if row["strategy"] == "recurring-day-of-month":
        numbers = [_day_of_month(day) for day in read_json(row.get("days_of_month"), [])]
        return f"FREQ=MONTHLY;BYMONTHDAY={','.join(map(str, numbers))}" if numbers and None not in numbers else None
    return None


def _day_of_month(day: Any) -> int | None:
    text = str(day)
    if text.isdigit():
        return int(text)
    last = re.fullmatch(r"lastDay([1-4])", text)
    return -int(last[1]) if last else None


def _cron(text: str) -> tuple[str, str] | None:
    """The rule and time of day of `minute hour * * days`; None for what is more than that."""
    found = re.fullmatch(r"\s*([0-9]{1,2})\s+([0-9]{1,2})\s+\*\s+\*\s+(\*|[0-7](?:,[0-7])*)\s*", text)
    if found is None or int(found[1]) > 59 or int(found[2]) > 23:
        return None
    days = "" if found[3] == "*" else ",".join(_DAYS[int(day) % 7] for day in found[3].split(","))
    return f"FREQ=WEEKLY;BYDAY={days}" if days else "FREQ=DAILY", f"{int(found[2]):02d}:{int(found[1]):02d}"


def _length_s(row: Row) -> float:
    if row["strategy"] == "single":
        if not row.get("start_date") or not row.get("end_date"):
            return 0.0
        return (datetime.fromisoformat(row["end_date"]) - datetime.fromisoformat(row["start_date"])).total_seconds()
    if row.get("duration"):
        return float(row["duration"])
    if not row.get("start_time") or not row.get("end_time"):
        return 0.0
    start, end = time.fromisoformat(row["start_time"]), time.fromisoformat(row["end_time"])
    return float(((end.hour - start.hour) * 60 + end.minute - start.minute) * 60 % 86400) or 86400.0
