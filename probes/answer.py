"""An HTTP/1.x answer, read piece by piece as it comes off the wire. Pure: no socket, no clock.

What is well-formed is read as RFC 9112 says, with libcurl's leniency (line ends of a bare line feed, an empty reason
phrase); what is not ends with libcurl's number for the trouble, so that it is explained where all of them are
(`probes.curl_fault`). Nothing grows beyond its limit: head, chunk lines, trailers, and the body, also a compressed one.
"""

import re
import zlib
from collections.abc import Callable
from typing import NamedTuple

import pycurl

MOST_HEADER_BYTES = 64 * 1024
MOST_HEADERS = 100

_PLAIN = re.compile(rb"HTTP/1\.1 ([2-9]\d\d)(?: [^\r\n\0]*+)?\r\n(?:[^\r\n\0: \t][^\r\n\0:]*+:[^\r\n\0]*+\r\n)*+\r\n")
"""The head of an answer as nearly all servers write it, no interim answer."""
_FRAMED = re.compile(rb"\n(?:transfer-encoding|content-encoding|content-length)[ \t]*:[^\n]*", re.IGNORECASE)
_LENGTH = re.compile(rb"\ncontent-length:[ \t]*+(\d{1,15})[ \t]*\r", re.IGNORECASE)
_END = re.compile(rb"\r?\n\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9]\d\d)(?:[ \t][^\r\n\0]*+)?\r?\n")
_FIELDS = re.compile(rb"(?:[^\r\n\0:]++:[^\r\n\0]*+\r?\n(?:[ \t][^\r\n\0]*+\r?\n)*+)*+")
_FOLD = re.compile(rb"\r?\n[ \t]++")
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*+(?:;[^\r\n]*+)?\r?\n")
_LINE_END = re.compile(rb"\r?\n")
_MOST_CHUNK_LINE = 4096
_BODILESS = frozenset({204, 304})
_TOO_LARGE = 100  # not in pycurl
_GZIP_WBITS = 16 + zlib.MAX_WBITS


class Foreign(Exception):
    """Not the HTTP/1 that was asked for: another version, or an encoding; libcurl knows more of them."""


class Answer:
    """The answer to one request. Feed it until `is_whole` or `trouble`; then nothing more."""

    __slots__ = (
        "_at",
        "_body",
        "_buffer",
        "_chunk_ends",
        "_head_bytes",
        "_inflate",
        "_is_head",
        "_left",
        "_read",
        "code",
        "is_whole",
        "lines",
        "most_bytes",
        "too_big",
        "trouble",
        "version",
    )

    def __init__(self, is_head: bool, most_bytes: int) -> None:
        """`is_head`: the answer to HEAD, which has no body; the decoded body may be `most_bytes` long."""
        self._is_head, self.most_bytes = is_head, most_bytes
        self.lines: list[bytes] = []
        """The head, in one piece; one without the empty line at its end is not whole."""
        self.code, self.version = 0, ""
        self.is_whole = self.too_big = False
        self.trouble: tuple[int, str] | None = None
        """libcurl's number and words for what is wrong with the answer."""
        self._body = bytearray()
        self._buffer, self._at = b"", 0
        self._read: Callable[[Answer], bool] = Answer._read_head
        self._left = self._head_bytes = 0
        self._chunk_ends = False
        self._inflate: zlib._Decompress | None = None

    @property
    def body(self) -> bytes:
        """The decoded body so far."""
        return bytes(self._body)

    @property
    def received_bytes(self) -> int:
        """Length of the decoded body so far."""
        return len(self._body)

    def feed(self, data: bytes) -> None:
        """Read on. Raises Foreign."""
        self._buffer = self._buffer + data if self._buffer else data
        while self._at < len(self._buffer) and not self.is_whole and self.trouble is None and self._read(self):
            pass
        self._buffer, self._at = self._buffer[self._at :], 0

    def feed_end(self) -> None:
        """The peer will send nothing more. A head that broke off leaves neither `is_whole` nor `trouble`."""
        if self.is_whole or self.trouble is not None:
            return
        if self._read is Answer._read_until_close:
            self.is_whole = True
        elif self._read is Answer._read_head:
            self.lines = [self._buffer] if self._buffer else []
            self.trouble = None if self._buffer else (pycurl.E_GOT_NOTHING, "Empty reply from server")
        elif self._read is Answer._read_counted:
            self._fail(pycurl.E_PARTIAL_FILE, f"end of response with {self._left} bytes missing")
        else:
            self._fail(pycurl.E_PARTIAL_FILE, "transfer closed with outstanding read data remaining")

    def _fail(self, code: int, text: str) -> bool:
        self.trouble = (code, text)
        return False

    def _read_head(self) -> bool:
        buffer, at = self._buffer, self._at
        if not buffer.startswith(b"HTTP/"[: len(buffer) - at], at):
            return self._fail(pycurl.E_UNSUPPORTED_PROTOCOL, "Received HTTP/0.9 when not allowed")
        end = _END.search(buffer, at)
        head = buffer[at : len(buffer) if end is None else end.end()]
        status = _STATUS_LINE.match(head)
        if status is not None:
            self.code, self.version = int(status[2]), f"1.{status[1].decode()}"
        if self._head_bytes + len(head) > MOST_HEADER_BYTES or head.count(b"\n") > MOST_HEADERS + 2:
            self.lines = [head]
            return self._fail(_TOO_LARGE, "Too large response headers")
        if end is None:
            return False
        self._at = end.end()
        self._head_bytes += len(head)
        self.lines = [_FOLD.sub(b" ", head)]
        if status is None:
            if not head.startswith(b"HTTP/1."):
                raise Foreign
            line = head.partition(b"\n")[0][:80].decode("latin-1").strip()
            return self._fail(pycurl.E_FTP_WEIRD_SERVER_REPLY, f"not the status line of an HTTP/1 answer: {line}")
        fields = head[status.end() : len(head) - (2 if head.endswith(b"\r\n") else 1)]
        if not _FIELDS.fullmatch(fields):
            return self._fail(
                pycurl.E_FTP_WEIRD_SERVER_REPLY, "a header line without a name, or with a zero byte in it"
            )
        return True if 100 <= self.code < 200 and self.code != 101 else self._choose_body(fields)

    def _choose_body(self, fields: bytes) -> bool:
        """How the body ends, and how it is encoded. Raises Foreign."""
        framing = _framing_of(fields)
        if len(framing.lengths) > 1 or not all(length.isdigit() and len(length) < 19 for length in framing.lengths):
            return self._fail(pycurl.E_FTP_WEIRD_SERVER_REPLY, "Invalid Content-Length: value")
        if self._is_head or self.code in _BODILESS:
            self.is_whole = True
            return False
        if framing.codings:
            if framing.codings not in ([b"gzip"], [b"x-gzip"]):
                raise Foreign
            self._inflate = zlib.decompressobj(_GZIP_WBITS)
        if framing.is_chunked:
            self._read = Answer._read_chunk
        elif framing.lengths:
            self._left = int(framing.lengths.pop())
            self._read = Answer._read_counted
            self.is_whole = not self._left
        else:
            self._read = Answer._read_until_close
        return True

    def _read_counted(self) -> bool:
        self._take_left()
        self.is_whole = self.trouble is None and not self._left
        return False

    def _read_until_close(self) -> bool:
        self._left = len(self._buffer)
        return self._take_left()

    def _read_chunk(self) -> bool:
        """The line before a chunk, and after one the line end that closes it."""
        if self._chunk_ends:
            end = _LINE_END.match(self._buffer, self._at)
            if end is None:
                if self._buffer[self._at :] == b"\r":
                    return False
                return self._fail(pycurl.E_RECV_ERROR, "Malformed encoding found in chunked-encoding")
            self._at, self._chunk_ends = end.end(), False
        line = _CHUNK.match(self._buffer, self._at)
        if line is None:
            if self._buffer.find(b"\n", self._at) >= 0 or len(self._buffer) - self._at > _MOST_CHUNK_LINE:
                return self._fail(pycurl.E_RECV_ERROR, "Illegal or missing hexadecimal sequence in chunked-encoding")
            return False
        self._at, self._left = line.end(), int(line[1], 16)
        self._read = Answer._read_chunk_data if self._left else Answer._read_trailers
        return True

    def _read_chunk_data(self) -> bool:
        goes_on = self._take_left()
        if not self._left:
            self._chunk_ends, self._read = True, Answer._read_chunk
        return goes_on

    def _read_trailers(self) -> bool:
        end = self._buffer.find(b"\n", self._at)
        if self._head_bytes + (end if end >= 0 else len(self._buffer)) - self._at > MOST_HEADER_BYTES:
            return self._fail(_TOO_LARGE, "Too large response trailers")
        if end < 0:
            return False
        self.is_whole = self._buffer[self._at : end] in (b"", b"\r")
        self._head_bytes += end + 1 - self._at
        self._at = end + 1
        return True

    def _take_left(self) -> bool:
        """Keep what has come of the bytes that are left, decoded; False where that is the end of reading."""
        data = self._buffer[self._at : self._at + self._left]
        self._at += len(data)
        self._left -= len(data)
        room = self.most_bytes - len(self._body)
        if self._inflate is not None:
            try:
                data = self._inflate.decompress(data, room + 1)
            except zlib.error as error:
                return self._fail(pycurl.E_BAD_CONTENT_ENCODING, f"Error while processing content unencoding: {error}")
        self._body += data[:room]
        if len(data) > room:
            self.too_big = True
            return self._fail(pycurl.E_WRITE_ERROR, "too large a body")
        if self._inflate is not None and self._inflate.unused_data:
            return self._fail(pycurl.E_WRITE_ERROR, "more bytes behind the end of the gzip stream")
        return True


class _Framing(NamedTuple):
    """What the header fields say about the body."""

    is_chunked: bool
    lengths: set[bytes]
    codings: list[bytes]


def _framing_of(fields: bytes) -> _Framing:
    """Raises Foreign for a transfer coding that nobody asked for."""
    lengths: set[bytes] = set()
    codings: list[bytes] = []
    is_chunked = False
    for field in _FRAMED.findall(b"\n" + fields):
        name, _, value = field[1:].partition(b":")
        name, value = name.strip().lower(), value.strip().lower()
        if name == b"content-length":
            lengths.add(value)
        elif name == b"content-encoding":
            codings += [coding for coding in map(bytes.strip, value.split(b",")) if coding not in (b"", b"identity")]
        elif value == b"chunked":
            is_chunked = True
        elif value != b"identity":
            raise Foreign
    return _Framing(is_chunked, lengths, codings)


def plain_answer(data: bytes, most_bytes: int) -> tuple[int, bytes, bytes] | None:
    """Status code, head and body of an answer that is all there and framed by its length alone; None for all others.

    Most answers are; read so, one costs a tenth of what its pieces would.
    """
    head = _PLAIN.match(data)
    if head is None:
        return None
    end = head.end()
    framing = _FRAMED.findall(data, 0, end)
    if len(framing) != 1 or end > MOST_HEADER_BYTES:
        return None
    length = _LENGTH.fullmatch(framing[0])
    code = int(head[1])
    if length is None or len(data) - end != int(length[1]) or len(data) - end > most_bytes or code in _BODILESS:
        return None
    lines = head[0]
    return None if lines.count(b"\n") > MOST_HEADERS else (code, lines, data[end:])
