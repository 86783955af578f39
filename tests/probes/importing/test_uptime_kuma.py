"""A team switches from Uptime Kuma: what it watched is watched, and what is missing is told."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result

from alerts.config import load_all
from probes.prober import now_ms
from probes.target import Check

REAL = Path(os.environ.get("BACKWATCH_TEST_UPTIME_KUMA", "kuma-real.db"))
HOUR = 3_600_000
Bring = Callable[..., Result]


def written() -> dict[str, Any]:
    return yaml.safe_load(Path("backwatch.yaml").read_text())


def checks() -> dict[str, Check]:
    config, _ = load_all(Path("backwatch.yaml"))
    return dict(config.estate.checks)


def only_check(kuma: Any, bring: Bring, **monitor: Any) -> tuple[dict[str, Any], str]:
    """What one monitor becomes, and what was told."""
    kuma.add("monitor", name="Shop", **monitor)
    result = bring("uptime-kuma", kuma.path, "--no-history")
    assert result.exit_code == 0, result.output
    targets = written()["sites"]["imported"]["targets"]
    return targets["shop"]["checks"][0], result.output


def test_an_http_monitor_asks_the_same(kuma: Any, bring: Bring) -> None:
    check, _ = only_check(
        kuma, bring, type="http", url="https://shop.example.org/", interval=30, maxretries=2, retry_interval=10,
        timeout=8, ignore_tls=1, expiry_notification=1, accepted_statuscodes_json=["200-299", "301", "404"],
        method="POST", body='{"a": 1}', http_body_encoding="json", headers='{"X-Team": "ops"}',
    )  # fmt: skip
    assert check == {
        "kind": "http",
        "url": "https://shop.example.org/",
        "method": "POST",
        "body": '{"a": 1}',
        "headers": {"X-Team": "ops", "Content-Type": "application/json"},
        "verify": False,
        "max_redirects": 10,
        "expect": {"status": ["2xx", "301", "404"], "certificate_days_left": {"degraded": 21}},
        "interval": "30s",
        "timeout": "8s",
        "retry_interval": "10s",
        "fail_after": 3,
        "recover_after": 1,
    }


@pytest.mark.parametrize(
    ("monitor", "wanted"),
    [
        ({"type": "keyword", "keyword": "ok ${x}"}, {"body": {"contains": "ok $${x}"}}),
        ({"type": "keyword", "keyword": "error", "invert_keyword": 1}, {"body": {"not_contains": "error"}}),
        (
            {"type": "json-query", "json_path": "$.a.b", "expected_value": "up", "json_path_operator": "=="},
            {"body": {"json": {"path": "$.a.b", "equals": "up"}}},
        ),
        (
            {"type": "json-query", "json_path": "queue[0].length", "expected_value": "100", "json_path_operator": "<"},
            {"body": {"json": {"path": "$.queue[0].length", "below": 100}}},
        ),
    ],
    ids=["keyword", "inverted", "json", "json number"],
)
def test_what_the_body_must_say_is_kept(
    kuma: Any, bring: Bring, monitor: dict[str, Any], wanted: dict[str, Any]
) -> None:
    check, _ = only_check(kuma, bring, url="http://127.0.0.1/", **monitor)
    assert check["expect"] == wanted


@pytest.mark.parametrize(
    ("monitor", "wanted"),
    [
        (
            {"type": "port", "hostname": "db.example.org", "port": 5432},
            {"kind": "tcp", "url": "tcp://db.example.org:5432"},
        ),
        (
            {"type": "dns", "hostname": "example.org", "dns_resolve_type": "MX", "dns_resolve_server": "192.0.2.53"},
            {"kind": "dns", "name": "example.org", "type": "MX", "server": "192.0.2.53"},
        ),
        (
            {"type": "redis", "database_connection_string": "redis://127.0.0.1:6379"},
            {"kind": "redis", "url": "redis://127.0.0.1:6379"},
        ),
        (
            {"type": "mongodb", "database_connection_string": "mongodb://u:hidden-word@mongo:27017/shop"},
            {"kind": "tcp", "url": "tcp://mongo:27017"},
        ),
        (
            {"type": "sqlserver", "database_connection_string": "Server=sql,1444;User Id=x;Password=hidden-word"},
            {"kind": "tcp", "url": "tcp://sql:1444"},
        ),
        ({"type": "grpc-keyword", "grpc_url": "api:50051"}, {"kind": "tcp", "url": "tcp://api:50051"}),
        (
            {"type": "rabbitmq", "rabbitmq_nodes": ["http://mq:15672"]},
            {"kind": "http", "url": "http://mq:15672/api/health/checks/alarms/"},
        ),
    ],
    ids=lambda value: value.get("type") if "type" in value and "kind" not in value else None,
)
def test_each_type_becomes_its_kind(kuma: Any, bring: Bring, monitor: dict[str, Any], wanted: dict[str, Any]) -> None:
    check, told = only_check(kuma, bring, **monitor)
    assert check | wanted == check
    assert "hidden-word" not in told


def test_secrets_go_into_private_files_and_nowhere_else(kuma: Any, bring: Bring) -> None:
    secret = "correct-horse"
    kuma.add("monitor", name="A", type="http", url=f"https://u:{secret}1@example.org/")
    kuma.add("monitor", name="B", type="http", url="http://b/", basic_auth_user="u", basic_auth_pass=f"{secret}2")
    kuma.add("monitor", name="C", type="http", url="http://c/", headers={"Authorization": f"Bearer {secret}3"})
    kuma.add("monitor", name="D", type="http", url=f"http://d/?token={secret}4")
    kuma.add("monitor", name="E", type="push", push_token=f"{secret}-5-0123456789", interval=60)
    kuma.add("monitor", name="F", type="postgres", database_connection_string=f"postgres://w:{secret}6@db:5432/shop")
    kuma.add(
        "monitor", name="G", type="mysql", database_connection_string="mysql://w@db/shop", radius_password=f"{secret}7"
    )
    kuma.add("monitor", name="H", type="http", url="http://h/", body=f"password={secret}8", method="POST")
    kuma.add("monitor", name="I", type="http", url="http://i/", auth_method="bearer", bearer_token=f"{secret}9")
    mail = {"type": "smtp", "smtpHost": "m", "smtpTo": "ops@example.org", "smtpUsername": "u", "smtpPassword": secret}
    kuma.add("notification", name="mail", config=mail)
    kuma.add("notification", name="hook", config={"type": "webhook", "webhookURL": f"https://h.example.org/{secret}"})
    result = bring("uptime-kuma", kuma.path)
    assert result.exit_code == 0, result.output
    assert secret not in result.output
    assert secret not in Path("backwatch.yaml").read_text()
    files = list(Path("backwatch-secrets").iterdir())
    assert len(files) == 11
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert len(checks()) == 9
    assert (
        load_all(Path("backwatch.yaml"))[0].estate.checks["imported/a/http"].probe.options.url.endswith("@example.org/")
    )


def test_groups_and_tags_become_sites(kuma: Any, bring: Bring) -> None:
    shop = kuma.add("monitor", name="Shop", type="group")
    inner = kuma.add("monitor", name="Inner", type="group", parent=shop)
    for name, parent in (("Deep", inner), ("Tagged", None), ("Alone", None), ("Customer's", inner)):
        kuma.add("monitor", name=name, type="port", hostname="h", port=1, parent=parent)
    kuma.add("tag", name="prod", color="#000")
    kuma.add("tag", name="customer", color="#000")
    kuma.add("monitor_tag", monitor_id=4, tag_id=1, value="eu")
    kuma.add("monitor_tag", monitor_id=6, tag_id=2, value="ACME Ltd")
    assert bring("uptime-kuma", kuma.path).exit_code == 0
    assert set(checks()) == {"shop/deep/tcp", "prod/tagged/tcp", "imported/alone/tcp", "acme-ltd/customer-s/tcp"}
    assert checks()["prod/tagged/tcp"].tags == ("prod-eu",)


def test_monitors_of_one_name_are_kept_apart(kuma: Any, bring: Bring) -> None:
    for _ in range(3):
        kuma.add("monitor", name="Web", type="port", hostname="h", port=1)
    kuma.add("monitor", name="日本", type="port", hostname="h", port=1)
    assert bring("uptime-kuma", kuma.path).exit_code == 0
    assert set(checks()) == {f"imported/{name}/tcp" for name in ("web", "web-2", "web-3", "unnamed")}


@pytest.mark.parametrize(
    ("monitor", "why"),
    [
        ({"type": "ping", "hostname": "h"}, "ICMP"),
        ({"type": "docker", "docker_container": "web"}, "container"),
        ({"type": "steam", "hostname": "h", "port": 1}, "UDP"),
        ({"type": "http", "url": "http://h/", "active": 0}, "paused"),
        ({"type": "http", "url": "http://h/", "upside_down": 1}, "upside down"),
        ({"type": "http", "url": "ftp://h/"}, "http"),
        ({"type": "something-new"}, "something-new"),
    ],
)
def test_what_cannot_be_brought_over_is_told_by_name(
    kuma: Any, bring: Bring, monitor: dict[str, Any], why: str
) -> None:
    kuma.add("monitor", name="Odd one", **monitor)
    kuma.add("monitor", name="Fine", type="port", hostname="h", port=1)
    result = bring("uptime-kuma", kuma.path, "--no-history")
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.output.splitlines() if line.strip().startswith("Odd one: left out: ")]
    assert why in line
    assert f"#   {line.strip()}" in Path("backwatch.yaml").read_text()
    assert set(checks()) == {"imported/fine/tcp"}


@pytest.mark.parametrize(
    ("plan", "wanted"),
    [
        (
            {"strategy": "recurring-weekday", "weekdays": [0, 3], "start_time": "23:00", "end_time": "01:30"},
            {"rrule": "FREQ=WEEKLY;BYDAY=SU,WE", "at": "23:00", "for": "2h30m", "zone": "Europe/Berlin"},
        ),
        (
            {
                "strategy": "recurring-day-of-month",
                "days_of_month": [1, "lastDay1"],
                "start_time": "02:00",
                "duration": 3600,
            },
            {"rrule": "FREQ=MONTHLY;BYMONTHDAY=1,-1", "at": "02:00", "for": "1h", "zone": "Europe/Berlin"},
        ),
        (
            {"strategy": "single", "start_date": "2030-01-01 02:00:00", "end_date": "2030-01-01 04:00:00"},
            {"at": "2030-01-01T02:00", "for": "2h", "zone": "Europe/Berlin"},
        ),
        (
            {"strategy": "cron", "cron": "30 3 * * 6,0", "duration": 5400},
            {"rrule": "FREQ=WEEKLY;BYDAY=SA,SU", "at": "03:30", "for": "1h30m", "zone": "Europe/Berlin"},
        ),
    ],
    ids=["weekday over midnight", "day of month", "single", "cron"],
)
def test_maintenance_holds_for_the_same_targets(
    kuma: Any, bring: Bring, plan: dict[str, Any], wanted: dict[str, Any]
) -> None:
    group = kuma.add("monitor", name="Shop", type="group")
    kuma.add("monitor", name="A", type="port", hostname="h", port=1, parent=group)
    kuma.add("monitor", name="B", type="port", hostname="h", port=1)
    work = kuma.add("maintenance", title="Work", timezone="Europe/Berlin", **plan)
    kuma.add("monitor_maintenance", monitor_id=group, maintenance_id=work)
    result = bring("uptime-kuma", kuma.path, "--no-history")
    assert result.exit_code == 0, result.output
    assert written()["maintenance"] == [{"match": {"target": "shop/a"}, **wanted}]


@pytest.mark.parametrize(
    "plan",
    [
        {"strategy": "manual"},
        {"strategy": "recurring-interval", "interval_day": 3, "start_time": "02:00", "end_time": "03:00"},
        {"strategy": "cron", "cron": "*/5 * * * *", "duration": 60},
    ],
    ids=lambda plan: plan["strategy"],
)
def test_maintenance_that_no_rule_means_is_told(kuma: Any, bring: Bring, plan: dict[str, Any]) -> None:
    monitor = kuma.add("monitor", name="A", type="port", hostname="h", port=1)
    kuma.add("monitor_maintenance", monitor_id=monitor, maintenance_id=kuma.add("maintenance", title="Work", **plan))
    result = bring("uptime-kuma", kuma.path, "--no-history")
    assert "maintenance Work: left out: " in result.output
    assert "maintenance" not in written()


def test_monitors_tell_whom_they_told(kuma: Any, bring: Bring) -> None:
    monitor = kuma.add("monitor", name="A", type="port", hostname="h", port=1)
    mail = {
        "type": "smtp",
        "smtpHost": "m",
        "smtpPort": 465,
        "smtpSecure": True,
        "smtpTo": "a@example.org, b@example.org",
    }
    kuma.add(
        "monitor_notification", monitor_id=monitor, notification_id=kuma.add("notification", name="Ops", config=mail)
    )
    chat = kuma.add("notification", name="Chat", config={"type": "telegram"})
    kuma.add("monitor_notification", monitor_id=monitor, notification_id=chat)
    result = bring("uptime-kuma", kuma.path, "--no-history")
    assert "notification Chat: left out: there is no notifier for telegram" in result.output
    assert checks()["imported/a/tcp"].notify == ("ops",)
    assert written()["notifiers"]["ops"]["smtp"] == {"host": "m", "security": "tls", "port": 465}
    assert written()["notifiers"]["ops"]["to"] == ["a@example.org", "b@example.org"]


def test_a_changed_configuration_is_left_and_its_checks_get_their_history(kuma: Any, bring: Bring) -> None:
    for name in ("Web", "Gone"):
        kuma.beat(kuma.add("monitor", name=name, type="port", hostname="h", port=1), now_ms() - HOUR)
    mine = "sites: {imported: {targets: {web: {tier: web, checks: [{kind: tcp, url: 'tcp://h:1'}]}}}}\n"
    Path("backwatch.yaml").write_text(mine)
    result = bring("uptime-kuma", kuma.path)
    assert result.exit_code == 0, result.output
    assert Path("backwatch.yaml").read_text() == mine
    assert "1 results, 0 hours" in result.output
    assert "without its history: imported/gone/tcp is not in backwatch.yaml" in result.output
    assert not list(Path().glob(".*.part"))
    assert bring("uptime-kuma", kuma.path, "--no-history").exit_code == 2


def test_other_secrets_of_the_same_name_are_never_overwritten(kuma: Any, bring: Bring) -> None:
    kuma.add("monitor", name="B", type="http", url="http://b/", basic_auth_user="u", basic_auth_pass="new-password")
    Path("backwatch-secrets").mkdir()
    Path("backwatch-secrets/b-password").write_text("old-password")
    result = bring("uptime-kuma", kuma.path)
    assert result.exit_code == 2
    assert Path("backwatch-secrets/b-password").read_text() == "old-password"
    assert not Path("backwatch.yaml").exists()


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\x00" + b"\x00" * 500])
def test_what_is_no_uptime_kuma_is_refused_with_words(bring: Bring, content: bytes) -> None:
    Path("x.db").write_bytes(content)
    result = bring("uptime-kuma", "x.db")
    assert result.exit_code == 2
    assert "Uptime Kuma" in result.output
    assert not Path("backwatch.yaml").exists()


if REAL.is_file():  # a user's own database, named by BACKWATCH_TEST_UPTIME_KUMA

    def test_a_database_of_a_real_uptime_kuma_comes_over(bring: Bring) -> None:
        result = bring("uptime-kuma", REAL.absolute())
        assert result.exit_code == 0, result.output
        assert len(checks()) == 16
        assert "254 results" in result.output
        for name in ("Ping", "Container", "Game", "Mongo", "SQL Server", "MQTT", "gRPC"):
            assert f"  {name}: " in result.output
