"""The shop as Backwatch sees it: its demo configuration asked against a real shop, whole and broken."""

import importlib.resources
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from probes.asking import ask_now
from probes.config import load_config
from probes.result import Reason, Result, Status
from probes.target import Check

Ask = Callable[[str], Result]
Eventually = Callable[[float, Callable[[], bool]], None]


@pytest.fixture
def ask(shop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    for name, value in shop.state["env"].items():
        monkeypatch.setenv(name, str(value))
    path = tmp_path / "demo.yaml"
    path.write_text((importlib.resources.files("sample_targets") / "demo.yaml").read_text())
    checks: dict[str, Check] = dict(load_config(path).estate.checks)

    def ask_check(check_id: str) -> Result:
        (result,) = ask_now([checks[check_id]])
        return result

    return ask_check


def test_a_customer_logs_in_and_out(ask: Ask) -> None:
    result = ask("shop/login/journey")
    assert (result.status, result.message) == (Status.UP, "")
    assert result.metrics["steps_done"] == 7
    assert {"step_form_s", "step_login_s", "step_account_s", "step_token_s", "step_logout_s"} <= set(result.metrics)


def test_a_broken_login_is_the_step_that_is_named(
    ask: Ask, broken: Callable[[str], None], eventually: Eventually
) -> None:
    broken("login_broken")
    eventually(5, lambda: ask("shop/login/journey").status is Status.DOWN)
    result = ask("shop/login/journey")
    assert (result.reason, result.code) == (Reason.STEP_FAILED, 500)
    assert result.message == "step 'login': status 500 Internal Server Error instead of 303"


def test_fan_out_says_which_node_is_bad(
    ask: Ask, shop: Any, broken: Callable[[str], None], eventually: Eventually
) -> None:
    assert ask("shop/load-balancer/nodes").status is Status.UP
    broken("one_bad_node")
    eventually(5, lambda: ask("shop/load-balancer/nodes").status is Status.DEGRADED)
    result = ask("shop/load-balancer/nodes")
    bad, good = (f"127.0.0.1:{shop.state['ports'][name]}" for name in ("app-2", "app-1"))
    assert result.message == f"node {bad}: status 500 Internal Server Error instead of 200 (1 of 2 nodes)"
    assert good not in result.message
    assert (result.metrics["nodes"], result.metrics["nodes_up"]) == (2, 1)
    assert result.metrics[f"node_duration_s:{bad}"] >= 0.4  # it is slow as well
