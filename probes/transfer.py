"""One exchange, whoever carried it: what it brought, and why it failed if it did."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import pycurl

from probes.answer import MOST_HEADER_BYTES, MOST_HEADERS
from probes.curl_fault import Trouble, failure_of
from probes.header import NO_HEADERS, HeaderLines
from probes.probe import Certificate, Failure, Request
from probes.result import Phases, Reason
from probes.url import Url

LAST_LINES = (b"\r\n", b"\n")
"""What the headers of an answer end with."""


class Transfer(ABC):
    """One request to one URL and its answer, no redirects."""

    __slots__ = ("_request", "_too_big", "answered", "asked_for_certificate", "code", "headers", "timeout_s", "url")

    def __init__(self, request: Request, url: Url, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.headers = NO_HEADERS
        self.code: int | None = None
        """The status code of the answer; None where there was none."""
        self.answered = False
        self.url = url
        self.asked_for_certificate = False
        self._request = request
        self._too_big: Reason | None = None

    @property
    def is_tls(self) -> bool:
        """Whether the connection to the site is encrypted."""
        return self.url.is_tls

    @property
    @abstractmethod
    def body(self) -> bytes:
        """The decoded body so far."""

    @property
    @abstractmethod
    def lines(self) -> Sequence[bytes]:
        """The header lines so far, in as many pieces as they came."""

    @abstractmethod
    def address(self) -> str | None:
        """The peer's address."""

    @abstractmethod
    def phases(self) -> tuple[Phases, float]:
        """The steps of the exchange but the lookup, and their total, in seconds."""

    @abstractmethod
    def certificate(self) -> Certificate | None:
        """The leaf the server showed, even to a handshake that failed; None without TLS."""

    @abstractmethod
    def http_version(self) -> str | None:
        """The version the server answered with."""

    @abstractmethod
    def late_s(self, end_s: float) -> float:
        """How long after its deadline we came to look whether an answer was there; 0 where we were in time."""

    @abstractmethod
    def release(self, ended_well: bool) -> None:
        """End what is still under way, and let go of it all."""

    @abstractmethod
    def _status(self) -> int | None:
        """The status code of what has been read."""

    @abstractmethod
    def _body_is_too_big(self) -> bool:
        """Whether reading ended because of the body's size."""

    @abstractmethod
    def _trouble(self, code: int, text: str, where: str, late_s: float) -> Trouble:
        """What is known about the failed exchange."""

    def end(self, code: int, text: str, where: str, late_s: float = 0.0) -> Failure | None:
        """It is over, with libcurl's number: read what came, and say why it failed if it did. `late_s`: see there."""
        lines = self.lines
        if lines:
            self.answered = True
            self.headers = HeaderLines(lines)
            self.code = self._status()
        if self._body_is_too_big():
            self._too_big = Reason.BODY_TOO_BIG
        elif len(lines) > MOST_HEADERS or code != pycurl.E_OK or sum(map(len, lines)) > MOST_HEADER_BYTES:
            self._measure_headers(lines)
        if code == pycurl.E_OK and self._too_big is None:
            if lines and not _are_whole(lines):  # libcurl lets it pass
                text = f"{where} closed the connection amid the headers of its answer"
                return Failure(Reason.HTTP_PROTOCOL, text, code=self.code)
            return None
        return self._failure(code, text, where, late_s)

    def _measure_headers(self, lines: Sequence[bytes]) -> None:
        if sum(map(len, lines)) > MOST_HEADER_BYTES or len(self.headers) > MOST_HEADERS:
            self._too_big = Reason.HTTP_HEADER_TOO_BIG

    def may_want_certificate(self, failure: Failure) -> bool:
        """Whether a failure is what servers do, among other things, to a client that shows no certificate.

        Up to TLS 1.2 the alert for it is the one for "no cipher"; later the alert may get lost in a reset.
        """
        return (
            failure.reason in (Reason.TLS_CIPHER, Reason.TLS_EOF, Reason.TCP_RESET, Reason.HTTP_PROTOCOL)
            and self.url.is_tls
            and not self.answered
            and self._request.client_cert_file is None
        )

    def _failure(self, code: int, text: str, where: str, late_s: float) -> Failure:
        """Why it was given up."""
        if self._too_big is Reason.BODY_TOO_BIG:
            most = self._request.max_body_bytes
            return Failure(Reason.BODY_TOO_BIG, f"the body is larger than {most} bytes (max_body)", code=self.code)
        if self._too_big is not None:
            return Failure(self._too_big, f"more than {MOST_HEADER_BYTES} bytes or {MOST_HEADERS} fields of headers")
        failure = failure_of(self._trouble(code, text, where, late_s))
        failure.code = self.code
        return failure


def _are_whole(lines: Sequence[bytes]) -> bool:
    """Whether the header lines of the last answer have their empty line; trailers may stand behind it."""
    if lines[-1] in LAST_LINES or lines[-1].endswith((b"\n\r\n", b"\n\n")):
        return True
    last = max(index for index, line in enumerate(lines) if line.startswith(b"HTTP/") or not index)
    return any(line in LAST_LINES for line in lines[last:])
