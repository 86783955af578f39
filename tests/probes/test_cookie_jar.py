"""Cookies go where browsers would send them, and nowhere else."""

import pytest

from probes.cookie_jar import CookieExpect, RunCookies
from probes.probe import Response

SITE = "https://shop.example.org/login/form"


def jar(*cookies: str, url: str = SITE) -> RunCookies:
    made = RunCookies()
    made.take(Response(url, 200, tuple(("Set-Cookie", cookie) for cookie in cookies)))
    return made


@pytest.mark.parametrize(
    ("cookie", "url", "goes"),
    [
        ("a=1; Path=/", "https://shop.example.org/account", True),
        ("a=1; Path=/", "https://other.example.org/", False),
        ("a=1; Path=/; Domain=example.org", "https://other.example.org/", True),
        ("a=1; Path=/; Domain=elsewhere.example", "https://elsewhere.example/", False),
        ("a=1; Path=/; Domain=org", "https://shop.example.org/", False),
        ("a=1; Path=/login", "https://shop.example.org/account", False),
        ("a=1", "https://shop.example.org/login/next", True),
        ("a=1", "https://shop.example.org/account", False),
        ("a=1; Path=/; Secure", "http://shop.example.org/", False),
        ("a=1; Path=/; Secure", "https://shop.example.org/", True),
        ("a=1; Path=/; Max-Age=0", "https://shop.example.org/", False),
        ("a=1; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "https://shop.example.org/", False),
    ],
    ids=str,
)
def test_where_a_cookie_goes(cookie: str, url: str, goes: bool) -> None:
    assert jar(cookie).header_for(url) == ("a=1" if goes else None)


def test_a_cookie_on_an_address_comes_back_to_it() -> None:
    assert jar("a=1; Path=/", url="http://127.0.0.1:8080/x").header_for("http://127.0.0.1:8080/y") == "a=1"


def test_a_later_answer_changes_and_takes_away() -> None:
    cookies = jar("a=1; Path=/", "b=2; Path=/")
    cookies.take(Response(SITE, 200, (("Set-Cookie", "a=3; Path=/"), ("Set-Cookie", "b=; Path=/; Max-Age=0"))))
    assert cookies.header_for(SITE) == "a=3"
    assert {"1", "2", "3"} <= cookies.seen


@pytest.mark.parametrize(
    ("cookie", "expect", "words"),
    [
        ("a=1; Secure; HttpOnly; SameSite=Strict", {"secure": True, "http_only": True, "same_site": "strict"}, None),
        ("a=1; httponly; samesite=LAX", {"secure": False, "http_only": True, "same_site": "lax"}, None),
        ("a=1", {"secure": True}, "cookie a is not Secure"),
        ("a=1; Secure", {"secure": False}, "cookie a is Secure"),
        ("a=1", {"same_site": "lax"}, "SameSite of cookie a is missing instead of lax"),
        ("a=1; Path=/x", {"path": "/"}, "cookie a is for path /x instead of /"),
        ("b=1", {}, "cookie a is missing"),
        ("a=1", {"exists": False}, "cookie a is still there"),
        ("b=1", {"exists": False}, None),
    ],
)
def test_what_a_cookie_must_be(cookie: str, expect: dict[str, object], words: str | None) -> None:
    assert CookieExpect.model_validate(expect).mismatch_of("a", jar(cookie).find("a")) == words
