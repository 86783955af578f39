"""Kind `journey` against a small site that keeps sessions, over the real engine."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import ValidationError

from probes.evidence import collect, unpack
from probes.kinds.journey import JourneyProbe, Options
from probes.probe import Ask, Deadline, Expect, Reading, Response
from probes.result import EvidenceKind, Reason, Status

CSRF = 'c&s"r<f>-0123456789'
SESSION = "session-0123456789abcdef"
TOKEN = "bearer-0123456789abcdef"
PASSWORD = "correct horse"
PAGES = {
    "/login": b'<form><input type="hidden" name="csrf" value="c&amp;s&quot;r&lt;f&gt;-0123456789"></form>',
    "/static": b"nothing",
}


class Site(BaseHTTPRequestHandler):
    """Form login with a CSRF field, a cookie, a token, a logout; `asked` is what came in."""

    asked: list[tuple[str, str, str, str]] = []  # noqa: RUF012
    credentials: list[str | None] = []  # noqa: RUF012
    hang = ""

    def do_GET(self) -> None:
        self._answer("")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])).decode())

    def _answer(self, body: str) -> None:
        path = urlsplit(self.path).path
        cookie = self.headers["Cookie"] or ""
        type(self).asked.append((self.command, self.path, cookie, body))
        type(self).credentials.append(self.headers["Authorization"])
        if path == type(self).hang:
            time.sleep(1.5)
        if path in PAGES and self.command == "GET":
            self._send(200, PAGES[path], [("Set-Cookie", "first=1-first-visit; Path=/; SameSite=Lax")])
        elif path == "/login":
            self._log_in(cookie, {name: values[0] for name, values in parse_qs(body).items()})
        elif path == "/account":
            known = f"sid={SESSION}" in cookie
            self._send(200 if known else 401, json.dumps({"token": TOKEN, "known": known}).encode())
        elif path == "/api":
            self._send(200 if self.headers["Authorization"] == f"Bearer {TOKEN}" else 401, b"account")
        elif path == "/logout":
            self._send(200, b"bye", [("Set-Cookie", "sid=; Path=/; Max-Age=0")])
        else:
            self._send(404, f"no such page; your token is {TOKEN}".encode())

    def _log_in(self, cookie: str, form: dict[str, str]) -> None:
        if form.get("csrf") != CSRF or form.get("password") != PASSWORD or "first=" not in cookie:
            self._send(403, b"refused")
            return
        session = ("Set-Cookie", f"sid={SESSION}; Path=/; HttpOnly; SameSite=Strict")
        self._send(303, b"", [("Location", "/account"), session])

    def _send(self, status: int, body: bytes, headers: list[tuple[str, str]] | None = None) -> None:
        self.send_response(status)
        for name, value in headers or []:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError):  # who asked a page that hangs has left
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def site() -> Iterator[str]:
    Site.asked, Site.credentials, Site.hang = [], [], ""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def login_steps() -> list[dict[str, Any]]:
    return [
        {
            "name": "form",
            "request": {"url": "/login"},
            "expect": {"cookies": {"first": {"same_site": "lax", "secure": False, "http_only": False}}},
            "extract": {"csrf": {"field": "csrf"}},
        },
        {
            "name": "login",
            "request": {"url": "/login", "form": {"password": PASSWORD, "csrf": "{{csrf}}"}},
            "expect": {"status": 200, "cookies": {"sid": {"http_only": True, "same_site": "strict", "path": "/"}}},
            "extract": {"token": {"json": "$.token"}},
        },
        {"name": "api", "request": {"url": "/api", "headers": {"Authorization": "Bearer {{token}}"}}},
        {
            "name": "logout",
            "always": True,
            "request": {"url": "/logout"},
            "expect": {"cookies": {"sid": {"exists": False}}},
        },
    ]


def journey(url: str, steps: list[dict[str, Any]], **options: Any) -> JourneyProbe:
    return JourneyProbe(Options.model_validate({"url": url, "steps": steps, **options}), Expect())


AskProbe = Callable[..., Reading]


def test_a_visitor_logs_in_and_out_with_form_cookie_and_token(site: str, ask_probe: AskProbe) -> None:
    reading = ask_probe(journey(site, login_steps()))
    assert (reading.status, reading.message) == (Status.UP, "")
    assert [(verb, path) for verb, path, _, _ in Site.asked] == [
        ("GET", "/login"),
        ("POST", "/login"),
        ("GET", "/account"),  # the redirect behind the login, already with the cookie that came with it
        ("GET", "/api"),
        ("GET", "/logout"),
    ]
    assert set(reading.metrics) == {"steps_done", "step_form_s", "step_login_s", "step_api_s", "step_logout_s"}
    assert reading.metrics["steps_done"] == 4
    steps_s = sum(value for name, value in reading.metrics.items() if name.startswith("step_"))
    assert reading.duration_s == pytest.approx(steps_s)
    assert reading.phases.ttfb_s is not None
    assert 0 < reading.phases.ttfb_s <= steps_s


def test_runs_share_no_cookies(site: str, ask_probe: AskProbe) -> None:
    probe = journey(site, login_steps())
    ask_probe(probe)
    ask_probe(probe)
    assert [cookie for verb, path, cookie, _ in Site.asked if (verb, path) == ("GET", "/login")] == ["", ""]


def test_the_failing_step_is_named_and_logout_happens_all_the_same(site: str, ask_probe: AskProbe) -> None:
    steps = login_steps()
    steps[1]["request"]["form"]["password"] = "battery staple"
    reading = ask_probe(journey(site, steps))
    assert (reading.status, reading.reason, reading.code) == (Status.DOWN, Reason.STEP_FAILED, 403)
    assert reading.message == "step 'login': status 403 Forbidden instead of 200"
    assert [path for _, path, _, _ in Site.asked] == ["/login", "/login", "/logout"]
    assert reading.metrics["steps_done"] == 2  # form and logout


def test_a_wrong_password_that_must_be_refused_is_a_step_that_goes_well(site: str, ask_probe: AskProbe) -> None:
    steps = login_steps()[:2]
    steps[1]["request"]["form"]["password"] = "battery staple"
    steps[1] |= {"expect": {"status": 403, "cookies": {"sid": {"exists": False}}}, "extract": {}}
    assert ask_probe(journey(site, steps)).status is Status.UP


@pytest.mark.parametrize(
    ("extract", "words"),
    [
        ({"field": "crsf"}, "no csrf: the page has no field 'crsf'"),
        ({"json": "$.csrf"}, "no csrf: the body is not JSON"),
        ({"header": "X-Token"}, "no csrf: header X-Token is missing"),
        ({"cookie": "sid"}, "no csrf: cookie sid is missing"),
        ({"regex": "token=([0-9]+)"}, "no csrf: 'token=([0-9]+)' matches nothing"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_value_that_is_not_there_fails_its_step(
    site: str, ask_probe: AskProbe, extract: dict[str, str], words: str
) -> None:
    steps = login_steps()
    steps[0]["extract"] = {"csrf": extract}
    reading = ask_probe(journey(site, steps))
    assert reading.reason is Reason.STEP_FAILED
    assert f"step 'form': {words}" in reading.message


@pytest.mark.parametrize(
    ("expect", "words"),
    [
        ({"cookies": {"sid": {"secure": True}}}, "cookie sid is not Secure"),
        ({"cookies": {"first": {"http_only": True}}}, "cookie first is not HttpOnly"),
        ({"cookies": {"sid": {"same_site": "lax"}}}, "SameSite of cookie sid is strict instead of lax"),
        ({"body": {"json": {"path": "$.token", "equals": "x"}}}, '$.token is *** instead of "x"'),
        ({"headers": {"X-Build": "7"}}, "header X-Build is missing"),
        ({"status": [302, 303]}, None),
    ],
    ids=["secure", "http only", "same site", "json", "header", "the redirect itself"],
)
def test_what_a_step_expects(site: str, ask_probe: AskProbe, expect: dict[str, Any], words: str | None) -> None:
    steps = login_steps()[:2]
    steps[1] |= {"expect": expect, "extract": {}}
    reading = ask_probe(journey(site, steps))
    assert reading.message == (f"step 'login': {words}" if words else "")


def test_a_step_that_hangs_leaves_time_for_the_logout(site: str, ask_probe: AskProbe) -> None:
    Site.hang = "/api"
    started = time.monotonic()
    reading = ask_probe(journey(site, login_steps()), 1.0)
    assert time.monotonic() - started < 1.2
    assert (reading.status, reading.reason) == (Status.DOWN, Reason.DEADLINE)
    assert reading.message.startswith("step 'api': ")
    assert "no answer within 0." in reading.message
    assert Site.asked[-1][1] == "/logout"
    assert reading.metrics["steps_done"] == 3


def test_a_step_has_a_timeout_of_its_own(site: str, ask_probe: AskProbe) -> None:
    Site.hang = "/api"
    steps = login_steps()
    steps[2]["timeout"] = "100ms"
    reading = ask_probe(journey(site, steps))
    assert reading.reason is Reason.DEADLINE
    assert reading.metrics["steps_done"] == 3


def test_a_refused_connection_keeps_its_reason(ask_probe: AskProbe) -> None:
    reading = ask_probe(journey("http://127.0.0.1:9", login_steps()))
    assert (reading.status, reading.reason) == (Status.DOWN, Reason.TCP_REFUSED)
    assert reading.message.startswith("step 'form': ")


def test_secrets_of_a_run_are_in_no_message_and_no_evidence(site: str, ask_probe: AskProbe) -> None:
    steps = login_steps()
    steps[2] |= {
        "request": {"url": "/nowhere?ticket={{token}}", "headers": {"X-Ticket": "{{token}}"}, "body": "say {{token}}"},
        "expect": {"body": {"contains": "x"}, "status": [200, 404], "headers": {"Server": "me"}},
    }
    reading = ask_probe(journey(site, steps))
    assert reading.reason is Reason.STEP_FAILED
    assert reading.evidence is not None
    evidence = collect(EvidenceKind.FIRST, reading, reading.evidence(), str, (0, 1))
    kept = json.dumps(unpack(evidence.data), ensure_ascii=False) + repr(reading)
    for secret in (TOKEN, SESSION, CSRF, PASSWORD, "correct+horse", "1-first-visit", TOKEN[:14]):
        assert secret not in kept, secret
    assert "your token is ***" in kept
    assert '"failed_step": "api"' in kept


def test_cookies_and_credentials_stay_with_their_host(site: str, ask_probe: AskProbe) -> None:
    """The second host is the same server under another name: it is another origin all the same."""
    steps = login_steps()[:2]
    other = site.replace("127.0.0.1", "localhost")
    steps.append({"name": "other", "request": {"url": f"{other}/api?x=1"}, "expect": {"status": 401}})
    steps.append({"name": "own", "request": {"url": "/api"}})
    auth = {"scheme": "bearer", "token": TOKEN}
    reading = ask_probe(journey(site, steps, auth=auth, family="ipv4"))
    assert (reading.status, reading.message) == (Status.UP, "")
    assert [cookie for _, path, cookie, _ in Site.asked if path == "/api?x=1"] == [""]
    assert Site.credentials == [f"Bearer {TOKEN}"] * 3 + [None, f"Bearer {TOKEN}"]


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"url": "{{away}}", "form": {"password": PASSWORD}}, Reason.SSRF_BLOCKED),
        ({"url": "{{away}}", "headers": {"X-Key": "k"}}, Reason.SSRF_BLOCKED),
        ({"url": "{{home}}", "form": {"password": PASSWORD}}, Reason.STEP_FAILED),
    ],
    ids=["with a body", "with a header", "the own host is fine"],
)
def test_an_answer_cannot_send_a_password_to_another_host(
    site: str, ask_probe: AskProbe, request_: dict[str, Any], reason: Reason
) -> None:
    variables = {"away": site.replace("127.0.0.1", "localhost") + "/login", "home": f"{site}/login"}
    reading = ask_probe(journey(site, [{"name": "go", "request": request_}], variables=variables))
    assert reading.reason is reason
    assert (PASSWORD.replace(" ", "+") in str(Site.asked)) is (reason is Reason.STEP_FAILED)


def test_a_value_cannot_break_a_header(site: str, ask_probe: AskProbe) -> None:
    steps = login_steps()[:1]
    steps.append({"name": "bad", "request": {"url": "/static", "headers": {"X-A": "{{line}}"}}})
    reading = ask_probe(journey(site, steps, variables={"line": "a\r\nX-B: b"}))
    assert reading.message == "step 'bad': a variable puts control characters into header X-A"


@pytest.mark.parametrize(
    ("change", "at", "words"),
    [
        (lambda steps: steps[1]["request"]["form"].update(csrf="{{crsf}}"), (1, "request"), "did you mean 'csrf'?"),
        (lambda steps: steps[0]["request"].update(url="/{{token}}"), (0, "request"), "'token' is not known before"),
        (lambda steps: steps[2].update(name="form"), (2, "name"), "two steps are called 'form'"),
        (lambda steps: steps[0]["expect"].update(body="{{csrf}}"), (0, "expect"), "variables stand in requests"),
        (lambda steps: steps[0].update(extract={"a": {"json": "$.a", "cookie": "b"}}), (0,), "say one of json"),
        (lambda steps: steps[1]["request"].update(json={}), (1, "request"), "one of form, json and body"),
    ],
    ids=["misspelt", "too early", "same name", "in expect", "two sources", "two bodies"],
)
def test_mistakes_are_told_where_they_stand(
    change: Callable[[list[dict[str, Any]]], object], at: tuple[Any, ...], words: str
) -> None:
    steps = login_steps()
    change(steps)
    with pytest.raises(ValidationError) as refused:
        Options.model_validate({"url": "http://127.0.0.1/", "steps": steps})
    (error,) = refused.value.errors()
    assert error["loc"][: 1 + len(at)] == ("steps", *at)
    assert words in error["msg"]


def test_a_conversation_can_be_held_with_plain_values() -> None:
    steps = [{"name": "one", "request": {"url": "/a"}}, {"name": "two", "request": {"url": "b", "json": {"n": 1}}}]
    talk = journey("http://shop.example/base/", steps).converse(Ask(Deadline(5), 0, 10.0))
    first = next(talk)
    assert first.url == "http://shop.example/a"  # type: ignore[union-attr]
    second = talk.send(Response("http://shop.example/a", code=204, duration_s=0.1))
    assert (second.url, second.method, second.body) == ("http://shop.example/base/b", "POST", b'{"n": 1}')  # type: ignore[union-attr]
    with pytest.raises(StopIteration) as end:
        talk.send(Response("http://shop.example/base/b", code=200, duration_s=0.2))
    assert end.value.value.duration_s == pytest.approx(0.3)
