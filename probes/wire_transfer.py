"""The exchange of a run over a connection of our own, once it goes on as a conversation."""

from typing import TYPE_CHECKING

from probes.answer import Answer
from probes.curl_fault import Trouble
from probes.probe import Certificate, Request
from probes.result import Phases
from probes.transfer import Transfer

if TYPE_CHECKING:
    from probes.wire_run import WireRun


class WireTransfer(Transfer):
    """What such an exchange brought; its connection is closed."""

    __slots__ = ("_address", "_answer", "_ended_s", "_is_connected", "_is_secured", "_os_errno", "_phases")

    def __init__(self, run: "WireRun", request: Request, ended_s: float, os_errno: int) -> None:
        super().__init__(request, run.route.url, 0.0)
        self._answer = run.answer or Answer(False, 0)
        self._phases = run.phases(ended_s)
        self._address = run.route.addresses[0] if run.is_connected else None
        self._is_connected, self._is_secured = run.is_connected, run.is_secured
        self._ended_s, self._os_errno = ended_s, os_errno

    @property
    def body(self) -> bytes:
        """The decoded body so far."""
        return self._answer.body

    @property
    def lines(self) -> list[bytes]:
        """The head."""
        return self._answer.lines

    def address(self) -> str | None:
        """The peer's, once it has accepted."""
        return self._address

    def phases(self) -> tuple[Phases, float]:
        """By the loop's clock."""
        return self._phases

    def certificate(self) -> Certificate | None:
        """None: what is known of it stands on the route."""
        return None

    def http_version(self) -> str | None:
        """The version the server answered with."""
        return self._answer.version or None

    def late_s(self, end_s: float) -> float:
        """What is over before its deadline was looked at in time."""
        return max(0.0, self._ended_s - end_s)

    def release(self, ended_well: bool) -> None:
        """Nothing is left: the connection was closed before."""

    def _status(self) -> int | None:
        return self._answer.code or None

    def _body_is_too_big(self) -> bool:
        return self._answer.too_big

    def _trouble(self, code: int, text: str, where: str, late_s: float) -> Trouble:
        return Trouble(
            code=code,
            text=text,
            os_errno=self._os_errno,
            verify_result=0,
            is_tls=self.is_tls,
            connected=self._is_connected,
            secured=self._is_secured,
            answered=self.answered,
            where=where,
            timeout_s=self.timeout_s,
            received_bytes=self._answer.received_bytes,
            late_s=late_s,
        )
