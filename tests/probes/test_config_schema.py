"""Editors accept what `backwatch config check` accepts, and underline what it refuses where a schema can tell."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from probes.config_schema import json_schema
from probes.probe import kinds

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(__file__).parent / "testdata"
VALIDATOR = Draft202012Validator(json_schema())


def one_check(**keys: Any) -> dict[str, Any]:
    return {"sites": {"s": {"targets": {"t": {"tier": "app", "checks": [keys]}}}}}


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(VALIDATOR.schema)
    assert {f"check_{word}" for word in kinds()} <= set(VALIDATOR.schema["$defs"])


@pytest.mark.parametrize(
    "path", [ROOT / "sample_targets" / "demo.yaml", DATA / "good" / "contract.yaml"], ids=["demo", "contract"]
)
def test_configurations_in_use_fit_the_schema(path: Path) -> None:
    assert [error.message for error in VALIDATOR.iter_errors(yaml.safe_load(path.read_text()))] == []


@pytest.mark.parametrize(
    "expect",
    [
        {"status": 200},
        {"status": "2xx"},
        {"status": [200, "3xx"]},
        {"body": "Add to cart"},
        {"body": {"contains": "x", "json": [{"path": "$.a", "equals": 1}]}},
        {"headers": {"Content-Type": "text/html"}},
        {"latency": {"degraded": "800ms", "down": {"above": 5, "for": "3 of 5"}}},
        {"certificate": {"days_left": {"down": 3}}},
    ],
    ids=str,
)
def test_what_is_expected_may_be_written_in_every_way(expect: dict[str, Any]) -> None:
    assert VALIDATOR.is_valid(one_check(kind="http", url="http://127.0.0.1/", notify="ops", expect=expect))


@pytest.mark.parametrize(
    "name",
    [
        "unknown_kind",
        "unknown_option",
        "unknown_tier",
        "unknown_top_key",
        "unknown_level",
        "unknown_body_key",
        "missing_kind",
        "missing_tier",
        "missing_url",
        "bad_slug",
        "upper_case_site",
        "bound_unknown_key",
        "fail_after_zero",
        "worker_threads",
        "site_is_text",
        "check_is_text",
        "option_of_another_kind",
        "unknown_default",
    ],
)
def test_what_is_refused_is_underlined(name: str) -> None:
    document = yaml.safe_load((DATA / "bad" / f"{name}.yaml").read_text())
    assert not VALIDATOR.is_valid(document)
