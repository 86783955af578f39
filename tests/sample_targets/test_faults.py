"""Every fault is real while it lasts, spares what it should spare, and is over soon after it was mended."""

import contextlib
import sqlite3
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
import requests

if TYPE_CHECKING:
    from conftest import RunningShop

Break = Callable[[str], None]
Eventually = Callable[[float, Callable[[], bool]], None]
MENDED_WITHIN_S = 2.5


def test_without_a_database_everything_that_needs_it_names_it(
    shop: "RunningShop", broken: Break, eventually: Eventually
) -> None:
    broken("db_down")
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        sqlite3.connect(f"file:{shop.state['database']}?mode=ro", uri=True)
    for listener in ("web", "lb", "app-1", "app-2"):
        answer = shop.get(listener, "/products")
        assert (answer.status_code, "database: unable to open" in answer.text) == (503, True), listener
    assert shop.log_in().status_code == 503
    health = shop.get("app-1", "/health")
    assert (health.status_code, health.json()["components"]["db"]["status"]) == (503, "DOWN")
    eventually(3, lambda: shop.status_of("lb", "/lb/status") == 503)
    assert shop.status_of("payments", "/v1/ping") == 200
    shop.mend("db_down")
    assert shop.status_of("web", "/products") == 200
    assert shop.log_in().status_code == 200
    eventually(MENDED_WITHIN_S, lambda: shop.status_of("lb", "/lb/status") == 200)


def test_a_locked_database_makes_readers_wait(shop: "RunningShop", broken: Break, eventually: Eventually) -> None:
    broken("slow_db")
    eventually(6, lambda: shop.get("web", "/products").elapsed.total_seconds() > 0.6)
    assert shop.status_of("web", "/products") == 200
    address = f"file:{shop.state['database']}?mode=ro"

    def is_locked() -> bool:
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=0)) as connection:
            try:
                connection.execute("SELECT count(*) FROM product")
            except sqlite3.OperationalError:
                return True
            return False

    eventually(4, is_locked)
    shop.mend("slow_db")
    eventually(4, lambda: all(shop.get("web", "/products").elapsed.total_seconds() < 0.6 for _ in range(5)))


def test_a_broken_release_answers_500_and_reports_its_health(shop: "RunningShop", broken: Break) -> None:
    broken("error")
    assert [shop.status_of(listener, "/products") for listener in ("web", "lb", "app-1", "app-2")] == [500] * 4
    assert shop.status_of("app-1", "/health") == 200
    shop.mend("error")
    assert shop.status_of("web", "/products") == 200


@pytest.mark.slow
def test_a_hanging_app_accepts_and_never_answers(shop: "RunningShop", broken: Break, eventually: Eventually) -> None:
    broken("hang")
    for path in ("/products", "/health"):
        with pytest.raises(requests.ReadTimeout):
            shop.get("app-1", path, timeout_s=1.0)
    eventually(8, lambda: shop.status_of("lb", "/lb/status") == 503)
    answer = shop.get("web", "/products")
    assert (answer.status_code, "app-1: health check: no answer" in answer.text) == (503, True)
    shop.mend("hang")
    eventually(MENDED_WITHIN_S, lambda: shop.status_of("web", "/products") == 200)


@pytest.mark.slow
def test_a_cold_cache_loses_its_hit_rate_and_gets_it_back(shop: "RunningShop", broken: Break) -> None:
    broken("cold_cache")
    assert shop.hit_ratio_over(2) < 0.5
    with shop.cache() as cache:
        assert cache.info("stats")["evicted_keys"] > 0
    assert shop.status_of("web", "/products") == 200
    shop.mend("cold_cache")
    time.sleep(6)
    assert shop.hit_ratio_over(4) > 0.9


def test_an_expired_certificate_is_refused_for_its_age_alone(shop: "RunningShop", broken: Break) -> None:
    url = shop.state["urls"]["https"]
    assert requests.get(url, verify=shop.state["ca_file"], timeout=8).status_code == 200
    with pytest.raises(requests.exceptions.SSLError, match=r"self-signed|unable to get local issuer"):
        requests.get(url, timeout=8)
    broken("bad_cert")
    with pytest.raises(requests.exceptions.SSLError, match="certificate has expired"):
        requests.get(url, verify=shop.state["ca_file"], timeout=8)
    assert shop.status_of("web", "/products") == 200
    shop.mend("bad_cert")
    assert requests.get(url, verify=shop.state["ca_file"], timeout=8).status_code == 200


def test_one_bad_node_is_taken_out_and_the_site_stays_up(
    shop: "RunningShop", broken: Break, eventually: Eventually
) -> None:
    broken("one_bad_node")
    assert [shop.status_of("web", "/products") for _ in range(6)] == [200] * 6
    bad = shop.get("app-2", "/products")
    assert (bad.status_code, bad.elapsed.total_seconds() > 0.3) == (500, True)
    assert shop.status_of("app-2", "/health") == 500
    assert shop.status_of("app-1", "/health") == 200
    eventually(4, lambda: shop.get("lb", "/lb/status").json()["nodes"]["app-2"]["state"] == "DOWN")
    assert shop.status_of("lb", "/lb/status") == 200
    assert {shop.get("web", "/products").headers["x-served-by"] for _ in range(4)} == {"app-1"}
    shop.mend("one_bad_node")
    eventually(MENDED_WITHIN_S, lambda: shop.get("lb", "/lb/status").json()["nodes_up"] == 2)


def test_a_broken_login_breaks_nothing_else(shop: "RunningShop", broken: Break) -> None:
    broken("login_broken")
    assert shop.log_in().status_code == 500
    assert [shop.status_of("web", path) for path in ("/", "/products", "/login")] == [200] * 3
    shop.mend("login_broken")
    assert shop.log_in().status_code == 200


def test_without_the_payment_service_its_port_is_closed_and_browsing_works(
    shop: "RunningShop", broken: Break, eventually: Eventually
) -> None:
    broken("pay_down")
    with pytest.raises(requests.ConnectionError, match="refused"):
        shop.get("payments", "/v1/ping")
    health = shop.get("app-1", "/health")
    assert (health.status_code, health.json()["components"]["payments"]["status"]) == (200, "DOWN")
    assert shop.status_of("web", "/products") == 200
    assert shop.status_of("lb", "/lb/status") == 200
    shop.mend("pay_down")
    assert shop.status_of("payments", "/v1/ping") == 200


def test_two_faults_at_once_are_mended_together(shop: "RunningShop", broken: Break) -> None:
    broken("db_down")
    broken("slow_db")
    assert shop.read_state()["faults"] == ["db_down", "slow_db"]
    shop.mend()
    assert shop.read_state()["faults"] == []
    assert shop.status_of("web", "/products") == 200


def test_an_unknown_fault_is_refused_with_the_names_of_all(shop: "RunningShop") -> None:
    done = shop.command("break", "coffee")
    assert done.returncode == 2
    assert "unknown fault 'coffee'" in done.stderr
    assert all(name in done.stderr for name in ("db_down", "one_bad_node", "pay_down"))
    assert shop.read_state()["faults"] == []
