"""One request to an app instance, with what a page needs to answer it."""

import functools
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response

from sample_targets.database import Database
from sample_targets.fault import Fault
from sample_targets.layout import Layout
from sample_targets.meter import Meter
from sample_targets.near_cache import NearCache
from sample_targets.purchase import Till
from sample_targets.session import Session, Sessions

COOKIE = "shop_session"


class BrokenRelease(RuntimeError):
    """What a faulty release of the shop raises."""


class Shop:
    """The services of one app instance."""

    def __init__(self, node: str, layout: Layout) -> None:
        self.node = node
        self.faults = layout.faults
        self.database = Database(layout.database)
        self.cache = NearCache(layout.port("cache"))
        self.sessions = Sessions(self.database, self.cache)
        self.till = Till(self.database, layout.port("payments"))
        self.meter = Meter(node)


@dataclass(frozen=True, slots=True)
class Visit:
    """A request whose body was read, handled in a worker thread."""

    shop: Shop
    request: Request
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        """The fields of a posted form."""
        return dict(parse_qsl(self.body.decode(errors="replace")))

    @property
    def json(self) -> dict[str, Any]:
        """The posted JSON object; empty where there is none."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    def find_session(self) -> Session | None:
        """The session of the cookie."""
        return self.shop.sessions.find(self.request.cookies.get(COOKIE))

    def find_bearer(self) -> Session | None:
        """The session of the bearer token."""
        scheme, _, token = self.request.headers.get("authorization", "").partition(" ")
        return self.shop.sessions.find(token) if scheme.lower() == "bearer" else None

    def keep_cookie(self, response: Response, session: Session) -> None:
        """Hand the session to the browser."""
        secure = self.request.headers.get("x-forwarded-proto") == "https"
        response.set_cookie(COOKIE, session.token, httponly=True, samesite="lax", secure=secure, path="/")


Handler = Callable[[Visit], Response]
Endpoint = Callable[[Request], Awaitable[Response]]


def endpoint(shop: Shop, handler: Handler) -> Endpoint:
    """The handler as an endpoint of Starlette: it may block, and it breaks while the fault `error` is on."""

    def handle(visit: Visit) -> Response:
        # As a framework takes a connection before the page begins: without a database nothing asks the cache either,
        # whose hit rate would else fall for a fault that is not its own.
        with shop.database.connect():
            pass
        return handler(visit)

    @functools.wraps(handler)
    async def answer(request: Request) -> Response:
        if shop.faults.is_on(Fault.ERROR):
            raise BrokenRelease("price table has no column 'currency'")
        visit = Visit(shop, request, await request.body())
        return await anyio.to_thread.run_sync(handle, visit, limiter=shop.meter.workers)

    return answer
