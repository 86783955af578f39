"""How our HTTP routes say that something is wrong: problem documents of RFC 9457."""

import json
import logging
from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from probes.store.database import StoreError

log = logging.getLogger(__name__)


class Problem(Exception):
    """Raised by a route to answer with a status and a sentence for people; `more` become members of the document."""

    def __init__(self, status: int, detail: str, **more: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.more = more

    def response(self) -> Response:
        """The document as an answer."""
        return problem(self.status, self.detail, **self.more)


def problem(status: int, detail: str, **more: Any) -> Response:
    """A problem document."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    return Response(json.dumps(body), status, media_type="application/problem+json")


def answering(route: Callable[[Request], Response]) -> Callable[[Request], Response]:
    """Wrap a route: problems become documents, and a store that cannot be read becomes 503 with words."""

    @wraps(route)
    def wrapped(request: Request) -> Response:
        try:
            return route(request)
        except Problem as raised:
            return raised.response()
        except StoreError as error:
            log.warning("the store cannot be used: %s", error)
            return problem(503, f"The store cannot be read: {error}")

    return wrapped
