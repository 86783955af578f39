"""An app instance: routes to pages, counts what it answers, and suffers the faults of an instance."""

import asyncio
import sqlite3
import time

import anyio.to_thread
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sample_targets import api, pages
from sample_targets.fault import Fault
from sample_targets.layout import Layout
from sample_targets.serving import listen, serve
from sample_targets.visit import Endpoint, Handler, Shop, Visit, endpoint

BAD_NODE = "app-2"
BAD_NODE_DELAY_S = 0.4


class Instance:
    """Middleware around everything an instance answers."""

    def __init__(self, app: ASGIApp, shop: Shop) -> None:
        self._app = app
        self._shop = shop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, named, timed and counted."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        meter = self._shop.meter
        started_s = time.perf_counter()
        status = 500

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-served-by", self._shop.node.encode())]
            await send(message)

        meter.busy += 1
        try:
            await self._suffer(scope, receive, send_named)
        finally:
            meter.busy -= 1
            # By endpoint, not by path: paths are as many as visitors care to invent.
            route = getattr(scope.get("endpoint"), "__name__", "none")
            meter.count_request(route, status, time.perf_counter() - started_s)

    async def _suffer(self, scope: Scope, receive: Receive, send: Send) -> None:
        faults = self._shop.faults
        while faults.is_on(Fault.HANG):
            await asyncio.sleep(0.2)
        if self._shop.node == BAD_NODE and faults.is_on(Fault.ONE_BAD_NODE):
            await asyncio.sleep(BAD_NODE_DELAY_S)
            response = PlainTextResponse("500 Internal Server Error: disk of this node is full\n", 500)
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)


def build_app(shop: Shop) -> Starlette:
    """The ASGI application of one instance."""

    def page(path: str, handler: Handler, method: str = "GET") -> Route:
        return Route(path, endpoint(shop, handler), methods=[method])

    def watch(path: str, handler: Handler) -> Route:
        return Route(path, _probe_endpoint(shop, handler))

    routes = [
        page("/", pages.home),
        page("/products", pages.products),
        page("/products/{product_id:int}", pages.product),
        page("/cart", pages.cart),
        page("/cart", pages.add_to_cart, "POST"),
        page("/checkout", pages.checkout, "POST"),
        page("/login", pages.login_form),
        page("/login", pages.log_in, "POST"),
        page("/account", pages.account),
        page("/logout", pages.log_out, "POST"),
        page("/api/login", api.api_login, "POST"),
        page("/api/account", api.api_account),
        watch("/health", api.show_health),
        watch("/health/readiness", api.show_readiness),
        watch("/metrics", api.show_metrics),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Instance, shop=shop)],
        exception_handlers={sqlite3.OperationalError: _database_failed},
    )


def _probe_endpoint(shop: Shop, handler: Handler) -> Endpoint:
    """An endpoint for machines: a broken release still reports its health."""

    async def answer(request: Request) -> Response:
        return await anyio.to_thread.run_sync(handler, Visit(shop, request, b""), limiter=shop.meter.workers)

    answer.__name__ = handler.__name__
    return answer


def _database_failed(_: Request, error: Exception) -> Response:
    return PlainTextResponse(f"503 Service Unavailable: database: {error}\n", 503, {"x-failed-upstream": "database"})


def run_app_1(layout: Layout) -> None:
    """The process of the first instance."""
    _run_instance("app-1", layout)


def run_app_2(layout: Layout) -> None:
    """The process of the second instance."""
    _run_instance("app-2", layout)


def _run_instance(node: str, layout: Layout) -> None:
    serve(listen(build_app(Shop(node, layout)), layout.port(node)))
