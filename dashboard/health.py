"""Is this server alive, and is Backwatch as a whole ready?"""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboard import phrase
from dashboard.api import json_response
from dashboard.context import current
from dashboard.queries import Absence, absent_roles, now_ms
from probes.store.database import StoreError
from probes.store.maintenance import why_not_writable
from probes.store.processes import Process, load_processes

_LATE_MS = 8_000
"""Worker and alert engine write down every five seconds that they are there."""


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
    absences = [_say(absence, at_ms) for absence in absent_roles(processes, at_ms)]
    return [*absences, *filter(None, [why_silent(processes, at_ms)])]


def why_silent(processes: Sequence[Process], at_ms: int) -> str:
    """What keeps processes that were at work just now from saying so; empty while they do."""
    newest_ms = max((one.seen_ms for one in processes), default=at_ms)
    if at_ms - newest_ms < _LATE_MS:
        return ""
    why = why_not_writable(current().engine)
    return f"{why}: results wait in memory, and so do alerts" if why else ""


def _say(absence: Absence, at_ms: int) -> str:
    who = "worker" if absence.role == "worker" else "alert engine"
    if absence.since_ms is None:
        return f"no {who} was ever seen"
    return f"no {who} was seen for {phrase.span((at_ms - absence.since_ms) / 1000)}"


routes = [Route("/healthz", _alive), Route("/readyz", _ready)]
