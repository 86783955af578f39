"""The description of our HTTP routes for programs, as OpenAPI 3.1."""

from importlib.metadata import version
from typing import Any

_QUERY = {
    "from": "Start of the range: ISO 8601 or epoch seconds; 24 hours before `to` by default.",
    "to": "End of the range; now by default.",
    "points": "At most so many points (2–500, 240 by default).",
    "limit": "At most so many entries.",
    "state": "open, acked, resolved or all.",
}
_READS: dict[str, tuple[str, tuple[str, ...]]] = {
    "/api/v1/checks": ("Every check as it stands now.", ()),
    "/api/v1/checks/{check}": ("One check; its id percent-encoded.", ()),
    "/api/v1/checks/{check}/series": (
        "Percentiles, counts, phases and metrics over a range.",
        ("from", "to", "points"),
    ),
    "/api/v1/checks/{check}/results": ("Single results, the newest first.", ("from", "to", "limit")),
    "/api/v1/checks/{check}/evidence": (
        "What failing runs saw, without secrets, the newest first.",
        ("from", "to", "limit"),
    ),
    "/api/v1/sites/{site}/path": ("The request path: tiers, targets, who is at fault, who waits.", ()),
    "/api/v1/incidents": ("Incidents, the newest first.", ("state", "limit")),
    "/api/v1/incidents/{incident}": ("One incident with its events and deliveries.", ()),
    "/api/v1/silences": ("Silences in force or to come.", ()),
    "/api/v1/outbox": ("Notifications with their attempts, the newest first.", ("limit",)),
    "/api/v1/wall": ("What the overview draws; answers If-None-Match with 304.", ()),
    "/healthz": ("Alive.", ()),
    "/readyz": ("The store is readable, worker and alerts were seen within 60 s; else 503 with reasons.", ()),
    "/metrics": ("OpenMetrics text.", ()),
    "/push/{token}": ("A heartbeat: success.", ()),
    "/push/{token}/{what}": ("A heartbeat: start, success, fail or an exit code.", ()),
}
_WRITES: dict[str, tuple[str, tuple[str, ...]]] = {
    "/api/v1/checks/{check}/run": ("Run a check as soon as a worker can.", ("author",)),
    "/api/v1/incidents/{incident}/ack": ("Somebody has it; reminders stop.", ("author", "comment", "for")),
    "/api/v1/incidents/{incident}/comment": ("Write something down.", ("author", "comment")),
    "/api/v1/incidents/{incident}/resolve": ("Close by hand.", ("author", "comment")),
    "/api/v1/silences": ("Mute what matches for a time.", ("matchers", "for", "author", "comment")),
    "/api/v1/silences/{silence}/expire": ("End a silence now.", ("author",)),
    "/push/{token}": ("A heartbeat: success; the body is kept as text.", ()),
    "/push/{token}/{what}": ("A heartbeat: start, success, fail or an exit code.", ()),
}
_PROBLEM = {
    "description": "A problem document (RFC 9457).",
    "content": {
        "application/problem+json": {
            "schema": {
                "type": "object",
                "required": ["type", "title", "status", "detail"],
                "properties": {
                    "type": {"type": "string"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "detail": {"type": "string"},
                },
            }
        }
    },
}


def openapi() -> dict[str, Any]:
    """The whole description."""
    paths: dict[str, dict[str, Any]] = {}
    for path, (summary, query) in _READS.items():
        paths.setdefault(path, {})["get"] = _operation(path, summary, query)
    for path, (summary, fields) in _WRITES.items():
        operation = _operation(path, summary, ())
        if fields:
            properties = {name: {"type": "object" if name == "matchers" else "string"} for name in fields}
            schema = {"type": "object", "properties": properties}
            operation["requestBody"] = {"content": {"application/json": {"schema": schema}}}
        paths.setdefault(path, {})["post"] = operation
    info = {"title": "Backwatch", "version": version("backwatch")}
    return {"openapi": "3.1.0", "info": info, "paths": paths}


def _operation(path: str, summary: str, query: tuple[str, ...]) -> dict[str, Any]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
    ]
    parameters += [
        {"name": name, "in": "query", "description": _QUERY[name], "schema": {"type": "string"}} for name in query
    ]
    answers = {"2XX": {"description": "Done."}, "4XX": _PROBLEM, "5XX": _PROBLEM}
    return {"summary": summary, "parameters": parameters, "responses": answers}
