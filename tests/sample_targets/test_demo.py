"""The Backwatch configuration of the shop fits the shop."""

import re
from importlib import resources
from typing import Any

import pytest
import yaml

from sample_targets.layout import DEFAULT_DATA, Layout

TEXT = (resources.files("sample_targets") / "demo.yaml").read_text()
TARGETS: dict[str, Any] = yaml.safe_load(TEXT)["sites"]["shop"]["targets"]


def test_every_tier_is_watched() -> None:
    assert {target["tier"] for target in TARGETS.values()} == {
        "web", "load_balancer", "app", "auth", "database", "cache", "queue", "third_party", "host",
    }  # fmt: skip
    assert sum(len(target["checks"]) for target in TARGETS.values()) >= 16


def test_needs_name_targets_and_lead_from_the_web_to_the_database() -> None:
    def reach(name: str) -> set[str]:
        return {name}.union(*(reach(need) for need in TARGETS[name].get("needs", [])))

    assert all(reach(name) <= set(TARGETS) for name in TARGETS)
    assert all("db" in reach(name) for name in ("web", "web-https", "load-balancer", "app-1", "app-2", "login"))
    assert "payments" not in reach("web")


def test_check_names_are_unique_in_their_target() -> None:
    for target in TARGETS.values():
        names = [check.get("name", check["kind"]) for check in target["checks"]]
        assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("name", "default"), sorted(set(re.findall(r"\$\{env:(SHOP_(?:PORT\w+|DATA)):-([^}]*)\}", TEXT)))
)
def test_defaults_are_those_of_the_shop(name: str, default: str) -> None:
    assert Layout(DEFAULT_DATA).env[name] == default
