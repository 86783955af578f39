"""What a body or header must say: tables of expectations and texts."""

import time
from typing import Any

import pytest
from pydantic import ValidationError

from probes.body import BodyExpect, HeaderExpect, charset_of
from probes.pattern import read_pattern

BODY = (
    b'{"status": "ok", "ready": true, "queue": 7, "nodes": [{"up": true, "n": 1}, {"up": false, "n": 2}], "none": null}'
)


def mismatch(expect: Any, body: bytes = BODY) -> str | None:
    return BodyExpect.model_validate(expect).mismatch_of(body)


@pytest.mark.parametrize(
    ("expect", "words"),
    [
        ("status", None),
        ({"contains": "ok"}, None),
        ({"contains": "fine"}, "the body lacks 'fine'"),
        ({"not_contains": "error"}, None),
        ({"not_contains": "ok"}, "the body contains 'ok'"),
        ({"regex": r'"queue": \d+'}, None),
        ({"regex": r'"queue": \d{3}'}, "the body does not match '\"queue\": \\\\d{3}'"),
        ({"json": {"path": "$.status", "equals": "ok"}}, None),
        ({"json": {"path": "$.status", "equals": "up"}}, '$.status is "ok" instead of "up"'),
        ({"json": {"path": "$.ready", "equals": True}}, None),
        ({"json": {"path": "$.ready", "equals": 1}}, "$.ready is true instead of 1"),
        ({"json": {"path": "$.queue", "below": 10, "above": 1}}, None),
        ({"json": {"path": "$.queue", "below": 5}}, "$.queue is 7, not below 5"),
        ({"json": {"path": "$.status", "above": 5}}, '$.status is "ok", not a number'),
        ({"json": {"path": "$.ready", "above": 0}}, "$.ready is true, not a number"),
        ({"json": {"path": "$.missing"}}, "$.missing is missing"),
        ({"json": {"path": "$.missing", "exists": False}}, None),
        ({"json": {"path": "$.status", "exists": False}}, "$.status exists"),
        ({"json": {"path": "$.none", "equals": None}}, None),
        ({"json": {"path": "$.nodes[*].up", "equals": True}}, "$.nodes[*].up is false instead of true"),
        ({"json": {"path": "$.nodes[?@.n == 1].up", "equals": True}}, None),
        ({"json": {"path": "$.status", "contains": "o"}}, None),
        ({"json": [{"path": "$.status"}, {"path": "$.gone"}]}, "$.gone is missing"),
    ],
)
def test_bodies(expect: Any, words: str | None) -> None:
    assert mismatch(expect) == words


@pytest.mark.parametrize("body", [b"<html>", b"", b"[" * 100_000, b"\xff\xfe"], ids=["html", "empty", "deep", "binary"])
def test_body_that_is_not_json_says_so(body: bytes) -> None:
    words = mismatch({"json": {"path": "$.status"}}, body)
    assert words is not None
    assert "not JSON" in words


@pytest.mark.parametrize(
    "expect",
    [
        {"regex": "("},
        {"regex": "(?=x)"},
        {"regex": "x" * 501},
        {"json": {"path": "status["}},
        {"json": {"paths": "$.x"}},
        {"contain": "x"},
    ],
)
def test_expectations_that_are_none_are_refused(expect: Any) -> None:
    with pytest.raises(ValidationError):
        BodyExpect.model_validate(expect)


def test_no_pattern_can_stall_the_loop() -> None:
    started = time.monotonic()
    assert mismatch({"regex": "^(a+)+$"}, b"a" * 250_000 + b"!") is not None
    assert read_pattern("(x+x+)+y").search("x" * 40) is None
    assert time.monotonic() - started < 0.5


@pytest.mark.parametrize(
    ("expect", "values", "words"),
    [
        ("nosniff", ["nosniff"], None),
        ("nosniff", ["other"], "header x-y is 'other' instead of 'nosniff'"),
        ("nosniff", [], "header x-y is missing"),
        ({"exists": False}, [], None),
        ({"exists": False}, ["a"], "header x-y is there"),
        ({"contains": "max-age"}, ["max-age=5"], None),
        ({"regex": "^b"}, ["a", "b"], None),
        ({"regex": "^c"}, ["a", "b"], "header x-y does not match '^c'"),
    ],
)
def test_headers(expect: Any, values: list[str], words: str | None) -> None:
    assert HeaderExpect.model_validate(expect).mismatch_of("x-y", values) == words


@pytest.mark.parametrize(
    ("content_type", "charset"),
    [
        (None, "utf-8"),
        ("text/html", "utf-8"),
        ('text/html; Charset="ISO-8859-1"', "ISO-8859-1"),
        ("a; charset=", "utf-8"),
    ],
)
def test_charset_is_taken_from_the_content_type(content_type: str | None, charset: str) -> None:
    assert charset_of(content_type) == charset


def test_unknown_charset_is_read_as_utf_8() -> None:
    assert BodyExpect(contains="ä").mismatch_of("ä".encode(), "klingon") is None


@pytest.mark.parametrize(("function", "matches"), [("match", False), ("search", True)])
def test_patterns_in_a_json_path_are_those_of_the_rfc(function: str, matches: bool) -> None:
    path = f"$.nodes[?{function}(@.name, 'b[a-z]')]"
    body = b'{"nodes": [{"name": "a"}, {"name": "web1"}, {"name": "abc", "n": 1}]}'
    assert (mismatch({"json": {"path": path}}, body) is None) is matches


def test_no_pattern_in_a_json_path_can_stall_the_loop() -> None:
    started = time.monotonic()
    body = b'{"nodes": [{"name": "' + b"a" * 100_000 + b'!"}]}'
    assert mismatch({"json": {"path": "$.nodes[?match(@.name, '(a+)+')]"}}, body) is not None
    assert mismatch({"json": {"path": "$.nodes[?search(@.name, '^(a|a)+$')]"}}, body) is not None
    assert time.monotonic() - started < 0.5


def test_patterns_outside_the_rfc_are_refused() -> None:
    with pytest.raises(ValidationError, match="JSON path"):
        BodyExpect.model_validate({"json": {"path": "$.nodes[?@.name =~ /(a+)+$/]"}})
