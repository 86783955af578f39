"""What programs may read: the GET routes under `/api/v1`."""

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from alerts.incident import IncidentState
from dashboard import queries, shape
from dashboard.context import current
from dashboard.maintenance import checks_in_maintenance
from dashboard.openapi import openapi
from dashboard.path import site_path
from dashboard.problem import Problem, answering
from dashboard.wall import Wall
from probes.target import Check

_WALL = Wall()
_RANGE_S = 86_400.0


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Compact JSON that is never kept by a cache."""
    body = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return Response(body, status, {"Cache-Control": "no-store", **(headers or {})}, media_type="application/json")


def check_in_path(request: Request) -> tuple[Check, str]:
    """The check a path names (its id percent-encoded, or with plain slashes) and what comes after it."""
    parts = request.scope["raw_path"].decode("ascii", "replace").partition("?")[0].split("/")[4:]
    first = unquote(parts[0])
    check_id, rest = (first, parts[1:]) if "/" in first else ("/".join(map(unquote, parts[:3])), parts[3:])
    check = current().estate.checks.get(check_id)
    if check is None:
        raise Problem(404, f"There is no check {check_id!r}.")
    return check, "/".join(rest)


def _checks(_request: Request) -> Response:
    context = current()
    snapshot = queries.load_snapshot(context.engine, context.estate, checks_in_maintenance(context))
    newest = queries.load_newest_results(context.engine)
    summaries = queries.load_all_summaries(context.engine)
    rows = [shape.check(now, newest.get(one), summaries.get(one)) for one, now in snapshot.checks.items()]
    return json_response({"checks": rows, "backwatch": shape.backwatch(queries.load_own(context.engine), snapshot)})


def _check(request: Request) -> Response:
    check, rest = check_in_path(request)
    parts = {"": _one_check, "series": _series, "results": _results, "evidence": _evidence}
    if rest not in parts:
        raise Problem(404, f"A check has no {rest!r}.")
    return parts[rest](request, check)


def _one_check(_request: Request, check: Check) -> Response:
    context = current()
    snapshot = queries.load_snapshot(context.engine, context.estate, checks_in_maintenance(context))
    newest = queries.load_newest_results(context.engine, [check.id]).get(check.id)
    summary = queries.load_all_summaries(context.engine).get(check.id)
    shown = shape.check(snapshot.checks[check.id], newest, summary)
    about = {"interval_s": check.interval_s, "asks": check.probe.describe()}
    return json_response({**shown, **shape.windows(summary), **about})


def _series(request: Request, check: Check) -> Response:
    from_ms, to_ms = _range(request)
    points = _number(request, "points", 240, 2, 500)
    found = queries.load_points(current().engine, check.id, from_ms, to_ms, points)
    return json_response({"check": check.id, "points": [shape.point(one) for one in found]})


def _results(request: Request, check: Check) -> Response:
    from_ms, to_ms = _range(request)
    limit = _number(request, "limit", 100, 1, 5000)
    found = queries.load_single_results(current().engine, check.id, from_ms, to_ms, limit)
    return json_response({"check": check.id, "results": [shape.result(one) for one in found]})


def _evidence(request: Request, check: Check) -> Response:
    from_ms, to_ms = _range(request)
    limit = _number(request, "limit", 10, 1, 100)
    found = queries.load_seen(current().engine, check.id, from_ms, to_ms, limit)
    return json_response({"check": check.id, "evidence": [shape.seen(one) for one in found]})


def _path(request: Request) -> Response:
    context = current()
    site = request.path_params["site"]
    if site not in context.estate.sites:
        raise Problem(404, f"There is no site {site!r}.")
    snapshot = queries.load_snapshot(context.engine, context.estate, checks_in_maintenance(context))
    incidents = queries.load_open_incidents(context.engine)
    return json_response(shape.path(site_path(context.estate, site, snapshot.checks, incidents), snapshot.at_ms))


def _incidents(request: Request) -> Response:
    wanted = request.query_params.get("state", "all")
    if wanted != "all" and wanted not in set(IncidentState):
        raise Problem(400, "state is open, acked, resolved or all.")
    states = None if wanted == "all" else (IncidentState(wanted),)
    limit = _number(request, "limit", 200, 1, 1000)
    found = queries.load_incident_list(current().engine, states, limit)
    return json_response({"incidents": [shape.incident(one) for one in found]})


def _incident(request: Request) -> Response:
    detail = queries.load_incident_detail(current().engine, request.path_params["incident"])
    if detail is None:
        raise Problem(404, "There is no incident of that id.")
    events = [shape.event(one) for one in detail.events]
    deliveries = [shape.notification(one) for one in detail.notifications]
    return json_response({**shape.incident(detail.incident), "events": events, "notifications": deliveries})


def _outbox(request: Request) -> Response:
    limit = _number(request, "limit", 200, 1, 1000)
    notifications, pending, _states = queries.load_deliveries(current().engine, limit)
    rows = [shape.notification(one) for one in notifications]
    return json_response({"notifications": rows, "pending": pending.n, "dead": pending.dead})


def _silences(_request: Request) -> Response:
    return json_response({"silences": [shape.silence(one) for one in queries.load_current_silences(current().engine)]})


def _wall(request: Request) -> Response:
    page = _WALL.page(current())
    headers = {"ETag": page.etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if page.newest_ms is not None:
        headers["Backwatch-Data-Age"] = f"{max(0, queries.now_ms() - page.newest_ms) / 1000:.1f}"
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if page.etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        packed = {**headers, "Content-Encoding": "gzip"}
        return Response(page.packed, 200, packed, media_type="application/json")
    return Response(page.body, 200, headers, media_type="application/json")


def _openapi(_request: Request) -> Response:
    return json_response(openapi())


def _not_found(_request: Request) -> Response:
    raise Problem(404, "There is nothing here; see /api/v1/openapi.json.")


def _range(request: Request) -> tuple[int, int]:
    to_ms = _time(request, "to") or queries.now_ms()
    from_ms = _time(request, "from") or to_ms - int(_RANGE_S * 1000)
    if from_ms >= to_ms:
        raise Problem(400, "from lies before to.")
    return from_ms, to_ms


def _time(request: Request, name: str) -> int | None:
    text = request.query_params.get(name)
    if not text:
        return None
    try:
        if text.isdigit():
            return int(text) * (1000 if len(text) <= 11 else 1)
        found = datetime.fromisoformat(text.replace(" ", "+"))
        return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise Problem(400, f"{name} is a time in ISO 8601 or epoch seconds.") from error


def _number(request: Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    try:
        value = int(text)
    except ValueError as error:
        raise Problem(400, f"{name} is a number.") from error
    if not least <= value <= most:
        raise Problem(400, f"{name} is between {least} and {most}.")
    return value


routes = [
    Route("/api/v1/openapi.json", answering(_openapi)),
    Route("/api/v1/checks", answering(_checks)),
    Route("/api/v1/sites/{site}/path", answering(_path)),
    Route("/api/v1/incidents", answering(_incidents)),
    Route("/api/v1/incidents/{incident}", answering(_incident)),
    Route("/api/v1/outbox", answering(_outbox)),
    Route("/api/v1/silences", answering(_silences)),
    Route("/api/v1/wall", answering(_wall)),
    Route("/api/v1/checks/{rest:path}", answering(_check)),
]
fallback = [Route("/api/{rest:path}", answering(_not_found), methods=["GET", "POST", "PUT", "PATCH", "DELETE"])]
