"""Endpoints of Gatus become checks that expect the same; what has no meaning here is told by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result

from alerts.config import load_all
from probes.importing.gatus_condition import Conditions

Bring = Callable[..., Result]


def bring_endpoint(bring: Bring, endpoint: dict[str, Any], **more: Any) -> tuple[dict[str, Any], str]:
    Path("gatus.yaml").write_text(yaml.safe_dump({"endpoints": [{"name": "Shop", **endpoint}], **more}))
    result = bring("gatus", "gatus.yaml", env={"TEAM_TOKEN": "0123456789abcdef"})
    assert result.exit_code == 0, result.output
    return yaml.safe_load(Path("backwatch.yaml").read_text())["sites"]["imported"]["targets"]["shop"]["checks"][
        0
    ], result.output


@pytest.mark.parametrize(
    ("condition", "expect"),
    [
        ("[STATUS] == 200", {"status": ["200"]}),
        ("[STATUS] == any(200, 429)", {"status": ["200", "429"]}),
        ("[STATUS] < 400", {"status": ["2xx", "3xx"]}),
        ("[STATUS] <= 299", {"status": ["2xx"]}),
        ("[RESPONSE_TIME] < 500", {"latency": {"down": "500ms"}}),
        ("[CERTIFICATE_EXPIRATION] > 48h", {"certificate_days_left": {"down": 2.0}}),
        ("[BODY].status == UP", {"body": {"json": [{"path": "$.status", "equals": "UP"}]}}),
        ("[BODY].a[0].id == 1", {"body": {"json": [{"path": "$.a[0].id", "equals": 1}]}}),
        ("[BODY].queue < 10", {"body": {"json": [{"path": "$.queue", "below": 10}]}}),
        ("has([BODY].errors) == false", {"body": {"json": [{"path": "$.errors", "exists": False}]}}),
        ("[BODY] == pat(*<h1>Hi</h1>*)", {"body": {"contains": "<h1>Hi</h1>"}}),
        ("[BODY] != pat(*error*)", {"body": {"not_contains": "error"}}),
        ("[BODY] == pat(a*b?)", {"body": {"regex": "(?s)^a.*b.$"}}),
        ("[BODY] == ok.", {"body": {"regex": "^ok\\.$"}}),
        ("[CONNECTED] == true", {}),
    ],
)
def test_conditions_become_expectations(condition: str, expect: dict[str, Any]) -> None:
    conditions = Conditions("http")
    assert conditions.read(condition) == ""
    assert conditions.expect == expect


@pytest.mark.parametrize(
    "condition",
    [
        "[STATUS] != 500", "[STATUS] < 450",
        "[IP] == 127.0.0.1", "[DOMAIN_EXPIRATION] > 720h", "nonsense",
        "len([BODY].items) > 0", "[BODY].name == any(a, b)", "[BODY].name != a", "[BODY].name > a",
        "[RESPONSE_TIME] > 5",
    ],
)  # fmt: skip
def test_conditions_without_a_meaning_are_told_and_expect_nothing(condition: str) -> None:
    conditions = Conditions("http")
    assert conditions.read(condition)
    assert conditions.expect == {}


def test_an_endpoint_asks_the_same(bring: Bring) -> None:
    check, told = bring_endpoint(
        bring,
        {
            "url": "https://shop.example.org/health",
            "interval": "5m",
            "method": "post",
            "headers": {"X-Team": "ops", "Authorization": "Bearer hidden-word"},
            "body": "{}",
            "client": {"insecure": True, "ignore-redirect": True, "timeout": "3s"},
            "conditions": ["[STATUS] == 200", "[IP] == 192.0.2.1"],
            "alerts": [{"type": "email", "failure-threshold": 5, "success-threshold": 3}, {"type": "slack"}],
        },
        alerting={"email": {"from": "g@example.org", "host": "m", "port": 465, "to": "a@example.org,b@example.org"}},
    )
    assert check["headers"] == {
        "X-Team": "ops",
        "Authorization": "${file:backwatch-secrets/shop-authorization}",
    }
    assert check["method"] == "POST"
    assert (check["interval"], check["timeout"], check["verify"], check["max_redirects"]) == ("5m", "3s", False, 0)
    assert (check["fail_after"], check["recover_after"], check["notify"]) == (3, 2, ["email"])
    assert "Shop: condition [IP] == 192.0.2.1: " in told
    assert "through slack" in told
    assert "hidden-word" not in told + Path("backwatch.yaml").read_text()


def test_variables_of_the_environment_stay_variables(bring: Bring) -> None:
    endpoint = {"url": "http://h/?key=${TEAM_TOKEN}", "headers": {"X-Token": "$TEAM_TOKEN", "X-Price": "5$$"}}
    check, _ = bring_endpoint(bring, endpoint)
    assert check["url"] == "http://h/?key=${env:TEAM_TOKEN}"
    assert check["headers"] == {"X-Token": "${env:TEAM_TOKEN}", "X-Price": "5$"}


def test_a_variable_that_is_not_set_does_not_cost_the_check(bring: Bring) -> None:
    Path("gatus.yaml").write_text(
        yaml.safe_dump({"endpoints": [{"name": "Shop", "url": "http://h/${NOT_SET_ANYWHERE}"}]})
    )
    result = bring("gatus", "gatus.yaml")
    assert result.exit_code == 0, result.output
    assert "still to do: " in result.output
    assert "NOT_SET_ANYWHERE is not set" in result.output
    assert "${env:NOT_SET_ANYWHERE}" in Path("backwatch.yaml").read_text()


@pytest.mark.parametrize(
    ("endpoint", "wanted"),
    [
        ({"url": "tcp://db:5432"}, {"kind": "tcp", "url": "tcp://db:5432"}),
        ({"url": "tls://h:443", "conditions": ["[CERTIFICATE_EXPIRATION] > 240h"]}, {"kind": "tls"}),
        ({"url": "ssh://h"}, {"kind": "tcp", "url": "tcp://h:22", "expect": {"answer": "SSH-"}}),
        (
            {"url": "192.0.2.53", "dns": {"query-name": "example.org.", "query-type": "MX"}},
            {"kind": "dns", "name": "example.org", "type": "MX", "server": "192.0.2.53"},
        ),
        ({"url": "grpc://api:50051"}, {"kind": "tcp", "url": "tcp://api:50051"}),
    ],
    ids=["tcp", "tls", "ssh", "dns", "grpc"],
)
def test_each_address_becomes_its_kind(bring: Bring, endpoint: dict[str, Any], wanted: dict[str, Any]) -> None:
    check, _ = bring_endpoint(bring, endpoint)
    assert check | wanted == check


def test_groups_become_sites_and_what_is_left_out_is_told(bring: Bring) -> None:
    endpoints = [
        {"name": "a", "group": "Core", "url": "http://a/"},
        {"name": "b", "group": "Core", "url": "icmp://b"},
        {"name": "c", "url": "http://c/", "enabled": False},
    ]
    external = [{"name": "backup", "token": "0123456789abcdef0", "heartbeat": {"interval": "1d"}}]
    Path("gatus.yaml").write_text(yaml.safe_dump({"endpoints": endpoints, "external-endpoints": external}))
    result = bring("gatus", "gatus.yaml")
    assert set(load_all(Path("backwatch.yaml"))[0].estate.checks) == {"core/a/http", "imported/backup/heartbeat"}
    assert "  b: left out: there is no ICMP check" in result.output
    assert "  c: left out: it is not enabled" in result.output


@pytest.mark.parametrize("content", ["", "[]", "a: [", "metrics: true\n"])
def test_what_is_no_gatus_writes_nothing(bring: Bring, content: str) -> None:
    Path("gatus.yaml").write_text(content)
    result = bring("gatus", "gatus.yaml")
    assert result.exit_code == 2
    assert not Path("backwatch.yaml").exists()
