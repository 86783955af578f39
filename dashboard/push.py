"""Heartbeats: whoever knows a token says that its job started, succeeded or failed."""

import hmac
from typing import Literal

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from dashboard.actions import read_body
from dashboard.context import current
from dashboard.problem import Problem, problem
from dashboard.queries import now_ms
from probes.probe import Push
from probes.redact import clean
from probes.store.asks import record_push
from probes.store.database import StoreError
from probes.target import Check

_BODY_MOST = 100_000
_METHODS = ["GET", "HEAD", "POST"]


async def _push(request: Request) -> Response:
    try:
        check = find_check(request.path_params["token"])
        if check is None:
            raise Problem(404, "No heartbeat has this token.")
        kind, exit_code = outcome(request.path_params.get("what", ""))
        body = await read_body(request, _BODY_MOST)
        text = clean(body.decode("utf-8", "replace"))
        await run_in_threadpool(record_push, current().engine, check.id, Push(now_ms(), kind, exit_code, text))
    except Problem as raised:
        return raised.response()
    except StoreError as error:
        return problem(503, f"The store cannot be written: {error}")
    return PlainTextResponse("OK", headers={"Cache-Control": "no-store"})


def find_check(token: str) -> Check | None:
    """The heartbeat check of a token; every token is compared in constant time."""
    found = None
    for check in current().estate.checks.values():
        if check.kind != "heartbeat":
            continue
        secret = check.probe.options.token
        known = secret.get_secret_value() if hasattr(secret, "get_secret_value") else secret
        if known and hmac.compare_digest(known.encode(), token.encode()):
            found = check
    return found


def outcome(what: str) -> tuple[Literal["start", "success", "fail"], int | None]:
    """What the end of the address says: nothing or 0 is success, start, fail, or an exit code (0–255)."""
    if what in ("", "success"):
        return "success", None
    if what == "start":
        return "start", None
    if what == "fail":
        return "fail", None
    if what.isdecimal() and int(what) <= 255:
        return ("success" if int(what) == 0 else "fail"), int(what)
    raise Problem(404, "After the token comes nothing, start, success, fail or an exit code from 0 to 255.")


routes = [Route("/push/{token}", _push, methods=_METHODS), Route("/push/{token}/{what}", _push, methods=_METHODS)]
