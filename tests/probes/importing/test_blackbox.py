"""What Prometheus asks through blackbox_exporter becomes checks: modules times targets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result

from alerts.config import load_all

Bring = Callable[..., Result]


def bring_module(bring: Bring, module: dict[str, Any], target: str, **job: Any) -> tuple[dict[str, Any], str]:
    Path("blackbox.yml").write_text(yaml.safe_dump({"modules": {"m": module}}))
    config = {
        "global": {"scrape_interval": "30s"},
        "scrape_configs": [
            {"job_name": "node", "static_configs": [{"targets": ["localhost:9100"]}]},
            {
                "job_name": "shop",
                "metrics_path": "/probe",
                "params": {"module": ["m"]},
                "static_configs": [{"targets": [target]}],
                **job,
            },
        ],
    }
    Path("prometheus.yml").write_text(yaml.safe_dump(config))
    result = bring("blackbox", "blackbox.yml", "prometheus.yml")
    assert result.exit_code == 0, result.output
    (check,) = load_all(Path("backwatch.yaml"))[0].estate.checks.values()
    site = yaml.safe_load(Path("backwatch.yaml").read_text())["sites"][check.site]
    return site["targets"][check.target.split("/")[1]]["checks"][0], result.output


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, {"url": "https://shop.example.org/", "interval": "30s", "timeout": "5s"}),
        ({"valid_status_codes": [200, 204]}, {"expect": {"status": ["200", "204"]}}),
        ({"method": "POST", "body": "{}"}, {"method": "POST", "body": "{}"}),
        ({"fail_if_body_not_matches_regexp": ["welcome"]}, {"expect": {"body": {"regex": "welcome"}}}),
        ({"fail_if_body_matches_regexp": ["no database"]}, {"expect": {"body": {"not_contains": "no database"}}}),
        (
            {"fail_if_header_not_matches": [{"header": "Server", "regexp": "nginx"}]},
            {"expect": {"headers": {"Server": {"regex": "nginx"}}}},
        ),
        ({"follow_redirects": False}, {"max_redirects": 0}),
        ({"preferred_ip_protocol": "ip4", "ip_protocol_fallback": False}, {"family": "ipv4"}),
        ({"valid_http_versions": ["HTTP/2.0"]}, {"http_version": "2"}),
        ({"tls_config": {"insecure_skip_verify": True}}, {"verify": False}),
        ({"headers": {"X-Team": "ops"}}, {"headers": {"X-Team": "ops"}}),
    ],
    ids=lambda value: next(iter(value), "plain") if isinstance(value, dict) else None,
)
def test_an_http_module_asks_the_same(bring: Bring, options: dict[str, Any], wanted: dict[str, Any]) -> None:
    module = {"prober": "http", "timeout": "5s", "http": options}
    check, _ = bring_module(bring, module, "https://shop.example.org/")
    assert check | wanted == check


def test_passwords_go_into_private_files(bring: Bring) -> None:
    module = {"prober": "http", "http": {"basic_auth": {"username": "u", "password": "hidden-word"}}}
    check, told = bring_module(bring, module, "https://shop.example.org/")
    reference = check["auth"]["password"]
    assert reference.startswith("${file:backwatch-secrets/")
    assert Path(reference.removeprefix("${file:").removesuffix("}")).read_text() == "hidden-word"
    assert "hidden-word" not in told + Path("backwatch.yaml").read_text()


@pytest.mark.parametrize(
    ("tcp", "wanted"),
    [
        ({}, {"url": "tcp://h:22"}),
        ({"tls": True}, {"url": "tls://h:22"}),
        ({"query_response": [{"expect": "^SSH-2.0-"}]}, {"expect": {"answer": "SSH-2"}}),
        ({"query_response": [{"expect": "^+OK"}]}, {"expect": {"answer": "+OK"}}),
        ({"query_response": [{"expect": "^220 ([^ ]+) ESMTP"}]}, {"expect": {"answer": "220"}}),
        ({"query_response": [{"send": "PING"}, {"expect": "PONG"}]}, {"send": "PING\n", "expect": {"answer": "PONG"}}),
    ],
    ids=["connect", "tls", "ssh", "pop3", "smtp", "dialogue"],
)
def test_a_tcp_module_asks_the_same(bring: Bring, tcp: dict[str, Any], wanted: dict[str, Any]) -> None:
    check, _ = bring_module(bring, {"prober": "tcp", "tcp": tcp}, "h:22")
    assert check | wanted == check


def test_a_dns_module_asks_the_target(bring: Bring) -> None:
    module = {"prober": "dns", "dns": {"query_name": "example.org", "query_type": "SOA", "transport_protocol": "tcp"}}
    check, _ = bring_module(bring, module, "192.0.2.53:5353")
    wanted = {"kind": "dns", "name": "example.org", "type": "SOA", "server": "192.0.2.53", "port": 5353, "tcp": True}
    assert check | wanted == check


def test_what_cannot_be_asked_is_told_by_name(bring: Bring) -> None:
    Path("blackbox.yml").write_text(
        yaml.safe_dump(
            {"modules": {"icmp": {"prober": "icmp"}, "web": {"prober": "http"}, "unused": {"prober": "tcp"}}}
        )
    )
    job = {"metrics_path": "/probe", "file_sd_configs": [{"files": ["x.json"]}]}
    groups = [
        {"targets": ["192.0.2.1"], "labels": {"module": "icmp"}},
        {"targets": ["http://a/"], "labels": {"module": "web", "service": "Shop"}},
        {"targets": ["http://b/"], "labels": {"module": "nowhere"}},
    ]
    config = {"scrape_configs": [{"job_name": "all", **job, "static_configs": groups}]}
    Path("prometheus.yml").write_text(yaml.safe_dump(config))
    result = bring("blackbox", "blackbox.yml", "prometheus.yml")
    assert result.exit_code == 0, result.output
    assert set(load_all(Path("backwatch.yaml"))[0].estate.checks) == {"shop/a/http"}
    assert "  192.0.2.1: left out: there is no ICMP check" in result.output
    assert "  http://b/: left out: job all asks with module nowhere, which there is not" in result.output
    assert "  job all: left out: its targets are found at run time (file_sd_configs): list them" in result.output
    assert "  modules for which no job names a target: left out: unused" in result.output


def test_two_modules_for_one_target_are_two_checks_of_it(bring: Bring) -> None:
    Path("blackbox.yml").write_text(yaml.safe_dump({"modules": {"a": {"prober": "tcp"}, "b": {"prober": "http"}}}))
    groups = [{"targets": ["h:80"], "labels": {"module": module}} for module in ("a", "b")]
    job = {"job_name": "all", "metrics_path": "/probe", "static_configs": groups}
    Path("prometheus.yml").write_text(yaml.safe_dump({"scrape_configs": [job]}))
    assert bring("blackbox", "blackbox.yml", "prometheus.yml").exit_code == 0
    assert set(load_all(Path("backwatch.yaml"))[0].estate.checks) == {"all/h-80/tcp", "all/h-80/http"}
