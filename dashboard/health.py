"""Is this server alive, and is Backwatch as a whole ready?"""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboard import phrase
from dashboard.api import json_response
from dashboard.context import current
from dashboard.queries import Absence, absent_roles, now_ms
from probes.store.database import StoreError
from probes.store.processes import load_processes


async def _alive(_request: Request) -> Response:
    return json_response({"status": "alive"})


def _ready(_request: Request) -> Response:
    reasons = not_ready()
    return json_response({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)


def not_ready() -> list[str]:
    """Why Backwatch is not ready, in words; empty when the store is readable and both roles were seen in a minute."""
    at_ms = now_ms()
    try:
        processes = load_processes(current().engine)
    except StoreError as error:
        return [f"the store cannot be read: {error}"]
    return [_say(absence, at_ms) for absence in absent_roles(processes, at_ms)]


def _say(absence: Absence, at_ms: int) -> str:
    who = "worker" if absence.role == "worker" else "alert engine"
    if absence.since_ms is None:
        return f"no {who} was ever seen"
    return f"no {who} was seen for {phrase.span((at_ms - absence.since_ms) / 1000)}"


routes = [Route("/healthz", _alive), Route("/readyz", _ready)]
