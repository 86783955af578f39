"""A plain run over a TLS connection of our own, to a server whose certificate libcurl has looked at in full lately.

OpenSSL checks the chain in every handshake. Whether the certificate is for this host was checked when libcurl saw it;
a server that shows another one, and a handshake that fails, are libcurl's to look at again, in the same run.
"""

import socket
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING

import pycurl
from OpenSSL import SSL, crypto

from probes.guard import literal_address
from probes.plain_run import OnReading
from probes.probe import Ask, Certificate, ConversationProbe
from probes.result import Phases
from probes.route import Route
from probes.target import Check
from probes.wire_run import BrokenExchange, NotOurs, WireRun

if TYPE_CHECKING:
    from probes.engine import Engine


_RECORD_BYTES = 16 * 1024  # a TLS record; pyOpenSSL clears so many bytes for each try


class SecureRun(WireRun):
    """One TLS connection, one request, one answer."""

    __slots__ = ("_secure", "_secured_s")

    def __init__(  # noqa: PLR0917
        self, engine: "Engine", check: Check, probe: ConversationProbe, route: Route, ask: Ask, on_done: OnReading
    ) -> None:
        super().__init__(engine, check, probe, route, ask, on_done)
        self._secure: SSL.Connection | None = None
        self._secured_s = 0.0

    @property
    def is_secured(self) -> bool:
        """Whether the handshake was done."""
        return self._secured_s > 0

    def phases(self, now_s: float) -> tuple[Phases, float]:
        """See there; the answer is waited for once the connection is secured."""
        plain, total_s = super().phases(now_s)
        if not self._secured_s:
            return plain, total_s
        ttfb_s = self._first_s - self._secured_s if self._first_s else None
        return Phases(None, plain.connect_s, self._secured_s - self._connected_s, ttfb_s, plain.transfer_s), total_s

    def _talk(self, connection: socket.socket, events: int) -> bytes | None:  # noqa: ARG002
        secure = self._secure or self._connect(connection)
        try:
            if not self._secured_s:
                secure.do_handshake()
                self._recognize(secure)
                self._secured_s = self._engine.loop.time()
            if self._unsent:
                self._unsent = self._unsent[secure.send(self._unsent) :]
            data = secure.recv(_RECORD_BYTES)
            self._read_s = self._engine.loop.time()
            return data
        except (SSL.WantReadError, SSL.WantWriteError):
            return None
        except SSL.ZeroReturnError:
            self._read_s = self._engine.loop.time()
            return b""
        except SSL.SysCallError as error:
            code, text = error.args
            if code > 0:
                raise OSError(code, text) from None
            number = pycurl.E_RECV_ERROR if self._secured_s else pycurl.E_SSL_CONNECT_ERROR
            raise BrokenExchange(number, "unexpected eof while reading") from None
        except SSL.Error as error:
            if not self._secured_s:
                raise NotOurs from None
            raise BrokenExchange(pycurl.E_RECV_ERROR, "; ".join(str(one[-1]) for one in error.args[0])) from None

    def _connect(self, connection: socket.socket) -> SSL.Connection:
        """Begin the handshake on a socket that is connected. Raises OSError where it is not."""
        if (code := connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)) != 0:
            raise OSError(code, "no connection")
        route = self.route
        if route.secure is None:
            raise NotOurs
        self._connected_s = self._engine.loop.time()
        secure = self._secure = SSL.Connection(route.secure.context, connection)
        secure.set_connect_state()
        if literal_address(route.url.host) is None:
            secure.set_tlsext_host_name(route.url.host.encode())
        return secure

    def _recognize(self, secure: SSL.Connection) -> None:
        """Raises NotOurs where the server shows another certificate than the one that was looked at."""
        leaf, known = secure.get_peer_certificate(), self.route.certificate
        shown = "" if leaf is None else sha256(crypto.dump_certificate(crypto.FILETYPE_ASN1, leaf)).hexdigest()
        if known is None or shown != known.fingerprint_sha256:
            raise NotOurs(for_good=False)

    def _certificate(self) -> Certificate | None:
        return self.route.certificate

    def _hand_over(self, code: int, text: str, os_errno: int = 0) -> None:
        if code:
            self.route.certificate_until_s = 0.0  # the next run looks again
        super()._hand_over(code, text, os_errno)

    def _ask_through_libcurl(self, for_good: bool) -> None:
        self.route.certificate_until_s = 0.0
        super()._ask_through_libcurl(for_good)

    def _let_go(self) -> None:
        secure, self._secure = self._secure, None
        if secure is not None and self._secured_s:
            with suppress(SSL.Error):
                secure.shutdown()  # say goodbye, as is proper; nobody waits for theirs
        super()._let_go()
