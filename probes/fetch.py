"""One Request of a conversation from the lookup to the last byte, redirects followed hop by hop, each one checked."""

from collections.abc import Callable
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pycurl

from probes.curl_transfer import CurlTransfer
from probes.guard import check_addresses, literal_address
from probes.handle import shape_of
from probes.loop import Timer
from probes.probe import Certificate, Failure, Hop, Request, Response
from probes.redirect import REDIRECTS, follow
from probes.resolver import Answer
from probes.result import NO_PHASES, Phases, Reason
from probes.route import Route, pin
from probes.transfer import Transfer
from probes.url import Url, UrlError, read_url, split_authority

if TYPE_CHECKING:
    from probes.engine import Engine

_SECOND_LOOK_S = 0.05

OnResponse = Callable[[int, Response], object]


class Fetch:
    """Calls back exactly once, with its index and the Response; a failure is in the Response, never raised."""

    __slots__ = (
        "_certificate",
        "_checked",
        "_done",
        "_doubtful",
        "_duration_s",
        "_end_s",
        "_ended_well",
        "_engine",
        "_hops",
        "_index",
        "_lookup",
        "_on_response",
        "_phases",
        "_pinned",
        "_request",
        "_timeout_s",
        "_transfer",
        "_url",
        "_where",
    )

    def __init__(  # noqa: PLR0917
        self,
        engine: "Engine",
        request: Request,
        deadline_s: float,
        index: int,
        on_response: OnResponse,
        started_s: float | None = None,
    ) -> None:
        self._engine = engine
        self._request = request
        self._index = index
        self._on_response = on_response
        self._ended_well = False
        now = engine.loop.time() if started_s is None else started_s
        self._end_s = deadline_s if request.timeout_s is None else min(deadline_s, now + request.timeout_s)
        self._timeout_s = self._end_s - now
        self._url: Url | None = None
        self._hops: list[Hop] = []
        self._phases = NO_PHASES
        self._duration_s = 0.0
        self._lookup: Timer | None = None
        self._transfer: Transfer | None = None
        self._where = ""
        self._certificate: Certificate | None = None
        self._pinned: str | None = None
        self._checked: tuple[str, ...] = ()
        self._doubtful: Failure | None = None
        self._done = False

    def begin(self) -> None:
        """Start; the callback may come before this returns."""
        try:
            self._go(read_url(self._request.url))
        except UrlError as error:
            self._end(failure=Failure(Reason.INTERNAL, f"unusable URL: {error}"))

    def go_on(self, transfer: Transfer, route: Route, code: int, text: str) -> None:
        """Take over a transfer that has just ended, as if it had been begun here."""
        self._url, self._transfer, self._pinned, self._checked = route.url, transfer, route.pinned, route.addresses
        self._certificate = route.certificate
        self._name_place(route.url.host, route.url.port)
        if route.pinned is not None:
            self._add_phases(Phases(dns_s=0.0), 0.0)
        self._finish_hop(code, text)

    def abort(self, failure: Failure) -> None:
        """Stop what is under way and answer with a failure."""
        if not self._done:
            self._end(failure=failure)

    def expire(self) -> None:
        """The backstop behind libcurl's own timeout: the deadline has passed."""
        if self._done:
            return
        if self._transfer is None:
            text = f"no answer for {self._url.host if self._url else 'the name'} within {self._timeout_s:.3g} s"
            self._end(failure=Failure(Reason.DNS_TIMEOUT, text))
            return
        self._finish_hop(pycurl.E_OPERATION_TIMEDOUT, "deadline")

    def _go(self, url: Url) -> None:
        self._url = url
        left_s = self._end_s - self._engine.loop.time()
        if left_s <= 0:
            self._end(failure=Failure(Reason.DEADLINE, f"no answer within {self._timeout_s:.3g} s"))
            return
        host, port = self._destination(url)
        self._where = f"{host}:{port}"
        if self._request.unix_socket is not None:
            self._where = self._request.unix_socket
            self._connect(url, None)
        elif literal_address(host) is not None:
            self._take_addresses(url, host, port, (host,))
        else:
            self._lookup = self._engine.resolver.resolve(
                host, self._request.family, left_s, lambda answer: self._hear_lookup(url, host, port, answer)
            )

    def _destination(self, url: Url) -> tuple[str, int]:
        """Host and port that a connection is really opened to: the proxy's, the fan-out's or the URL's own."""
        if self._request.proxy:
            scheme, _, rest = self._request.proxy.rpartition("://")
            proxy = read_url(f"{'https' if scheme == 'https' else 'http'}://{rest}")
            return proxy.host, proxy.port
        if self._request.connect_to:  # a redirect to another origin has taken it away
            return split_authority(self._request.connect_to, url.port)
        return url.host, url.port

    def _hear_lookup(self, url: Url, host: str, port: int, answer: Answer) -> None:
        if self._done:
            return
        if isinstance(answer, Failure):
            self._end(failure=answer)
            return
        self._add_phases(Phases(dns_s=answer.elapsed_s), answer.elapsed_s)
        self._take_addresses(url, host, port, answer.addresses)

    def _take_addresses(self, url: Url, host: str, port: int, addresses: tuple[str, ...]) -> None:
        try:
            if self._request.proxy and literal_address(url.host) is not None:
                check_addresses(url.host, (url.host,), self._request.allow_addresses)
            check_addresses(host, addresses, self._request.allow_addresses)
        except Failure as failure:
            self._end(failure=failure)
            return
        self._checked = addresses
        self._name_place(host, port)
        self._connect(url, None if addresses == (host,) else pin(host, port, addresses))

    def _name_place(self, host: str, port: int) -> None:
        """For messages."""
        one = self._checked[0] if len(self._checked) == 1 else host
        self._where = f"{host}:{port}" if one == host else f"{one}:{port} ({host})"

    def _connect(self, url: Url, pinned: str | None) -> None:
        self._pinned = pinned
        left_s = self._end_s - self._engine.loop.time()
        connect_to = None if self._request.proxy else self._request.connect_to
        # Who listens leaves an option behind that nobody else wants.
        shape = shape_of(self._request, url, pinned is not None, connect_to) if self._doubtful is None else None
        transfer = CurlTransfer(self._engine, self._engine.take_handle(shape), self._request, url, max(0.001, left_s))
        self._transfer = transfer
        self._ended_well = False
        try:
            transfer.prepare(shape, pinned, connect_to)
            if self._doubtful is not None:
                transfer.listen()
        except pycurl.error as error:
            self._release()
            self._end(failure=Failure(Reason.INTERNAL, f"libcurl refuses the request: {error}"))
            return
        self._engine.begin_transfer(transfer.curl, self._finish_hop)

    def _finish_hop(self, code: int, text: str) -> None:
        transfer = self._transfer
        if self._done or transfer is None:
            return
        if self._doubtful is not None:
            self._conclude(transfer, self._doubtful)
            return
        self._ended_well = code == pycurl.E_OK
        transfer.timeout_s = self._timeout_s
        failure = transfer.end(code, text, self._where, transfer.late_s(self._end_s)) or self._stranger(transfer)
        self._add_phases(*transfer.phases())
        if transfer.is_tls:
            self._certificate = transfer.certificate() or self._certificate
        status = transfer.code
        if failure is None and status in REDIRECTS and self._request.max_redirects:
            location = next((value for name, value in transfer.headers if name.lower() == "location"), None)
            if location:
                self._redirect(status, location)
                return
        if failure is not None and transfer.may_want_certificate(failure) and self._has_time():
            # Only the handshake's messages tell; listening to them costs time, so it is done in this case alone.
            self._doubtful = failure
            self._release()
            self._connect(transfer.url, self._pinned)
            return
        self._end(failure=failure)

    def _has_time(self) -> bool:
        return self._end_s - self._engine.loop.time() > _SECOND_LOOK_S

    def _conclude(self, transfer: Transfer, failure: Failure) -> None:
        """After the second look: did the server ask for a client certificate before it gave up on us?"""
        if transfer.asked_for_certificate:
            text = f"{self._where} asks for a client certificate, and hangs up without one: {failure.message}"
            failure = Failure(Reason.TLS_CLIENT_CERT, text)
        self._end(failure=failure)

    def _stranger(self, transfer: Transfer) -> Failure | None:
        """A second lock behind the pinned addresses: an answer from any other address is not even looked at."""
        address = transfer.address()
        if address is None or address in self._checked or self._request.unix_socket is not None:
            return None
        if ip_address(address) in {ip_address(checked.partition("%")[0]) for checked in self._checked}:
            return None
        return Failure(Reason.SSRF_BLOCKED, f"the answer came from {address}, which was not checked")

    def _redirect(self, code: int, location: str) -> None:
        if self._url is None:
            return
        try:
            request, target = follow(self._request, code, self._url, location, len(self._hops))
        except Failure as failure:
            self._end(failure=failure)
            return
        self._hops.append(self._hop())
        self._phases, self._duration_s = NO_PHASES, 0.0
        self._request = request
        self._release()
        self._go(target)

    def _add_phases(self, more: Phases, total_s: float) -> None:
        have = self._phases
        self._duration_s += total_s
        if have is NO_PHASES:
            self._phases = more
            return
        self._phases = Phases(
            _plus(have.dns_s, more.dns_s),
            _plus(have.connect_s, more.connect_s),
            _plus(have.tls_s, more.tls_s),
            _plus(have.ttfb_s, more.ttfb_s),
            _plus(have.transfer_s, more.transfer_s),
        )

    def _end(self, failure: Failure | None) -> None:
        self._done = True
        if self._lookup is not None:
            self._lookup.cancel()
        response = self._response(failure)
        self._release()
        self._on_response(self._index, response)

    def _response(self, failure: Failure | None) -> Response:
        transfer = self._transfer
        hops = self._all_hops() if self._hops else ()
        if failure is not None:
            failure.phases = self._phases
        if transfer is None:
            return Response(self._request.url, phases=self._phases, hops=hops, failure=failure)
        return Response(
            url=self._request.url if self._url is None else self._url.text,
            code=transfer.code,
            headers=transfer.headers,
            body=transfer.body,
            phases=self._phases,
            duration_s=self._duration_s,
            address=transfer.address(),
            http_version=transfer.http_version() if failure is None else None,
            hops=hops,
            certificate=self._certificate,
            failure=failure,
        )

    def _hop(self) -> Hop:
        """The request under way, as far as it came."""
        url = self._request.url if self._url is None else self._url.text
        transfer, took_s = self._transfer, self._duration_s or None
        if transfer is None:
            return Hop(url, None, None, took_s, self._phases)
        return Hop(url, transfer.code, transfer.address(), took_s, self._phases)

    def _all_hops(self) -> tuple[Hop, ...]:
        """The hops so far and the one under way; from here on phases and duration are those of all together."""
        hops = (*self._hops, self._hop())
        for hop in self._hops:
            self._add_phases(hop.phases, hop.duration_s or 0.0)
        return hops

    def _release(self) -> None:
        if self._transfer is not None:
            self._transfer.release(self._ended_well)
            self._transfer = None


def _plus(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return one if other is None else other
    return one + other
