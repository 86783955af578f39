"""Header fields, read late."""

from probes.header import HeaderLines
from probes.probe import Response

LINES = [
    b"HTTP/1.1 103 Early Hints\r\n",
    b"Link: </a>\r\n",
    b"\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"Set-Cookie: a=1\r\n",
    b"Content-Type:  text/plain; charset=latin-1 \r\n",
    b"Set-Cookie: b=2\r\n",
    b"X-Umlaut: \xe4\r\n",
    b"\r\n",
]


def test_fields_are_those_of_the_last_answer_in_order() -> None:
    assert HeaderLines(LINES) == (
        ("Set-Cookie", "a=1"),
        ("Content-Type", "text/plain; charset=latin-1"),
        ("Set-Cookie", "b=2"),
        ("X-Umlaut", "ä"),
    )


def test_one_field_is_the_same_before_and_after_all_are_read() -> None:
    late, early = HeaderLines(LINES), HeaderLines(LINES)
    assert len(early) == 4
    for name in ("set-cookie", "CONTENT-TYPE", "x-umlaut", "link", "http/1.1 200 ok", "absent", "ä"):
        assert late.last(name) == early.last(name), name
    assert late.last("Set-Cookie") == "b=2"
    assert late.last("Link") is None


def test_response_reads_one_header_of_either() -> None:
    assert Response("u", headers=HeaderLines(LINES)).header("content-type") == "text/plain; charset=latin-1"
    assert Response("u", headers=(("A", "1"), ("a", "2"))).header("A") == "2"
