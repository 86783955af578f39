"""What configuration watches what an Uptime Kuma watches? Its monitors, groups and tags, who is told, and when not."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from probes.importing.draft import Draft, duration, slug, tier_of, unlike
from probes.importing.kuma_file import KumaFile, Row
from probes.importing.kuma_monitor import translate
from probes.importing.kuma_notification import translate_notification
from probes.importing.kuma_window import translate_maintenance

MAX_INTERVAL_S = 7 * 86400.0
UNGROUPED = "Imported"
_SITE_TAGS = ("site", "customer", "project", "service", "application", "app")
_EXPIRY_DAYS = (7, 14, 21)


@dataclass(frozen=True, slots=True)
class Brought:
    """The configuration in the making, and the ids of the checks that continue each monitor's history."""

    draft: Draft
    checks: Mapping[int, str]


def read_configuration(kuma: KumaFile, origin: str, folder: Path) -> Brought:
    """Everything but the history. The same database always gives the same configuration."""
    draft = Draft(origin, folder=folder)
    monitors = {row["id"]: row for row in kuma.rows("monitor")}
    notifiers = _read_notifications(kuma, draft)
    tags = _read_tags(kuma)
    proxies = {row["id"]: row for row in kuma.rows("proxy")}
    days = kuma.setting("tlsExpiryNotifyDays") or _EXPIRY_DAYS
    told = _pairs(kuma, "monitor_notification", "notification_id")
    checks: dict[int, str] = {}
    places: dict[int, str] = {}
    for number, row in monitors.items():
        if row["type"] == "group":
            continue
        row |= {"tls_expiry_days": max(map(int, days)), "proxy": _proxy_url(proxies.get(row.get("proxy_id")))}
        found = translate(draft, row)
        if not found:
            continue
        common = _times(draft, row, found[0]["kind"])
        names = [notifiers[one] for one in told.get(number, ()) if one in notifiers]
        common |= {"notify": names} if names else {}
        words = sorted({slug(f"{tag}-{value}" if value else tag) for tag, value in tags.get(number, ())})
        common |= {"tags": words} if words else {}
        site = draft.site(_site_title(row, monitors, tags.get(number, [])))
        target = draft.add(site, row["name"], _tier(row, found[0]), [one | common for one in found])
        places[number] = f"{site}/{target}"
        own = found[0].get("name") if found[0]["kind"] != "dns" else None
        checks[number] = f"{site}/{target}/{own or found[0]['kind']}"
    _read_maintenance(kuma, draft, monitors, places)
    _tell_what_else(kuma, draft, bool(told))
    return Brought(draft, checks)


def _times(draft: Draft, row: Row, kind: str) -> dict[str, Any]:
    """A failure is told of after `maxretries` more; one good answer ends it."""
    if kind == "heartbeat":
        return {}
    interval = min(float(row["interval"] or 60), MAX_INTERVAL_S)
    timeout = float(row.get("timeout") or 0) or 0.8 * interval
    times: dict[str, Any] = {"interval": duration(interval), "timeout": duration(min(timeout, interval, 600.0))}
    if (retry := float(row.get("retry_interval") or 0)) and retry != interval:
        times["retry_interval"] = duration(min(retry, interval))
    if row.get("resend_interval"):
        draft.lose(row["name"], "reminders follow `alerts: {repeat_interval: 4h}`, not a number of failures")
    return {**times, "fail_after": min(int(row.get("maxretries") or 0) + 1, 100), "recover_after": 1}


def _tier(row: Row, check: Mapping[str, Any]) -> str:
    if row["type"] in ("rabbitmq", "kafka-producer", "mqtt"):
        return "queue"
    if row["type"] in ("mongodb", "sqlserver", "oracledb"):
        return "database"
    port = re.search(r":([0-9]+)$", str(check.get("url", ""))) if check["kind"] == "tcp" else None
    return tier_of(str(check["kind"]), int(port[1]) if port else None)


def _site_title(row: Row, monitors: Mapping[int, Row], tags: list[tuple[str, str]]) -> str:
    """A tag that names a site, else the outermost group, else the first tag, else one for all that have none."""
    named = [value for tag, value in tags if tag.lower() in _SITE_TAGS and value]
    if named:
        return named[0]
    group, seen = row, {row["id"]}
    while (parent := monitors.get(group.get("parent") or 0)) is not None and parent["id"] not in seen:
        group = parent
        seen.add(parent["id"])
    if group is not row:
        return str(group["name"])
    return tags[0][0] if tags else UNGROUPED


def _read_tags(kuma: KumaFile) -> dict[int, list[tuple[str, str]]]:
    names = {row["id"]: row["name"] for row in kuma.rows("tag")}
    found: dict[int, list[tuple[str, str]]] = {}
    for row in kuma.rows("monitor_tag"):
        if row["tag_id"] in names:
            found.setdefault(row["monitor_id"], []).append((names[row["tag_id"]], row["value"] or ""))
    return found


def _read_notifications(kuma: KumaFile, draft: Draft) -> dict[int, str]:
    names: dict[int, str] = {}
    for row in kuma.rows("notification"):
        name = unlike(slug(row["name"] or "notification").replace(".", "-"), draft.notifiers)
        notifier = translate_notification(draft, name, row)
        if notifier is not None:
            draft.notifiers[name] = notifier
            names[row["id"]] = name
    return names


def _read_maintenance(kuma: KumaFile, draft: Draft, monitors: Mapping[int, Row], places: Mapping[int, str]) -> None:
    held = _pairs(kuma, "monitor_maintenance", "monitor_id", of="maintenance_id")
    zone = kuma.setting("serverTimezone")
    for row in kuma.rows("maintenance"):
        named = set(held.get(row["id"], ()))
        below = [place for number, place in places.items() if _is_within(monitors[number], named, monitors)]
        window = translate_maintenance(draft, row, zone if isinstance(zone, str) else None, below)
        if window is not None:
            draft.maintenance.append(window)


def _is_within(row: Row, named: set[int], monitors: Mapping[int, Row]) -> bool:
    seen: set[int] = set()
    current: Row | None = row
    while current is not None and current["id"] not in seen:
        if current["id"] in named:
            return True
        seen.add(current["id"])
        current = monitors.get(current.get("parent") or 0)
    return False


def _pairs(kuma: KumaFile, table: str, column: str, of: str = "monitor_id") -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for row in kuma.rows(table):
        found.setdefault(row[of], []).append(row[column])
    return found


def _proxy_url(row: Row | None) -> str | None:
    if row is None or not row.get("active", 1):
        return None
    user = f"{quote(row['username'] or '', safe='')}:{quote(row['password'] or '', safe='')}@" if row["auth"] else ""
    return f"{row['protocol']}://{user}{row['host']}:{row['port']}"


def _tell_what_else(kuma: KumaFile, draft: Draft, anybody_told: bool) -> None:
    for row in kuma.rows("status_page"):
        draft.lose(f"status page {row['title']}", "status pages are not brought over", whole=True)
    if draft.notifiers and not anybody_told:
        names = ", ".join(draft.notifiers)
        draft.lose(
            "notifications", f"no monitor names one of them; without routes Backwatch tells all of pages ({names})"
        )
    for table, words in (("user", "accounts"), ("api_key", "API keys"), ("remote_browser", "remote browsers")):
        if kuma.count(table):
            draft.lose(words, "are not brought over", whole=True)
