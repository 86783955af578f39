"""Answers read by ourselves: h11, an independent reader, says the same of every well-formed one, however it is cut."""

import gzip
import time
import zlib
from itertools import pairwise

import h11
import pycurl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.answer import Answer, Foreign, plain_answer
from probes.header import HeaderLines

MOST = 10_000
TOKEN = st.text("abcdefghijklmnopqrstuvwxyzABC-_0123456789", min_size=1, max_size=12)
VALUE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20)
OWN = {"content-length", "transfer-encoding", "content-encoding", "connection", "upgrade"}
FIELDS = st.lists(st.tuples(TOKEN.filter(lambda name: name.lower() not in OWN), VALUE), max_size=6)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """In pieces, cut at places given in thousandths."""
    at = sorted({0, len(data), *(place * len(data) // 1000 for place in places)})
    return [data[begin:end] for begin, end in pairwise(at)]


def chunked(body: bytes, sizes: list[int], end: bytes = b"\r\n") -> bytes:
    pieces, at = [], 0
    for size in sizes:
        if piece := body[at : at + size]:
            pieces.append(b"%x;of=it%b%b%b" % (len(piece), end, piece, end))
        at += size
    rest = body[at:]
    last = [b"%X%b%b%b" % (len(rest), end, rest, end)] if rest else []
    return b"".join([*pieces, *last, b"0", end])


@st.composite
def answers(draw: st.DrawFn) -> tuple[bytes, bool, bytes]:
    """An answer as sent, whether the request was HEAD, and its decoded body."""
    code = draw(st.sampled_from([200, 201, 204, 206, 301, 304, 404, 500, 503]))
    body = draw(st.binary(max_size=400))
    is_head = draw(st.booleans())
    fields = [f"{name}: {value}\r\n".encode() for name, value in draw(FIELDS)]
    sent = gzip.compress(body) if (packed := draw(st.booleans())) else body
    if packed:
        fields.append(b"Content-Encoding: gzip\r\n")
    framing = draw(st.sampled_from(["length", "chunked", "close"]))
    if framing == "length":
        fields.insert(0, b"content-LENGTH:  %d \r\n" % len(sent))
    elif framing == "chunked":
        fields.append(b"Transfer-Encoding: chunked\r\n")
        trailer = draw(st.sampled_from([b"\r\n", b"X-Sum: 1\r\n\r\n"]))
        sent = chunked(sent, draw(st.lists(st.integers(1, 50), max_size=10))) + trailer
    interim = draw(st.sampled_from([b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"]))
    has_body = not is_head and code not in (204, 304)
    line = b"HTTP/1.1 %d %b\r\n" % (code, draw(st.sampled_from([b"", b"OK", b"Not Here"])))
    return interim + line + b"".join(fields) + b"\r\n" + (sent if has_body else b""), is_head, body if has_body else b""


def read(data: list[bytes], is_head: bool = False, most_bytes: int = MOST) -> Answer:
    answer = Answer(is_head, most_bytes)
    for piece in data:
        if not answer.is_whole and answer.trouble is None:
            answer.feed(piece)
    answer.feed_end()
    return answer


def of_h11(data: bytes, is_head: bool) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status code, fields and body as sent (not decoded)."""
    connection = h11.Connection(our_role=h11.CLIENT)
    connection.send(h11.Request(method="HEAD" if is_head else "GET", target="/", headers=[("Host", "x")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    connection.receive_data(b"")
    code, fields, body = 0, [], b""
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        if isinstance(event, h11.Response):
            code = event.status_code
            fields = [(name.decode(), value.decode()) for name, value in event.headers]
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
    return code, fields, body


@given(answers(), st.lists(st.integers(0, 1000), max_size=8))
def test_every_well_formed_answer_is_read_as_another_reader_does(
    made: tuple[bytes, bool, bytes], places: list[int]
) -> None:
    data, is_head, body = made
    answer = read(cut(data, places), is_head)
    assert (answer.is_whole, answer.trouble) == (True, None)
    code, fields, sent = of_h11(data, is_head)
    assert answer.code == code
    assert [(name.lower(), value) for name, value in HeaderLines(answer.lines)] == fields
    assert answer.body == body
    assert body in (sent, gzip.decompress(sent) if sent[:2] == b"\x1f\x8b" else sent)
    if (plain := plain_answer(data, MOST)) is not None and not is_head:
        assert plain == (answer.code, answer.lines[0], answer.body)


@given(answers(), st.integers(0, 999))
def test_an_answer_cut_short_is_never_taken_for_whole(made: tuple[bytes, bool, bytes], place: int) -> None:
    data, is_head, body = made
    begun = data[: place * len(data) // 1000]
    assert plain_answer(begun, MOST) is None
    answer = read([begun], is_head)
    if answer.is_whole:
        ends_by_close = b"chunked" not in data and b"content-LENGTH" not in data
        assert ends_by_close or (begun.endswith((b"0\r\n\r\n", b"1\r\n\r\n"))) or answer.body == body


def test_most_answers_take_the_short_way() -> None:
    head = b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\n"
    assert plain_answer(head + b"fine", MOST) == (200, head, b"fine")


PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine"


@pytest.mark.parametrize(
    "data",
    [
        PLAIN + b"more",
        PLAIN[:-1],
        PLAIN.replace(b"Content-Length: 4", b"Content-Length: 4\r\nContent-Length: 5"),
        PLAIN.replace(b"Content-Length: 4", b"Content-Length: +4"),
        PLAIN.replace(b"Content-Length: 4", b"Content-Length: 4\r\nTransfer-Encoding: chunked"),
        PLAIN.replace(b"Content-Length: 4", b"Content-Length: 4\r\nContent-Encoding: gzip"),
        PLAIN.replace(b"Content-Length: 4", b"Content-Length : 4"),
        PLAIN.replace(b"Content-Length: 4", b"Content-Length: 4\r\n folded: 5"),
        PLAIN.replace(b"Content-Length: 4", b"Content-Length: 4\r\nno colon"),
        PLAIN.replace(b"Content-Length: 4", b"Content-Length: 4\r\nX: \0"),
        PLAIN.replace(b"Content-Length: 4", b"X-Content-Length: 4"),
        PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0"),
        PLAIN.replace(b"HTTP/1.1 200", b"HTTP/1.1 2000"),
        PLAIN.replace(b"200 OK", b"103 Early"),
        PLAIN.replace(b"200 OK", b"204 None"),
        PLAIN.replace(b"\r\n\r\n", b"\r\n" + b"X: y\r\n" * 100 + b"\r\n"),
    ],
)
def test_anything_unusual_takes_the_long_way(data: bytes) -> None:
    assert plain_answer(data, MOST) is None
    assert plain_answer(PLAIN, 3) is None  # a body that is too big


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", pycurl.E_GOT_NOTHING),
        (b"SSH-2.0-OpenSSH\r\n", pycurl.E_UNSUPPORTED_PROTOCOL),
        (b"HTTP/1.1 2x0 OK\r\n\r\n", pycurl.E_FTP_WEIRD_SERVER_REPLY),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", pycurl.E_FTP_WEIRD_SERVER_REPLY),
        (b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n", pycurl.E_FTP_WEIRD_SERVER_REPLY),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", pycurl.E_FTP_WEIRD_SERVER_REPLY),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", pycurl.E_FTP_WEIRD_SERVER_REPLY),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", pycurl.E_PARTIAL_FILE),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", pycurl.E_RECV_ERROR),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n", pycurl.E_RECV_ERROR),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", pycurl.E_PARTIAL_FILE),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd", pycurl.E_BAD_CONTENT_ENCODING),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000, 100),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000, 100),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 20_000, 100),
        (b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n" * 10_000, 100),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_what_is_malformed_is_told_with_libcurls_number(data: bytes, code: int, size: int) -> None:
    answer = read([data[at : at + size] for at in range(0, len(data), size)])
    assert answer.trouble is not None
    assert answer.trouble[0] == code


def test_what_nobody_asked_for_is_left_to_libcurl() -> None:
    with pytest.raises(Foreign):
        Answer(False, MOST).feed(b"HTTP/2.0 200 OK\r\n\r\n")
    for field in (b"Content-Encoding: br", b"Content-Encoding: gzip, gzip", b"Transfer-Encoding: gzip, chunked"):
        with pytest.raises(Foreign):
            Answer(False, MOST).feed(b"HTTP/1.1 200 OK\r\n" + field + b"\r\n\r\n")


def test_bare_line_feeds_and_folded_lines_are_read() -> None:
    answer = read([b"HTTP/1.0 200\nX-One: a\n  b\nContent-Length: 4\n\nfine"])
    assert (answer.code, answer.version, answer.body) == (200, "1.0", b"fine")
    assert tuple(HeaderLines(answer.lines)) == (("X-One", "a b"), ("Content-Length", "4"))
    chunks = b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n" + chunked(b"fine", [1, 2], b"\n") + b"\n"
    assert read([chunks]).body == b"fine"


def test_body_that_decodes_to_more_than_is_allowed_stops_there() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    answer = read([b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb])
    assert answer.too_big
    assert answer.received_bytes == MOST


def test_deflated_to_the_last_byte_allowed_is_whole() -> None:
    body = zlib.compress(bytes(MOST), wbits=16 + zlib.MAX_WBITS)
    answer = read([b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body])
    assert (answer.is_whole, answer.trouble, len(answer.body)) == (True, None, MOST)


def test_chunks_of_a_byte_cost_no_more_than_twice_as_much_each_when_they_are_many() -> None:
    def cpu_s(count: int) -> float:
        data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * count
        best = 9.0
        for _ in range(3):
            began = time.process_time()
            answer = Answer(False, 1 << 20)
            for at in range(0, len(data), 65536):
                answer.feed(data[at : at + 65536])
            best = min(best, time.process_time() - began)
        return best / count

    assert cpu_s(100_000) < 2 * cpu_s(10_000)
