"""Evidence is of the right runs, bounded, readable, and without a secret in it."""

import json
import zlib

import pytest

from probes.evidence import MOST_BODY_CHARS, Budget, Streak, collect, each_text, exchange, hide, pack, unpack
from probes.evidence_text import as_text
from probes.probe import Certificate, Failure, Hop, Reading, Request, Response
from probes.redact import Redactor
from probes.result import NO_PHASES, EvidenceKind, Phases, Reason, Status

UP, DEGRADED, DOWN, UNKNOWN = Status.UP, Status.DEGRADED, Status.DOWN, Status.UNKNOWN
FIRST, CONFIRMED = EvidenceKind.FIRST, EvidenceKind.CONFIRMED


@pytest.mark.parametrize(
    ("fail_after", "statuses", "kinds"),
    [
        (3, [UP, DOWN, DOWN, DOWN, DOWN], [None, FIRST, None, CONFIRMED, None]),
        (1, [UP, DOWN, DOWN], [None, CONFIRMED, None]),
        (2, [DOWN, UNKNOWN, DOWN], [FIRST, None, CONFIRMED]),
        (3, [DEGRADED, DEGRADED, DEGRADED], [FIRST, None, CONFIRMED]),
        (2, [DOWN, UP, DOWN, DOWN], [FIRST, None, None, CONFIRMED]),
    ],
    ids=["of several", "at once", "unknown says nothing", "degraded", "flapping is not evidence each time"],
)
def test_first_and_confirming_failure_are_worth_keeping(fail_after, statuses, kinds) -> None:
    streak = Streak()
    assert [streak.then(one, fail_after, 1_000_000 + 2000 * number) for number, one in enumerate(statuses)] == kinds


def test_after_a_minute_a_new_failure_is_kept_again() -> None:
    streak = Streak()
    assert streak.then(DOWN, 3, 0) is FIRST
    assert streak.then(UP, 3, 30_000) is None
    assert streak.then(DOWN, 3, 59_999) is None
    assert streak.then(UP, 3, 60_000) is None
    assert streak.then(DOWN, 3, 60_001) is FIRST


def test_thousands_that_fail_at_once_leave_a_few_pieces() -> None:
    budget = Budget()
    assert sum(budget.take(5_000_000) for _ in range(10_000)) == 50
    assert sum(budget.take(5_001_000) for _ in range(10_000)) == 10


@pytest.mark.parametrize(
    "text",
    [
        '{"user": "ann", "access_token": "CANARY", "n": 1}',
        '{"apiKey":"CANARY"}',
        '{"password" : "CANARY',
        '{"said": "{\\"password\\": \\"CANARY\\"}"}',
        '{"pin": 771234}'.replace("771234", "CANARY1"[-1] + "771234"),
        "email=a%40b.c&password=CANARY&csrf=CANARY",
        "https://shop.example/cart?session_id=CANARY&page=2",
        "https://ann:CANARY@shop.example/",
        '<input type="hidden" name="state" value="CANARY">',
        "<input name=csrfmiddlewaretoken value=CANARY type=text>",
        '<meta name="csrf-token" content="CANARY">',
        "Authorization: Bearer CANARY-0123456789abcdef",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJDQU5BUlkifQ.CANARY-signature",
    ],
)
def test_what_bears_a_secret_by_its_name_is_hidden(text: str) -> None:
    hidden = hide(text)
    assert "CANARY" not in hidden
    assert "771234" not in hidden
    assert "***" in hidden


@pytest.mark.parametrize(
    "text",
    ['{"token_type": "Bearer", "count": 7}', '<input name="email" value="a@b">', "status=503&page=2", "a basic fact"],
)
def test_the_rest_stays(text: str) -> None:
    assert hide(text) == text


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "text", ["<input " * 20_000, '"a":' * 20_000, "a=" * 40_000, "eyJ" * 30_000, '"' + "\\" * 60_000]
)
def test_hostile_text_is_hidden_in_no_time(text: str) -> None:
    assert hide(text)


def answer(**fields: object) -> Response:
    return Response(**({"url": "http://shop.example/login", "code": 500, "address": "10.0.0.7"} | fields))  # type: ignore[arg-type]


def test_headers_keep_their_names_and_lose_their_secrets() -> None:
    request = Request(
        "http://shop.example/login",
        headers=(("Cookie", "sid=CANARY; theme=CANARY"), ("X-Api-Key", "CANARY"), ("Accept", "text/html")),
    )
    response = answer(headers=(("Set-Cookie", "sid=CANARY; Path=/; HttpOnly"), ("Server", "nginx")))
    shown = exchange(request, response)
    assert "CANARY" not in json.dumps(shown)
    assert shown["request"]["headers"] == [
        ["Cookie", "sid=***; theme=***"],
        ["X-Api-Key", "***"],
        ["Accept", "text/html"],
    ]
    assert shown["response"]["headers"] == [["Set-Cookie", "sid=***; Path=/; HttpOnly"], ["Server", "nginx"]]


def test_a_secret_at_the_edge_of_what_is_kept_is_hidden_too() -> None:
    secret = "s3cret-" * 8
    body = ("x" * (MOST_BODY_CHARS - 20) + secret + "y" * 40_000).encode()
    mask = Redactor([secret]).mask
    kept = unpack(pack(each_text(exchange(Request("http://a.example/"), answer(body=body)), mask)))
    text = kept["response"]["body"]
    assert len(text) == MOST_BODY_CHARS
    assert secret[:8] not in text
    assert kept["response"]["body_bytes"] == len(body)


def test_evidence_is_bounded_whatever_a_server_sends() -> None:
    response = answer(
        body="ä\u202e".encode() * 400_000, headers=tuple((f"X-{number}", "v" * 900) for number in range(90))
    )
    data = pack({"exchanges": [exchange(Request("http://a.example/"), response)] * 500, "nan": float("nan")})
    kept = unpack(data)
    assert len(kept["exchanges"]) == 100
    one = kept["exchanges"][0]["response"]
    assert sum(len(name) + len(value) for name, value in one["headers"]) <= 8192
    assert len(one["body"]) <= MOST_BODY_CHARS
    assert "\u202e" not in one["body"]
    assert kept["nan"] is None


def test_damage_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="damaged"):
        unpack(b"no zlib")


def test_people_read_the_whole_story() -> None:
    certificate = Certificate("CN=shop", "CN=Test CA", 0.0, 86_400.0, "ab" * 32, ("shop.example",))
    request = Request("http://shop.example/login", "POST", (("Accept", "*/*"),), b"email=a&password=CANARY")
    response = answer(
        body=b"Internal Server Error",
        phases=Phases(connect_s=0.001, ttfb_s=0.02),
        duration_s=0.021,
        hops=(
            Hop("http://shop.example/a", 302, "10.0.0.6", 0.0123, Phases(connect_s=0.001)),
            Hop("http://shop.example/login", 500, "10.0.0.7", 0.0087, NO_PHASES),
        ),
        certificate=certificate,
        failure=Failure(Reason.TLS_EXPIRED, "certificate expired"),
    )
    reading = Reading(status=DOWN, reason=Reason.STEP_FAILED, message="step 'login': status 500", metrics={"x": 1.5})
    evidence = collect(FIRST, reading, exchange(request, response), str, (1, 2))
    assert (evidence.created_ms, evidence.expires_ms) == (1, 2)
    assert b"CANARY" not in zlib.decompress(evidence.data)
    text = as_text(unpack(evidence.data))
    for words in (
        "down: step_failed: step 'login': status 500",
        "> POST http://shop.example/login",
        "> email=a&password=***",
        "answered from 10.0.0.7",
        "hop 1: 302 http://shop.example/a from 10.0.0.6, 12.3 ms (connect 1.0)",
        "hop 2: 500 http://shop.example/login from 10.0.0.7, 8.7 ms",
        "< 500 HTTP/?",
        "< Internal Server Error",
        "failed: tls_expired: certificate expired",
        "took 21.0 ms (connect 1.0, ttfb 20.0)",
        "issuer CN=Test CA",
        "measured: x 1.5",
    ):
        assert words in text, words


def test_evidence_kept_before_hops_were_timed_is_still_read() -> None:
    assert "redirected to http://shop.example/a" in as_text({"status": "down", "redirects": ["http://shop.example/a"]})
