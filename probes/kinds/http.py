"""Kind `http`: does a URL answer as it should, how fast, and for how long is its certificate good?"""

from functools import cached_property, lru_cache
from http import HTTPStatus
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field

from probes.body import BodyExpect, HeaderExpect, charset_of
from probes.certificate import days_left
from probes.http_options import HttpOptions
from probes.probe import (
    Ask,
    Conversation,
    ConversationProbe,
    Expect,
    Failure,
    Metric,
    Reading,
    Request,
    Response,
    probe,
)
from probes.result import Reason
from probes.url import read_url


def _check_status(patterns: tuple[str, ...]) -> tuple[str, ...]:
    for pattern in patterns:
        digits = pattern.lower().removesuffix("xx")
        if not (digits.isdigit() and len(pattern) == 3 and pattern[0] in "12345"):
            raise ValueError(f"{pattern!r} is no status: write 200, 2xx or a list of these")
    return tuple(pattern.lower() for pattern in patterns)


def _as_patterns(value: Any) -> Any:
    return tuple(str(item) for item in (value if isinstance(value, list | tuple) else [value]))


Statuses = Annotated[
    tuple[str, ...],
    BeforeValidator(_as_patterns, json_schema_input_type=str | int | list[str | int]),
    AfterValidator(_check_status),
]


class Options(HttpOptions):
    """What is requested."""

    body: str | None = Field(None, description="request body; say its Content-Type in headers")


class Expects(Expect):
    """What the answer must look like."""

    status: Statuses = Field(("2xx",), description="status code, 2xx, or a list of these")
    body: BodyExpect | None = Field(None, description="what the body must or must not say")
    headers: dict[str, HeaderExpect] = Field(default_factory=dict, description="what response headers must say")


@probe("http")
class HttpProbe(ConversationProbe):
    """Requests one URL over a fresh connection and looks at status, headers, body and certificate."""

    Options = Options
    Expect = Expects
    metrics: ClassVar = {
        "certificate_days_left": Metric("days until the server's certificate expires", worse="below"),
        "size_bytes": Metric("size of the decoded body"),
        "redirects": Metric("redirects that were followed"),
    }

    def describe(self) -> str:
        """`GET https://shop.example.org/`."""
        return f"{self.options.method} {read_url(self.options.url)}"

    def converse(self, ask: Ask) -> Conversation:
        """One request. Raises Failure for a wrong answer."""
        response: Response = yield self._request
        metrics = measure(response, ask.now_ms)
        failure = response.failure or self._failure(response)
        if failure is not None:
            raise Failure(
                failure.reason, failure.message, code=response.code, phases=response.phases, metrics=metrics
            ) from None
        return Reading(duration_s=response.duration_s, code=response.code, phases=response.phases, metrics=metrics)

    @cached_property
    def _request(self) -> Request:
        options: Options = self.options
        # Who expects a redirect wants to see it.
        follow = 0 if all(status.startswith("3") for status in self.expect.status) else None
        body = None if options.body is None else options.body.encode()
        return options.request(body=body, max_redirects=follow).shaped()

    def _failure(self, response: Response) -> Failure | None:
        """What is wrong with an answer that did come."""
        expect: Expects = self.expect
        if not status_matches(response.code, expect.status):
            return self._status_failure(response)
        for name, header in expect.headers.items():
            values = [value for key, value in response.headers if key.lower() == name.lower()]
            if (words := header.mismatch_of(name, values)) is not None:
                return Failure(Reason.BODY_MISMATCH, words)
        if expect.body is not None:
            words = expect.body.mismatch_of(response.body, charset_of(response.header("content-type")))
            if words is not None:
                return Failure(Reason.BODY_MISMATCH, words)
        return None

    def _status_failure(self, response: Response) -> Failure:
        code = name_status(response.code)
        if response.code in (401, 403) and self.options.has_credentials:
            return Failure(Reason.AUTH_FAILED, f"credentials refused: status {code}")
        return Failure(Reason.HTTP_STATUS, f"status {code} instead of {' or '.join(self.expect.status)}")


def measure(response: Response, now_ms: int) -> dict[str, float]:
    """The metrics every HTTP answer has."""
    metrics: dict[str, float] = {}
    if response.code is not None:
        metrics["size_bytes"] = float(len(response.body))
        metrics["redirects"] = float(len(response.redirects))
    if response.certificate is not None:
        metrics["certificate_days_left"] = round(days_left(response.certificate, now_ms / 1000), 3)
    return metrics


@lru_cache(maxsize=4096)
def status_matches(code: int | None, patterns: tuple[str, ...]) -> bool:
    """Whether a status code is one of `200`, `2xx`."""
    text = str(code)
    return any(text == pattern or (pattern.endswith("xx") and text[0] == pattern[0]) for pattern in patterns)


def name_status(code: int | None) -> str:
    """`503 Service Unavailable`."""
    try:
        return f"{code} {HTTPStatus(code or 0).phrase}"
    except ValueError:
        return str(code)
