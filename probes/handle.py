"""Easy handles of libcurl and the pool they are kept in: most of a check's set-up is what the last one like it left.

A handle is used again without a reset only for a request of the very same shape (every field of the request but the
URL is equal, see `Request.shape`), with the same kind of connection, and only after a transfer that ended well. Any
other use begins with a reset, after which no option and no state of the one before is left.
"""

from collections.abc import Hashable
from functools import lru_cache, partial

import pycurl

from probes.probe import Request
from probes.url import Url

_MOST_SPARE = 512

Shape = Hashable


class Handle:
    """An easy handle, what its callbacks have collected, and which options stand on it."""

    __slots__ = ("curl", "lines", "most_bytes", "pieces", "received_bytes", "shape", "timeout_ms", "too_big", "url")

    def __init__(self) -> None:
        self.curl = pycurl.Curl()
        self.shape: Shape | None = None
        self.url = ""
        self.timeout_ms = 0
        self.lines: list[bytes] = []
        self.pieces: list[bytes] = []
        self.received_bytes = 0
        self.most_bytes = 0
        self.too_big = False

    def forget(self) -> None:
        """Let go of what the last transfer brought."""
        self.lines.clear()
        self.pieces.clear()
        self.received_bytes = 0
        self.too_big = False

    def reset(self) -> None:
        """No options, no callbacks, no answer."""
        self.curl.reset()
        self.shape = None
        self.url = ""
        self.timeout_ms = 0
        self.forget()

    def collect(self, most_bytes: int) -> None:
        """Have libcurl hand headers and body to this handle, the body up to `most_bytes`."""
        self.most_bytes = most_bytes
        self.curl.setopt(pycurl.HEADERFUNCTION, self.lines.append)  # libcurl itself ends at 300 KB
        self.curl.setopt(pycurl.WRITEFUNCTION, partial(_take_body, self))

    def ready(self, url: str, timeout_s: float, pinned: str | None) -> None:
        """Set what differs between requests of one shape. `pinned` are the addresses of the name, if it is one."""
        if url != self.url:
            self.url = url
            self.curl.setopt(pycurl.URL, url)
        timeout_ms = max(1, round(timeout_s * 1000))
        if timeout_ms != self.timeout_ms:
            self.timeout_ms = timeout_ms
            self.curl.setopt(pycurl.TIMEOUT_MS, timeout_ms)
            self.curl.setopt(pycurl.CONNECTTIMEOUT_MS, timeout_ms)
        if pinned is not None:
            self.curl.setopt(pycurl.RESOLVE, [pinned])

    @property
    def body(self) -> bytes:
        """The decoded body so far."""
        pieces = self.pieces
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class HandlePool:
    """Spare handles by shape. At most as many handles exist as there ever were transfers at a time."""

    def __init__(self) -> None:
        self._spare: dict[Shape | None, list[Handle]] = {}
        self._count = 0

    def take(self, shape: Shape | None) -> Handle:
        """A handle, best one of this shape; the caller looks at `handle.shape`."""
        spare = self._spare.get(shape)
        if not spare:
            if not self._count:
                return Handle()
            spare = next(filter(None, self._spare.values()))
        self._count -= 1
        return spare.pop()

    def give_back(self, handle: Handle, ended_well: bool) -> None:
        """Keep a handle for the next; one whose transfer failed or was ended keeps nothing of it."""
        if self._count >= _MOST_SPARE:
            handle.curl.close()
            return
        shape = handle.shape
        if ended_well and shape is not None:
            handle.lines.clear()
            handle.pieces.clear()
            handle.received_bytes = 0
        else:
            handle.reset()
            shape = None
        spare = self._spare.get(shape)
        if spare is None:
            self._spare = {one: handles for one, handles in self._spare.items() if handles}
            spare = self._spare[shape] = []
        spare.append(handle)
        self._count += 1

    def close(self) -> None:
        """Release all spare handles."""
        for spare in self._spare.values():
            for handle in spare:
                handle.curl.close()
        self._spare.clear()
        self._count = 0


def shape_of(
    request: Request, url: Url, pinned: bool, connect_to: str | None, certificate: bool = True
) -> Shape | None:
    """What must be equal for a handle to be used without a reset; None: it never may."""
    if request.shape is None or url.username is not None:
        return None
    return _one((request.shape, url.scheme, pinned, connect_to, certificate))


@lru_cache(maxsize=1024)
def _one(shape: tuple[object, ...]) -> Shape:
    """One object for all that are equal: thousands of checks keep theirs."""
    return shape


def _take_body(handle: Handle, piece: bytes) -> int | None:
    handle.received_bytes += len(piece)
    if handle.received_bytes > handle.most_bytes:
        handle.too_big = True
        return -1
    handle.pieces.append(piece)
    return None
