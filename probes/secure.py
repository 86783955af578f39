"""With what TLS connections of our own are made: a context for each set of trusted authorities.

Reading the authorities takes a tenth of a second, so it is done in a thread of its own. Until then, and where it fails,
libcurl asks; it says what is wrong with a file.
"""

import logging
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from probes.loop import Loop

if TYPE_CHECKING:  # 13 MiB that a worker without https checks does not need
    from OpenSSL import SSL

    from probes.wire_run import WireRun

log = logging.getLogger(__name__)

_RELEASE_BUFFERS = 0x10  # SSL_MODE_RELEASE_BUFFERS of OpenSSL's ssl.h: 34 KiB less for each connection that waits


class Secure(NamedTuple):
    """What an https run needs beside its wire."""

    context: "SSL.Context"
    kind: "type[WireRun]"
    """Of the run; it imports OpenSSL."""


_State = tuple[int, int]
"""When a file was changed (nanoseconds), and its size."""


class Security:
    """The contexts by CA file, made anew when the file has changed. Belongs to the loop's thread."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._made: dict[str, tuple[_State, Secure | None]] = {}

    def of(self, ca_file: str) -> Secure | None:
        """The context that trusts these authorities; None while there is none."""
        try:
            about = Path(ca_file).stat()
        except OSError:
            return None
        state = (about.st_mtime_ns, about.st_size)
        made = self._made.get(ca_file)
        if made is None or made[0] != state:
            self._made[ca_file] = (state, None)
            threading.Thread(target=self._make, args=(ca_file, state), name="authorities", daemon=True).start()
            return None
        return made[1]

    def _make(self, ca_file: str, state: _State) -> None:
        try:
            secure = _context_of(ca_file)
        except Exception:
            log.exception("the authorities of %s cannot be read; libcurl goes on with them alone", ca_file)
            return
        self._loop.call_soon(partial(self._keep, ca_file, state, secure))

    def _keep(self, ca_file: str, state: _State, secure: Secure) -> None:
        if self._made[ca_file][0] == state:
            self._made[ca_file] = (state, secure)


def _context_of(ca_file: str) -> Secure:
    from cryptography.hazmat.primitives.asymmetric import ec
    from OpenSSL import SSL, crypto

    from probes.secure_run import SecureRun

    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.load_verify_locations(ca_file)
    context.set_verify(SSL.VERIFY_PEER)
    store = context.get_cert_store()
    if store is not None:
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)  # as libcurl does: who trusts an intermediate means it
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_options(SSL.OP_NO_TICKET)
    context.set_mode(_RELEASE_BUFFERS)
    context.set_alpn_protos([b"http/1.1"])
    # One key share instead of two, one of them post-quantum: a tenth of the handshake. A server without the curve
    # refuses it, and is libcurl's from then on.
    context.set_tmp_ecdh(ec.SECP256R1())
    return Secure(context, SecureRun)
