"""A plain run that libcurl carries: https, and whatever needs more than a connection to the one address."""

from typing import TYPE_CHECKING

import pycurl

from probes.answer import MOST_HEADER_BYTES, MOST_HEADERS
from probes.curl_transfer import CurlTransfer, certificate_of, http_version_of, phases_of, system_ca_file
from probes.handle import Handle
from probes.header import HeaderLines
from probes.plain_run import OnReading, PlainRun
from probes.probe import Ask, Certificate, ConversationProbe, Response
from probes.redirect import REDIRECTS
from probes.route import Route
from probes.target import Check
from probes.transfer import LAST_LINES

if TYPE_CHECKING:
    from probes.engine import Engine

CERTIFICATE_FOR_S = 300.0
"""A certificate is looked at again after so long, and at once after a failure; a change is noticed that much later."""
_RESPONSE_CODE, _PRIMARY_IP, _HEADER_SIZE = pycurl.RESPONSE_CODE, pycurl.PRIMARY_IP, pycurl.HEADER_SIZE
_VERIFICATION = (pycurl.E_PEER_FAILED_VERIFICATION, pycurl.E_SSL_INVALIDCERTSTATUS)


class CurlRun(PlainRun):
    """A plain run on an easy handle from the engine's pool."""

    __slots__ = ("_is_quiet", "handle")

    def __init__(  # noqa: PLR0917
        self, engine: "Engine", check: Check, probe: ConversationProbe, route: Route, ask: Ask, on_done: OnReading
    ) -> None:
        super().__init__(engine, check, probe, route, ask, on_done)
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
                transfer = CurlTransfer(engine, handle, request, route.url, left_s)
                transfer.prepare(shape, route.pinned, None, not self._is_quiet)
            except pycurl.error:
                engine.give_back(handle, False)
                return False
        self.handle = handle
        self._bucket = engine.backstops.add(self._end_s, self)
        engine.begin_transfer(handle.curl, self._end)
        return True

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
            version := http_version_of(curl),
            (),
            self._certificate(curl) if route.url.is_tls else None,
        )
        engine, self.handle = self._engine, None
        if route.url.is_tls and route.wire is not None and self.probe.only_request is not None:
            ca_file = self.probe.only_request.ca_file or system_ca_file()
            route.secure = engine.security.of(ca_file) if version == "1.1" and route.certificate else None
        engine.keep_spare(handle)
        self._conclude(response)

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
        transfer = CurlTransfer(self._engine, handle, request, self.route.url, self._end_s - self.started)
        self._bucket.discard(self)
        self._engine.talk_on(self, transfer, code, text)

    def _let_go(self) -> None:
        handle, self.handle = self.handle, None
        if handle is not None:
            self._engine.give_back(handle, False)
