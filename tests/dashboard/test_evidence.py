"""What failing runs saw is shown to people and programs, and no secret with it: worker, store, CLI, API and page."""

import json
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

import pytest
from click.testing import CliRunner
from sqlalchemy import select

from alerts.commands import incident
from probes.config import load_config
from probes.store.database import reading
from probes.store.tables import evidence
from probes.worker import run_worker

MADE_BY_THE_SERVER = ("canary-cookie-4711", "canary-token-4712", "canary-csrf-4713")
FROM_OUTSIDE = {
    name: f"canary-{name.lower()}-0815" for name in ("HEADER", "QUERY", "BODY", "COOKIE", "BEARER", "FORM", "PATH")
}
WRITTEN_DOWN = "canary-literal-0816"
CANARIES = (*MADE_BY_THE_SERVER, *FROM_OUTSIDE.values(), WRITTEN_DOWN)


class Echo(BaseHTTPRequestHandler):
    """A shop whose login page works and whose everything else fails, telling all that it was told."""

    def do_GET(self):
        self._answer(b"")

    def do_POST(self):
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body):
        cookie, token, csrf = MADE_BY_THE_SERVER
        page = f'<input type="hidden" name="csrf" value="{csrf}">'.encode()
        told = json.dumps({"token": token, "said": f"{self.path} {dict(self.headers)}", "body": body.decode()}).encode()
        content = page if self.path == "/form" else told + b"\nplain " + self.path.encode() + b" " + body
        moved = self.path.startswith("/moved/")
        self.send_response(302 if moved else 200 if self.path == "/form" else 500)
        if moved:
            self.send_header("Location", f"{self.path.removeprefix('/moved')}&again={self.headers['X-Key']}")
        self.send_header("Set-Cookie", f"sid={cookie}; Path=/; HttpOnly")
        self.send_header("X-Request", self.path)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format, *args):  # noqa: A002
        pass


def document(url):
    common = {"interval": "1s", "timeout": "1s", "retry_interval": "1s", "fail_after": 2}
    ask = {
        "kind": "http",
        "name": "ask",
        "url": url + "/${env:PATH_CANARY}?key=${env:QUERY_CANARY}&page=2",
        "method": "POST",
        "headers": {"X-Key": "${env:HEADER_CANARY}", "Cookie": "a=${env:COOKIE_CANARY}", "Accept": "text/x-visible"},
        "auth": {"scheme": "bearer", "token": "${env:BEARER_CANARY}"},
        "body": json.dumps({"password": WRITTEN_DOWN, "pin": "${env:BODY_CANARY}"}),
    }
    form = {"password": "${env:FORM_CANARY}", "csrf": "{{csrf}}"}
    login = {
        "kind": "journey",
        "url": url,
        "steps": [
            {"name": "form", "request": {"url": "/form"}, "extract": {"csrf": {"field": "csrf"}}},
            {"name": "login", "request": {"url": "/login?state={{csrf}}", "form": form}},
        ],
    }
    moved = ask | {"name": "moved", "url": url + "/moved/${env:PATH_CANARY}?key=${env:QUERY_CANARY}&page=2"}
    targets = {"web": {"tier": "web", "checks": [ask | common, login | common, moved | common]}}
    return {"sites": {"shop": {"title": "Shop", "targets": targets}}, "notifiers": {"ops": {"kind": "log"}}}


@pytest.fixture(scope="module")
def failed(estate, tmp_path_factory):
    """A store after a worker met failing checks, each failure confirmed."""
    patch = pytest.MonkeyPatch()
    for name, value in FROM_OUTSIDE.items():
        patch.setenv(f"{name}_CANARY", value)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    made = estate.make(tmp_path_factory.mktemp("failed"), document(f"http://127.0.0.1:{server.server_port}"))
    stop = threading.Event()
    worker = threading.Thread(target=run_worker, args=(load_config(made.config, data_dir=made.data), stop))
    worker.start()
    try:
        until = time.monotonic() + 30
        while len(kept(made)) < 6:
            assert time.monotonic() < until, kept(made)
            time.sleep(0.1)
    finally:
        stop.set()
        worker.join()
        server.shutdown()
        server.server_close()
    yield made
    patch.undo()


def kept(made):
    with reading(made.engine) as connection:
        return connection.execute(select(evidence).order_by(evidence.c.check_id, evidence.c.slot_ms)).fetchall()


def no_canary(text, where):
    found = [canary for canary in CANARIES if canary in text or quote(canary, safe="") in text]
    assert found == [], f"{where}: {found} in {text[:3000]}"


def test_first_and_confirming_failure_of_each_check_are_kept(failed):
    rows = kept(failed)
    assert [(row.check_id, row.kind) for row in rows] == [
        *(("shop/web/ask", kind) for kind in ("first", "confirmed")),
        *(("shop/web/journey", kind) for kind in ("first", "confirmed")),
        *(("shop/web/moved", kind) for kind in ("first", "confirmed")),
    ]
    assert {row.expires_ms - row.created_ms for row in rows} == {14 * 86_400_000}
    assert all(len(row.data) < 4096 for row in rows)


def test_no_secret_is_in_the_store(failed):
    for row in kept(failed):
        no_canary(zlib.decompress(row.data).decode(), row.check_id)
    for file in failed.data.rglob("*"):
        if file.is_file():
            no_canary(file.read_bytes().decode("latin-1"), file)


@pytest.fixture(scope="module")
def incident_id(failed, estate):
    return estate.open_incident(failed, "shop/web", "step 'login': status 500")


@pytest.mark.parametrize("form", ["text", "json"])
def test_incident_show_prints_what_was_seen(failed, incident_id, form):
    options = ["--json"] if form == "json" else []
    command = ["show", incident_id, "-c", str(failed.config), "--data", str(failed.data), *options]
    result = CliRunner().invoke(incident, command)
    assert result.exit_code == 0, result.output
    no_canary(result.output, "incident show")
    if form == "json":
        seen = json.loads(result.output)["evidence"]
        assert {one["check"] for one in seen} == {"shop/web/ask", "shop/web/journey", "shop/web/moved"}
        hops = next(one["saw"]["hops"] for one in seen if one["check"] == "shop/web/moved")
        assert [(hop["code"], hop["duration_s"] > 0) for hop in hops] == [(302, True), (500, True)]
        assert seen[0]["saw"]["reason"] in {"http_status", "step_failed"}
        return
    for words in (
        "confirmed failure",
        "> POST http://127.0.0.1",
        "Accept: text/x-visible",
        "< 500 HTTP/1",
        "failed at step login",
        "hop 1: 302 http://127.0.0.1",
        "hop 2: 500 http://127.0.0.1",
    ):
        assert words in result.output, words
    assert "password=***" in result.output


def test_api_and_page_show_it_as_text(failed, incident_id, serve, browser, estate):
    estate.beat_all(failed)
    with serve(failed) as served:
        answer = served.get("/api/v1/checks/shop/web/journey/evidence")
        assert answer.status_code == 200
        no_canary(answer.text, "API")
        first = answer.json()["evidence"][-1]
        assert (first["kind"], first["saw"]["failed_step"]) == ("first", "login")
        page = browser.new_page()
        page.goto(f"{served.url}/check?check={quote('shop/web/journey', safe='')}")
        page.get_by_text("What the confirmed failing run saw").first.click(timeout=20_000)
        page.get_by_text("failed at step login").first.wait_for(state="visible", timeout=15_000)
        no_canary(page.content(), "page")
        page.goto(f"{served.url}/check?check={quote('shop/web/moved', safe='')}")
        page.get_by_text("What the confirmed failing run saw").first.click(timeout=20_000)
        page.get_by_text("hop 2: 500 http://127.0.0.1").first.wait_for(state="visible", timeout=15_000)
        no_canary(page.content(), "page")
        page.close()
