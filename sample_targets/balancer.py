"""The load balancer: spreads requests over the app nodes, takes sick ones out, retries on another."""

import asyncio
import itertools
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from sample_targets.exchange import (
    BodyTooBig,
    Message,
    Receive,
    Request,
    Response,
    Send,
    UpstreamError,
    UpstreamRefused,
    UpstreamTimeout,
    fetch,
    receive_request,
    send_response,
)
from sample_targets.layout import Layout
from sample_targets.serving import listen, serve

log = logging.getLogger(__name__)

CHECK_EVERY_S = 0.5
CHECK_TIMEOUT_S = 2.0
FALL = 2
NODE_TIMEOUT_S = 5.0
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


@dataclass(slots=True)
class Node:
    """One app instance as the balancer sees it."""

    name: str
    port: int
    up: bool = False
    answers: bool = False
    reason: str = "not checked yet"
    failed_checks: int = 0
    requests: int = 0
    errors: int = 0
    changed_s: float = 0.0

    def judge(self, problem: str | None, answers: bool) -> None:
        """Take the outcome of a check: out after FALL failures in a row, back after one success."""
        self.answers = answers
        self.failed_checks = 0 if problem is None else self.failed_checks + 1
        self.reason = problem or "health check passed"
        up = self.failed_checks < FALL if self.up else self.failed_checks == 0
        if up != self.up:
            self.up, self.changed_s = up, time.monotonic()
            log.warning("node %s is %s: %s", self.name, "up" if up else "down", self.reason)


class Balancer:
    """The ASGI application of the balancer."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes
        self._turns = itertools.count()
        self._started_s = time.monotonic()
        self._retries = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        try:
            request = await receive_request(scope, receive)
        except BodyTooBig:
            await send_response(send, _json(413, {"error": "request body too big"}))
            return
        response = self._status() if scope["path"] == "/lb/status" else await self._forward(request)
        await send_response(send, response)

    async def _forward(self, request: Request) -> Response:
        candidates = self._candidates()
        if not candidates:
            return _unavailable("no app node answers: " + self._reasons())
        response = _unavailable("no app node asked")
        for number, node in enumerate(candidates):
            self._retries += number > 0
            response, may_retry = await self._ask(node, request)
            if not may_retry:
                return response
        return response

    def _candidates(self) -> list[Node]:
        """Nodes to try in order. With none up, those that at least answer: their error page says what is wrong."""
        usable = [node for node in self.nodes if node.up] or [node for node in self.nodes if node.answers]
        if not usable:
            return []
        first = next(self._turns) % len(usable)
        return usable[first:] + usable[:first]

    async def _ask(self, node: Node, request: Request) -> tuple[Response, bool]:
        """The node's answer, and whether another node may be asked instead."""
        node.requests += 1
        may_retry = False
        try:
            response = await fetch(node.port, request, NODE_TIMEOUT_S)
            may_retry = response.status >= 500 and request.method in SAFE_METHODS
        except UpstreamTimeout as error:
            response = _json(504, {"error": f"{node.name}: {error}", "upstream": node.name})
        except UpstreamError as error:
            response = _json(502, {"error": f"{node.name}: {error}", "upstream": node.name})
            may_retry = isinstance(error, UpstreamRefused) or request.method in SAFE_METHODS
        node.errors += response.status >= 500
        return response, may_retry

    async def watch(self) -> None:
        """Check every node for ever, each at its own pace."""
        await asyncio.gather(*(self._watch(node) for node in self.nodes))

    async def _watch(self, node: Node) -> None:
        question = Request("GET", "/health/readiness")
        while True:
            try:
                response = await fetch(node.port, question, CHECK_TIMEOUT_S)
            except UpstreamError as error:
                node.judge(f"health check: {error}", answers=False)
            else:
                problem = None if response.status == 200 else f"health check: HTTP {response.status}"
                node.judge(problem, answers=True)
            await asyncio.sleep(CHECK_EVERY_S)

    def _status(self) -> Response:
        now_s = time.monotonic()
        up = sum(node.up for node in self.nodes)
        body = {
            "status": "UP" if up else "DOWN",
            "nodes_up": up,
            "nodes_total": len(self.nodes),
            "retries": self._retries,
            "uptime_s": round(now_s - self._started_s, 1),
            "nodes": {
                node.name: {
                    "state": "UP" if node.up else "DOWN",
                    "reason": node.reason,
                    "since_s": round(now_s - (node.changed_s or self._started_s), 1),
                    "requests": node.requests,
                    "errors": node.errors,
                }
                for node in self.nodes
            },
        }
        return _json(200 if up else 503, body)

    def _reasons(self) -> str:
        return "; ".join(f"{node.name}: {node.reason}" for node in self.nodes)


def _unavailable(text: str) -> Response:
    return _json(503, {"error": text, "upstream": "app"})


def _json(status: int, body: Mapping[str, object]) -> Response:
    content = json.dumps(body).encode()
    headers = [("content-type", "application/json"), ("content-length", str(len(content)))]
    return Response(status, headers, content)


def run_balancer(layout: Layout) -> None:
    """The process of the load balancer."""
    balancer = Balancer([Node(name, layout.port(name)) for name in ("app-1", "app-2")])
    serve(listen(balancer, layout.port("lb")), background=balancer.watch)
