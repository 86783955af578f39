"""The run that most are: one request to an address that is known and allowed, and a whole answer that leads nowhere.

It takes none of the steps that such a run does not need (no generator, no lookup, no redirects). Where anything turns
out otherwise it hands over, with the transfer as it stands, to a conversation that knows all the cases
(`probes.engine`); so what a failure means is written down once, there.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pycurl

from probes.guard import check_addresses, literal_address
from probes.handle import Handle, Shape, shape_of
from probes.header import HeaderLines
from probes.probe import Ask, Certificate, ConversationProbe, Failure, Reading, Request, Response
from probes.redirect import REDIRECTS
from probes.runner import reading_of_error, timed
from probes.target import Check
from probes.transfer import (
    LAST_LINES,
    MOST_HEADER_BYTES,
    MOST_HEADERS,
    Transfer,
    certificate_of,
    http_version_of,
    phases_of,
)
from probes.url import Url, UrlError, read_url

if TYPE_CHECKING:
    from probes.engine import Engine

CERTIFICATE_FOR_S = 300.0
"""A certificate is looked at again after so long, and at once after a failure; a change is noticed that much later."""
_RESPONSE_CODE, _PRIMARY_IP, _HEADER_SIZE = pycurl.RESPONSE_CODE, pycurl.PRIMARY_IP, pycurl.HEADER_SIZE
_VERIFICATION = (pycurl.E_PEER_FAILED_VERIFICATION, pycurl.E_SSL_INVALIDCERTSTATUS)
OnReading = Callable[[Reading], object]


class Route:
    """Where a request goes, and which addresses the guard has let through; kept with the request (`Request.route`).

    Addresses are looked at again whenever the name has others than before.
    """

    __slots__ = ("addresses", "certificate", "certificate_until_s", "pinned", "quiet_shape", "shape", "url")

    def __init__(self, request: Request) -> None:
        """Raises UrlError, and Failure for an address that is not allowed."""
        self.url: Url = read_url(request.url)
        is_name = literal_address(self.url.host) is None
        self.shape: Shape | None = shape_of(request, self.url, is_name, None)
        self.quiet_shape = shape_of(request, self.url, is_name, None, False) if self.url.is_tls else self.shape
        self.certificate: Certificate | None = None
        """What the server has shown to a run that did not fail, and which is taken for good until then."""
        self.certificate_until_s = 0.0
        self.addresses: tuple[str, ...] = ()
        self.pinned: str | None = None
        if not is_name:
            self.allow(request, (self.url.host,))

    def allow(self, request: Request, addresses: tuple[str, ...]) -> None:
        """Take over the addresses of the host. Raises Failure where one of them is not allowed."""
        check_addresses(self.url.host, addresses, request.allow_addresses)
        self.addresses = addresses
        if addresses != (self.url.host,):
            self.pinned = pin(self.url.host, self.url.port, addresses)


def pin(host: str, port: int, addresses: tuple[str, ...]) -> str:
    """Addresses of a host in libcurl's words, so that it asks nobody else."""
    listed = ",".join(f"[{address}]" if ":" in address else address for address in addresses)
    return f"+{host}:{port}:{listed}"


def route_of(engine: "Engine", probe: ConversationProbe) -> Route | None:
    """The way of a probe's only request; None where it needs a conversation to find it, or more than one request."""
    request = probe.only_request
    if request is None or request.shape is None or request.connect_to is not None:
        return None
    route = request.route
    try:
        if not isinstance(route, Route):
            route = Route(request)
            object.__setattr__(request, "route", route)
        if route.shape is None:  # credentials in the URL
            return None
        if route.pinned is not None or not route.addresses:
            addresses = engine.resolver.known(route.url.host, request.family)
            if addresses is None:
                return None
            if addresses != route.addresses:
                route.allow(request, addresses)
    except (UrlError, Failure):
        return None
    return route


class PlainRun:
    """One run of one check. Calls back exactly once, by itself or by the conversation it has handed over to."""

    __slots__ = (
        "_bucket",
        "_end_s",
        "_engine",
        "_is_quiet",
        "ask",
        "check",
        "handle",
        "on_done",
        "probe",
        "route",
        "started",
    )

    def __init__(  # noqa: PLR0917
        self, engine: "Engine", check: Check, probe: ConversationProbe, route: Route, ask: Ask, on_done: OnReading
    ) -> None:
        self._engine, self.check, self.probe, self.route, self.ask = engine, check, probe, route, ask
        self.on_done = on_done
        self.started = engine.loop.time()
        self._end_s = ask.deadline.end_s
        self._is_quiet = self.started < route.certificate_until_s or not route.url.is_tls
        self.handle: Handle | None = None

    def begin(self) -> bool:
        """Hand the request to libcurl; False, and nothing has happened, where that is not possible."""
        left_s = self._end_s - self.started
        request, route, engine = self.probe.only_request, self.route, self._engine
        if left_s <= 0 or request is None:
            return False
        shape = route.quiet_shape if self._is_quiet else route.shape
        handle = engine.take_handle(shape)
        if handle.shape == shape:
            handle.ready(route.url.text, left_s, route.pinned)
        else:
            try:
                transfer = Transfer(handle, request, route.url, left_s)
                transfer.prepare(shape, route.pinned, None, not self._is_quiet)
            except pycurl.error:
                engine.give_back(handle, False)
                return False
        self.handle = handle
        self._bucket = engine.backstops.add(self._end_s, self)
        engine.begin_transfer(handle.curl, self._end)
        return True

    def abort(self, failure: Failure) -> None:
        """End now."""
        if self.handle is not None:
            self._engine.give_back(self.handle, False)
        self._finish(Reading.of_failure(failure))

    def expire(self) -> None:
        """The deadline has passed and libcurl did not say so."""
        self._hand_over(pycurl.E_OPERATION_TIMEDOUT, "deadline")

    def _end(self, code: int, text: str) -> None:
        handle = self.handle
        if handle is None:
            return
        lines, pieces, curl, route = handle.lines, handle.pieces, handle.curl, self.route
        if code or not lines or lines[-1] not in LAST_LINES or len(lines) > MOST_HEADERS:
            self._hand_over(code, text)
            return
        get = curl.getinfo
        status, address = get(_RESPONSE_CODE), get(_PRIMARY_IP)
        if not status or status in REDIRECTS or address not in route.addresses or get(_HEADER_SIZE) > MOST_HEADER_BYTES:
            self._hand_over(code, text)
            return
        phases, total_s = phases_of(curl, 0.0 if route.pinned else None, True)
        response = Response(
            route.url.text,
            status,
            HeaderLines(lines),
            pieces[0] if len(pieces) == 1 else b"".join(pieces),
            phases,
            total_s,
            address,
            http_version_of(curl),
            (),
            self._certificate(curl) if route.url.is_tls else None,
        )
        engine, self.handle = self._engine, None
        engine.keep_spare(handle)
        engine.talking = self.check.id
        try:
            reading = self.probe.conclude(self.ask, response)
        except BaseException as error:  # noqa: BLE001  (a probe's fault must not reach the loop)
            reading = reading_of_error(self.check, error)
        engine.talking = ""
        self._finish(reading)

    def _certificate(self, curl: pycurl.Curl) -> Certificate | None:
        """What the server shows; for most runs what it has shown before, as long as all is well."""
        route = self.route
        if not self._is_quiet:
            route.certificate = certificate_of(curl)
            route.certificate_until_s = self.started + CERTIFICATE_FOR_S if route.certificate else 0.0
        return route.certificate

    def _hand_over(self, code: int, text: str) -> None:
        """It is no plain run after all: go on as a conversation whose first transfer has just ended so."""
        handle, self.handle = self.handle, None
        request = self.probe.only_request
        if handle is None or request is None:
            return
        if code:
            self.route.certificate_until_s = 0.0  # the next run looks again
        if self._is_quiet and code in _VERIFICATION and self._engine.loop.time() < self._end_s:
            # What is wrong with the certificate can only be told by another look at it.
            self._engine.give_back(handle, False)
            self._bucket.discard(self)
            self._engine.talk_anew(self)
            return
        transfer = Transfer(handle, request, self.route.url, self._end_s - self.started)
        self._bucket.discard(self)
        self._engine.talk_on(self, transfer, code, text)

    def _finish(self, reading: Reading) -> None:
        engine = self._engine
        self.handle = None
        self._bucket.discard(self)
        engine.run_ended(self)
        self.on_done(reading if reading.duration_s is not None else timed(reading, engine.loop.time() - self.started))
