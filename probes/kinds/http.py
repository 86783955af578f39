"""Kind `http`: does a URL answer as it should, how fast, and for how long is its certificate good?"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache, partial
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from probes.body import BodyExpect, HeaderExpect, charset_of
from probes.certificate import days_left
from probes.duration import Duration
from probes.evidence import MOST_EXCHANGES, exchange
from probes.fan_out import Node, complain, metrics_of, nodes_of, odd_first, tell
from probes.http_options import HttpOptions
from probes.http_status import Statuses, name_status, status_matches
from probes.probe import (
    Ask,
    Certificate,
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
from probes.result import Reason, Status
from probes.url import UrlError, read_url, split_authority

_UP = Status.UP
# nginx ends the handshake well, whoever is there, and refuses in HTTP.
_WANTS_CERTIFICATE = (b"No required SSL certificate was sent", b"The SSL certificate error")


def _check_node(address: str) -> str:
    try:
        split_authority(address, 80)
    except UrlError as error:
        raise ValueError(f"{address!r} is no node: {error}; write address:port") from None
    return address


NodeAddress = Annotated[str, AfterValidator(_check_node)]


class Options(HttpOptions):
    """What is requested."""

    body: str | None = Field(None, description="request body; say its Content-Type in headers")
    nodes: tuple[NodeAddress, ...] = Field(
        (), description="address:port of every node behind the URL's name: each is asked the same, beside the name"
    )
    compare: tuple[str, ...] = Field(
        (), description="response headers that must be the same on all nodes; `certificate` means its fingerprint"
    )
    node_slow_after: Duration | None = Field(None, description="a node that takes longer than this is an odd one")
    node_failure: Literal["degraded", "down"] = Field(
        "degraded", description="what an odd node makes of the check while the URL itself answers well"
    )

    @model_validator(mode="after")
    def _can_reach_nodes(self) -> "Options":
        if self.nodes and (self.proxy or self.unix_socket or self.connect_to):
            raise ValueError("nodes cannot be asked through proxy, unix_socket or connect_to")
        if len(set(self.nodes)) < len(self.nodes):
            raise ValueError("a node stands in nodes twice")
        if not self.nodes and (self.compare or self.node_slow_after is not None):
            raise ValueError("compare and node_slow_after say something about nodes: name them")
        return self


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
        "nodes": Metric("nodes that were asked", worse="below"),
        "nodes_up": Metric("nodes that answered as they should", worse="below"),
        "node_duration_s:*": Metric("seconds that one node took, by its address"),
    }

    def describe(self) -> str:
        """`GET https://shop.example.org/`."""
        return f"{self.options.method} {read_url(self.options.url)}"

    def converse(self, ask: Ask) -> Conversation:
        """One request, or one to each node beside it. Raises Failure for a wrong answer."""
        return self._fan_out(ask) if self.options.nodes else super().converse(ask)

    def conclude(self, ask: Ask, response: Response) -> Reading:
        """What the answer means. Raises Failure for a wrong one."""
        metrics, facts = measure(response, ask.now_ms), facts_of(response)
        evidence = partial(exchange, self._request, response)
        failure = response.failure or self._failure(response)
        if failure is not None:
            raise Failure(
                failure.reason,
                failure.message,
                code=response.code,
                phases=response.phases,
                metrics=metrics,
                facts=facts,
                evidence=evidence,
            ) from None
        return Reading(
            _UP, None, "", response.duration_s, response.code, response.phases, metrics, None, facts, evidence
        )

    def _fan_out(self, ask: Ask) -> Conversation:
        """The URL and every node behind it at once; the URL's own failure counts for more than any node's."""
        requests = (self._request, *(replace(self._request, connect_to=node) for node in self.options.nodes))
        response, *answers = yield requests
        nodes = nodes_of(self.options.nodes, answers, self._failure)
        complaints = complain(nodes, self.options.compare, self.options.node_slow_after)
        metrics = measure(response, ask.now_ms) | metrics_of(nodes)
        failure = response.failure or self._failure(response)
        odd = tell(complaints, len(nodes)) if complaints else ""
        reading = Reading(
            duration_s=response.duration_s,
            code=response.code,
            phases=response.phases,
            metrics=metrics,
            facts=facts_of(response),
            evidence=_evidence_of_nodes(requests, response, odd_first(nodes, {one.address: one for one in complaints})),
        )
        if failure is not None:
            status = Status.UNKNOWN if failure.reason.is_ours else Status.DOWN
            return replace(
                reading, status=status, reason=failure.reason, message="; ".join(filter(None, (failure.message, odd)))
            )
        if complaints:
            first = next((one for one in complaints if not one.reason.is_ours), None)
            status = Status(self.options.node_failure) if first else Status.UNKNOWN
            return replace(reading, status=status, reason=(first or complaints[0]).reason, message=odd)
        return reading

    @cached_property
    def only_request(self) -> Request | None:
        """The request, unless nodes are asked as well."""
        return None if self.options.nodes else self._request

    @cached_property
    def _request(self) -> Request:
        options: Options = self.options
        # Who expects a redirect wants to see it.
        follow = 0 if all(status.startswith("3") for status in self.expect.status) else None
        body = None if options.body is None else options.body.encode()
        return options.request(body=body, max_redirects=follow).shaped()

    def _failure(self, response: Response) -> Failure | None:
        """What is wrong with an answer that did come."""
        expect = self.expect.__dict__  # see BodyExpect.mismatch_of
        if not status_matches(response.code, expect["status"]):
            return self._status_failure(response)
        for name, header in expect["headers"].items() if expect["headers"] else ():
            values = [value for key, value in response.headers if key.lower() == name.lower()]
            if (words := header.mismatch_of(name, values)) is not None:
                return Failure(Reason.BODY_MISMATCH, words)
        if expect["body"] is not None:
            words = expect["body"].mismatch_of(response.body, charset_of(response.header("content-type")))
            if words is not None:
                return Failure(Reason.BODY_MISMATCH, words)
        return None

    def _status_failure(self, response: Response) -> Failure:
        code = name_status(response.code)
        if response.code == 407 and self.options.proxy:
            return Failure(Reason.AUTH_FAILED, f"the proxy refuses our credentials: status {code}")
        if response.code in (401, 403) and self.options.has_credentials:
            return Failure(Reason.AUTH_FAILED, f"credentials refused: status {code}")
        if response.code == 400 and any(words in response.body[:4096] for words in _WANTS_CERTIFICATE):
            return Failure(Reason.TLS_CLIENT_CERT, f"the server asks for a client certificate: status {code}")
        return Failure(Reason.HTTP_STATUS, f"status {code} instead of {' or '.join(self.expect.status)}")


def _evidence_of_nodes(
    requests: Sequence[Request], response: Response, nodes: Sequence[Node]
) -> Callable[[], Mapping[str, Any]]:
    """The public name's exchange and those of the nodes, as many as are kept."""
    asked = {request.connect_to: request for request in requests}

    def gather() -> Mapping[str, Any]:
        shown = nodes[: MOST_EXCHANGES - 1]
        return {
            **exchange(asked[None], response),
            "nodes": {node.address: exchange(asked[node.address], node.response) for node in shown},
        }

    return gather


def measure(response: Response, now_ms: int) -> dict[str, float]:
    """The metrics every HTTP answer has."""
    metrics = {} if response.code is None else _sizes(len(response.body), len(response.hops))
    if response.certificate is not None:
        return metrics | {"certificate_days_left": round(days_left(response.certificate, now_ms / 1000), 3)}
    return metrics


@lru_cache(maxsize=4096)
def _sizes(size_bytes: int, hops: int) -> dict[str, float]:
    """One object for all that are equal: most checks hear the same each time, and thousands of results wait."""
    return {"size_bytes": float(size_bytes), "redirects": float(max(0, hops - 1))}


def facts_of(response: Response) -> Mapping[str, str] | None:
    """What seldom changes about an answer; only a change is stored."""
    family = None if response.code is None or not response.address else "IPv6" if ":" in response.address else "IPv4"
    followed = tuple(hop.url for hop in response.hops[1:]) if response.hops else ()
    return _facts(response.certificate, family, followed if response.code is not None else None)


@lru_cache(maxsize=4096)
def _facts(
    certificate: Certificate | None, family: str | None, redirects: tuple[str, ...] | None
) -> Mapping[str, str] | None:
    facts = {}
    if certificate is not None:
        facts["certificate"] = certificate.fact
    if family is not None:
        facts["address family"] = family
    if redirects is not None:
        # Queries and path parameters carry what is new with every visit.
        facts["redirects"] = " → ".join(re.split("[?;]", hop, maxsplit=1)[0] for hop in redirects) or "none"
    return facts or None
