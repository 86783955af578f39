"""What programs get over HTTP, from a real server over a real store."""

import gzip
import json
import re
import time
from urllib.parse import quote

import pytest
import requests

KEYS = {
    *("check", "site", "target", "tier", "kind", "status", "reason", "message", "since", "code"),
    *("duration_s", "metrics", "uptime_24h"),
}
DB = quote("shop/db/postgresql", safe="")


def test_alive_and_ready_while_both_roles_are_seen(shop, estate):
    estate.beat_all(shop.made)
    assert shop.get("/healthz").status_code == 200
    answer = shop.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"ready": True, "reasons": []})


def test_not_ready_says_who_is_missing(empty):
    answer = empty.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reasons"] == ["no worker was ever seen", "no alert engine was ever seen"]


def test_not_ready_when_the_worker_was_not_seen_for_a_minute(empty, estate):
    estate.beat_all(empty.made, estate.now_ms() - 61_000)
    assert "no worker was seen for 1 min" in empty.get("/readyz").json()["reasons"][0]


def test_checks_have_the_shape_of_the_contract(shop):
    checks = {one["check"]: one for one in shop.get("/api/v1/checks").json()["checks"]}
    assert set(checks["shop/db/postgresql"]) >= KEYS
    assert checks["shop/db/postgresql"]["status"] == "down"
    assert checks["shop/db/postgresql"]["target"] == "shop/db"
    assert checks["shop/db/postgresql"]["reason"] == "tcp_refused"
    assert 0.9 < checks["shop/cache/redis"]["metrics"]["hit_ratio"] <= 1
    assert checks["shop/backup/heartbeat"]["status"] == "unknown"


def test_what_is_too_old_is_unknown_and_never_green(estate, serve, tmp_path):
    made = estate.make(tmp_path, estate.shop())
    estate.history(made, 1, until_ms=estate.now_ms() - 10 * 60_000)
    with serve(made) as served:
        checks = served.get("/api/v1/checks").json()["checks"]
        assert {one["status"] for one in checks} == {"unknown"}
        assert {row[6] for row in served.get("/api/v1/wall").json()["rows"]} == {"unknown"}
        assert 'status="up"} 1' not in served.get("/metrics").text


def test_check_id_percent_encoded_or_plain(shop):
    assert shop.get(f"/api/v1/checks/{DB}").json()["check"] == "shop/db/postgresql"
    assert shop.get("/api/v1/checks/shop/db/postgresql").json()["check"] == "shop/db/postgresql"


def test_series_and_results(shop):
    points = shop.get(f"/api/v1/checks/{DB}/series?points=50").json()["points"]
    assert 2 < len(points) <= 50
    assert set(points[0]) >= {"t", "n", "up", "degraded", "down", "unknown", "p50_s", "p95_s", "p99_s", "phases"}
    results = shop.get(f"/api/v1/checks/{DB}/results?limit=3").json()["results"]
    assert [one["status"] for one in results] == ["down"] * 3


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/checks/nope", 404),
        (f"/api/v1/checks/{DB}/nope", 404),
        (f"/api/v1/checks/{DB}/series?points=1e9", 400),
        (f"/api/v1/checks/{DB}/series?points=100000", 400),
        (f"/api/v1/checks/{DB}/series?from=yesterday", 400),
        (f"/api/v1/checks/{DB}/series?from=2030-01-01&to=2020-01-01", 400),
        ("/api/v1/sites/nope/path", 404),
        ("/api/v1/incidents/nope", 404),
        ("/api/v1/incidents?state=closed", 400),
        ("/api/v1/nope", 404),
    ],
)
def test_mistakes_are_problem_documents(shop, path, status):
    answer = shop.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert len(answer.json()["detail"]) > 10


def test_path_names_the_database_and_who_waits(shop):
    path = shop.get("/api/v1/sites/shop/path").json()
    assert path["roots"] == ["shop/db"]
    assert set(path["waiting"]) >= {"shop/app-1", "shop/app-2", "shop/login", "shop/web-1", "shop/balancer"}
    assert "shop/cache" not in path["waiting"]


def test_wall_answers_304_while_nothing_changed(shop):
    first = shop.get("/api/v1/wall")
    assert first.headers["Content-Encoding"] == "gzip"
    again = shop.get("/api/v1/wall", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304
    assert again.content == b""
    assert float(again.headers["Backwatch-Data-Age"]) > 0


def test_wall_is_the_same_packed_and_plain(shop):
    plain = requests.get(shop.url + "/api/v1/wall", headers={"Accept-Encoding": "identity"}, timeout=5)
    assert "Content-Encoding" not in plain.headers
    packed = requests.get(shop.url + "/api/v1/wall", stream=True, timeout=5).raw.read(decode_content=False)
    assert json.loads(gzip.decompress(packed))["fields"] == plain.json()["fields"]


def test_run_now_is_a_request_for_the_worker(shop):
    from probes.store.asks import take_run_requests

    assert shop.post(f"/api/v1/checks/{DB}/run").status_code == 202
    assert "shop/db/postgresql" in take_run_requests(shop.made.engine)


def test_answering_an_incident(estate, shop):
    incident = estate.open_incident(shop.made)
    assert shop.post(f"/api/v1/incidents/{incident}/comment", {"author": "ada", "comment": "looking"}).ok
    assert shop.post(f"/api/v1/incidents/{incident}/ack", {"author": "ada", "for": "2h"}).ok
    found = shop.get(f"/api/v1/incidents/{incident}").json()
    assert (found["state"], found["acked_by"]) == ("acked", "ada")
    assert found["root"] == "shop/db"
    assert [event["kind"] for event in found["events"]][-2:] == ["comment", "acked"]
    assert shop.post(f"/api/v1/incidents/{incident}/resolve", {"author": "ada"}).ok
    assert shop.post(f"/api/v1/incidents/{incident}/resolve", {"author": "ada"}).status_code == 404


def test_silencing_and_ending_a_silence(shop):
    made = shop.post("/api/v1/silences", {"matchers": {"target": "shop/nobody"}, "for": "1h", "author": "ada"})
    assert made.status_code == 201
    silence = made.json()["id"]
    assert silence in [one["id"] for one in shop.get("/api/v1/silences").json()["silences"]]
    assert shop.post(f"/api/v1/silences/{silence}/expire").ok
    assert silence not in [one["id"] for one in shop.get("/api/v1/silences").json()["silences"]]


@pytest.mark.parametrize(
    "body",
    [{}, {"matchers": []}, {"matchers": {"colour": "red"}}, {"matchers": {"site": "x"}, "for": "soon"}, [1], "text"],
)
def test_a_bad_silence_is_refused(shop, body):
    assert shop.post("/api/v1/silences", body).status_code == 400


def test_a_body_too_large_is_refused(shop):
    answer = requests.post(shop.url + "/api/v1/silences", data=b"x" * 200_000, timeout=5)
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("method", "end", "kept"),
    [
        ("GET", "", ("success", None)),
        ("POST", "", ("success", None)),
        ("POST", "/start", ("start", None)),
        ("GET", "/fail", ("fail", None)),
        ("POST", "/0", ("success", 0)),
        ("POST", "/7", ("fail", 7)),
    ],
)
def test_pushes_are_kept(shop, estate, method, end, kept):
    from probes.store.asks import load_pushes_after

    last, _ = load_pushes_after(shop.made.engine, 0)
    answer = requests.request(method, f"{shop.url}/push/{estate.TOKEN}{end}", data=b"done\x00\x1b[31m", timeout=5)
    assert answer.text == "OK"
    _, [(check, push)] = load_pushes_after(shop.made.engine, last)
    assert (check, (push.kind, push.exit_code)) == ("shop/backup/heartbeat", kept)
    assert "\x1b" not in push.text


@pytest.mark.parametrize("path", ["/push/wrong-token-0123456789", "/push/nightly-backup-0123456789/256"])
def test_unknown_pushes_are_refused(shop, path):
    assert shop.get(path).status_code == 404


def test_metrics_are_well_formed_open_metrics(shop):
    answer = shop.get("/metrics")
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    lines = answer.text.split("\n")
    assert lines[-2:] == ["# EOF", ""]
    sample = re.compile(r'[a-z_0-9]+(\{([a-z_]+="([^"\\\n]|\\["\\n])*",?)*\})? (-?[0-9.e+-]+|NaN|[+-]Inf)$')
    comment = re.compile(r"# (TYPE|UNIT|HELP|EOF)")
    for line in lines[:-1]:
        assert sample.match(line) or comment.match(line), line
    families = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(families) == len(set(families))
    down = (
        'backwatch_check_status{check="shop/db/postgresql",site="shop",tier="database",kind="postgresql",status="down"}'
    )
    assert f"{down} 1" in lines


def test_overload_is_in_the_metrics_and_the_api(estate, serve, tmp_path):
    made = estate.make(tmp_path, estate.shop())
    estate.beat_all(made)
    with serve(made) as served:
        assert "backwatch_worker_overloaded 0" in served.get("/metrics").text
        estate.beat_overloaded(made)
        lines = served.get("/metrics").text.split("\n")
        assert "backwatch_worker_overloaded 1" in lines
        assert "backwatch_worker_late_ratio 0.34" in lines


def test_openapi_names_the_routes_that_answer(shop):
    described = shop.get("/api/v1/openapi.json").json()
    assert described["openapi"].startswith("3.1")
    for path, operations in described["paths"].items():
        if "get" in operations and "{" not in path and path != "/readyz":
            assert shop.get(path).status_code == 200, path


@pytest.mark.parametrize("path", ["/", "/api/v1/checks", "/metrics", "/_stcore/health", "/push/x"])
def test_a_foreign_host_name_is_refused(shop, path):
    assert shop.get(path, headers={"Host": "rebound.example"}).status_code == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "null"},
    ],
)
def test_a_page_of_another_site_changes_nothing(shop, headers):
    assert shop.post(f"/api/v1/checks/{DB}/run", headers=headers).status_code == 403
    assert shop.post(f"/api/v1/checks/{DB}/run", headers={"Origin": shop.url}).status_code == 202


def test_a_websocket_of_another_site_is_refused(shop):
    headers = {
        "Origin": "https://evil.example",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    assert shop.get("/_stcore/stream", headers=headers).status_code == 403


@pytest.mark.parametrize("path", ["/", "/api/v1/checks", "/healthz"])
def test_answers_carry_security_headers(shop, path):
    headers = shop.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


def test_a_changed_configuration_is_taken_over_and_a_broken_one_kept_out(estate, serve, tmp_path):
    made = estate.make(tmp_path, estate.shop())
    with serve(made) as served:
        made.config.write_text("sites: [broken")
        assert "broken" in _eventually(lambda: str(served.get("/api/v1/wall").json()["notices"]), "broken")
        assert len(served.get("/api/v1/checks").json()["checks"]) == 12
        estate.write_config(tmp_path, estate.large(4))
        assert _eventually(lambda: str(len(served.get("/api/v1/checks").json()["checks"])), "4") == "4"
        assert "broken" not in str(served.get("/api/v1/wall").json()["notices"])


def test_a_store_that_cannot_be_read_is_said(estate, serve, tmp_path):
    made = estate.make(tmp_path, estate.shop())
    with serve(made) as served:
        _destroy(made)
        answer = served.get("/api/v1/checks")
        assert (answer.status_code, answer.json()["status"]) == (503, 503)
        assert served.get("/readyz").status_code == 503
        assert served.get("/healthz").status_code == 200


def test_an_address_that_others_can_reach_is_refused(estate, tmp_path):
    from dashboard.server import UnsafeAddress, run_server

    made = estate.make(tmp_path, estate.shop())
    with pytest.raises(UnsafeAddress, match="keep 127"):
        run_server(made.config, made.data, host="0.0.0.0")


def _destroy(made):
    from sqlalchemy import text

    with made.engine.begin() as connection:
        for table in ("state", "process", "hot", "summary"):
            connection.execute(text(f"DROP TABLE {table}"))


def _eventually(ask, wanted, seconds=10):
    deadline = time.monotonic() + seconds
    while wanted not in (said := ask()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return said
