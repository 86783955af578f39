"""What programs may change: run a check, answer an incident, silence."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from alerts.mute import MatcherError, check_matchers
from alerts.store import acknowledge, add_comment, add_silence, expire_silence, resolve
from dashboard import shape
from dashboard.api import check_in_path, json_response
from dashboard.context import current
from dashboard.problem import Problem, problem
from dashboard.queries import now_ms
from probes.duration import parse_duration
from probes.store.asks import request_run
from probes.store.database import StoreError

_BODY_MOST = 64 * 1024
Fields = dict[str, Any]
Action = Callable[[Request, Fields], Response]


def acting(action: Action) -> Callable[[Request], Awaitable[Response]]:
    """Wrap an action: its fields are read from a JSON body, problems become documents."""

    async def wrapped(request: Request) -> Response:
        try:
            fields = await _fields(request)
            return await run_in_threadpool(action, request, fields)
        except Problem as raised:
            return raised.response()
        except StoreError as error:
            return problem(503, f"The store cannot be written: {error}")

    return wrapped


async def read_body(request: Request, most: int) -> bytes:
    """The body. Raises Problem 413 as soon as it is larger than `most` bytes."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise Problem(413, f"A body has at most {most} bytes here.")
    return body


async def _fields(request: Request) -> Fields:
    body = await read_body(request, _BODY_MOST)
    if not body.strip():
        return {}
    try:
        fields = json.loads(body)
    except ValueError as error:
        raise Problem(400, "The body is not JSON.") from error
    if not isinstance(fields, dict):
        raise Problem(400, "The body is a JSON object.")
    return fields


def _text(fields: Fields, name: str, default: str = "", most: int = 500) -> str:
    value = fields.get(name, default)
    if not isinstance(value, str) or len(value) > most:
        raise Problem(400, f"{name} is a text of at most {most} characters.")
    return value.strip()


def _author(fields: Fields) -> str:
    return _text(fields, "author", "api", 100) or "api"


def _run(request: Request, fields: Fields) -> Response:
    check, rest = check_in_path(request)
    if rest != "run":
        raise Problem(404, f"A check cannot {rest!r}.")
    request_run(current().engine, check.id, _author(fields))
    return json_response({"check": check.id, "asked": True}, 202)


def _acknowledge(request: Request, fields: Fields) -> Response:
    until_ms = None
    if fields.get("for") is not None:
        until_ms = now_ms() + int(_seconds(fields["for"]) * 1000)
    incident = request.path_params["incident"]
    comment = _text(fields, "comment")
    return _done(incident, acknowledge(current().engine, incident, _author(fields), comment, until_ms))


def _comment(request: Request, fields: Fields) -> Response:
    incident = request.path_params["incident"]
    comment = _text(fields, "comment")
    if not comment:
        raise Problem(400, "comment says nothing.")
    return _done(incident, add_comment(current().engine, incident, _author(fields), comment))


def _resolve(request: Request, fields: Fields) -> Response:
    incident = request.path_params["incident"]
    return _done(incident, resolve(current().engine, incident, _author(fields), _text(fields, "comment")))


def _done(incident: str, changed: bool) -> Response:
    if not changed:
        raise Problem(404, f"There is no open incident {incident!r}.")
    return json_response({"incident": incident, "done": True})


def _add_silence(_request: Request, fields: Fields) -> Response:
    matchers = fields.get("matchers")
    if not isinstance(matchers, dict) or not all(isinstance(value, str) for value in matchers.values()):
        raise Problem(400, 'matchers is an object of texts, such as {"target": "shop/db"}.')
    try:
        check_matchers(matchers)
        ends_ms = now_ms() + int(_seconds(fields.get("for", "1h")) * 1000)
        made = add_silence(current().engine, matchers, ends_ms, _author(fields), _text(fields, "comment"))
    except (MatcherError, ValueError) as error:
        raise Problem(400, str(error)) from error
    return json_response(shape.silence(made), 201)


def _expire_silence(request: Request, fields: Fields) -> Response:
    silence = request.path_params["silence"]
    if not expire_silence(current().engine, silence, _author(fields)):
        raise Problem(404, f"There is no silence {silence!r} in force.")
    return json_response({"silence": silence, "done": True})


def _seconds(value: Any) -> float:
    try:
        seconds = parse_duration(str(value))
    except ValueError as error:
        raise Problem(400, f"for: {error}") from error
    if not 0 < seconds <= 366 * 86_400:
        raise Problem(400, "for lies between a moment and a year.")
    return seconds


routes = [
    Route("/api/v1/checks/{rest:path}", acting(_run), methods=["POST"]),
    Route("/api/v1/incidents/{incident}/ack", acting(_acknowledge), methods=["POST"]),
    Route("/api/v1/incidents/{incident}/comment", acting(_comment), methods=["POST"]),
    Route("/api/v1/incidents/{incident}/resolve", acting(_resolve), methods=["POST"]),
    Route("/api/v1/silences", acting(_add_silence), methods=["POST"]),
    Route("/api/v1/silences/{silence}/expire", acting(_expire_silence), methods=["POST"]),
]
