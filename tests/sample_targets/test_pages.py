"""What visitors and programs can do in a whole shop."""

import re
from typing import TYPE_CHECKING

import pytest
import requests

if TYPE_CHECKING:
    from conftest import RunningShop


def csrf_of(page: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found is not None, page
    return found[1]


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/", 200, "Welcome"),
        ("/products", 200, "left"),
        ("/products?category=lamps", 200, "Reading lamp"),
        ("/products/1", 200, "Add to cart"),
        ("/products/999", 404, "no such product"),
        ("/products/99999999999999999999", 404, "no such product"),
        ("/nowhere", 404, "Not Found"),
        ("/static/shop.css", 200, "font"),
    ],
)
def test_page(shop: "RunningShop", path: str, status: int, text: str) -> None:
    answer = shop.get("web", path)
    assert (answer.status_code, text in answer.text) == (status, True)


def test_a_visitor_logs_in_orders_pays_and_logs_out(shop: "RunningShop") -> None:
    web = shop.url("web", "")
    with requests.Session() as browser:
        browser.post(f"{web}/cart", data={"product": "1"}, timeout=8)
        form = browser.get(f"{web}/login", timeout=8)
        before = browser.cookies["shop_session"]
        login = {"email": "demo@shop.example", "password": "correct horse", "csrf": csrf_of(form.text)}
        account = browser.post(f"{web}/login", data=login, timeout=8)
        assert "Welcome, Demo" in account.text
        assert browser.cookies["shop_session"] != before, "a login hands out a new session"
        cart = browser.get(f"{web}/cart", timeout=8)
        assert "1 x Reading lamp" in cart.text, "the cart survives the login"
        paid = browser.post(f"{web}/checkout", data={"csrf": csrf_of(cart.text), "card": "tok_visa"}, timeout=8)
        assert (paid.status_code, "paid" in paid.text) == (200, True)
        old = browser.cookies["shop_session"]
        account = browser.get(f"{web}/account", timeout=8)
        browser.post(f"{web}/logout", data={"csrf": csrf_of(account.text)}, timeout=8)
    revoked = requests.get(f"{web}/account", cookies={"shop_session": old}, timeout=8, allow_redirects=False)
    assert revoked.headers["location"] == "/login"


def test_checkout_without_the_payment_service_fails_and_keeps_the_cart(shop: "RunningShop") -> None:
    web = shop.url("web", "")
    with requests.Session() as browser:
        form = browser.get(f"{web}/login", timeout=8)
        login = {"email": "demo@shop.example", "password": "correct horse", "csrf": csrf_of(form.text)}
        browser.post(f"{web}/login", data=login, timeout=8)
        browser.post(f"{web}/cart", data={"product": "2"}, timeout=8)
        cart = browser.get(f"{web}/cart", timeout=8)
        shop.break_("pay_down")
        try:
            order = {"csrf": csrf_of(cart.text), "card": "tok_visa"}
            failed = browser.post(f"{web}/checkout", data=order, timeout=8)
        finally:
            shop.mend("pay_down")
        assert (failed.status_code, "payments: connection failed" in failed.text) == (503, True)
        assert "1 x" in browser.get(f"{web}/cart", timeout=8).text


@pytest.mark.parametrize(
    ("change", "status"), [({"csrf": "forgedé"}, 403), ({"password": "wrong"}, 401), ({"email": "nobody"}, 401)]
)
def test_login_is_refused(shop: "RunningShop", change: dict[str, str], status: int) -> None:
    web = shop.url("web", "")
    with requests.Session() as browser:
        form = browser.get(f"{web}/login", timeout=8)
        login = {"email": "demo@shop.example", "password": "correct horse", "csrf": csrf_of(form.text), **change}
        assert browser.post(f"{web}/login", data=login, timeout=8).status_code == status


def test_the_session_cookie_is_kept_from_scripts_and_plain_http(shop: "RunningShop") -> None:
    plain = shop.get("web", "/login").headers["set-cookie"]
    secure = requests.get(f"{shop.state['urls']['https']}/login", verify=shop.state["ca_file"], timeout=8)
    assert ("HttpOnly" in plain, "SameSite=lax" in plain, "Secure" in plain) == (True, True, False)
    assert "Secure" in secure.headers["set-cookie"]


def test_a_token_opens_the_account_and_nothing_else_does(shop: "RunningShop") -> None:
    token = shop.log_in().json()["token"]
    url = shop.url("web", "/api/account")
    assert requests.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=8).json()["name"] == "Demo"
    assert requests.get(url, headers={"Authorization": "Bearer nonsense"}, timeout=8).status_code == 401
    assert requests.get(url, timeout=8).status_code == 401


def test_health_names_its_components(shop: "RunningShop") -> None:
    health = shop.get("app-2", "/health").json()
    assert health["status"] == "UP"
    assert {name: part["status"] for name, part in health["components"].items()} == {
        "db": "UP",
        "cache": "UP",
        "payments": "UP",
    }


def test_metrics_are_prometheus_text(shop: "RunningShop") -> None:
    text = shop.get("app-1", "/metrics").text
    assert re.search(r'^http_requests_total\{route="products",code="200"\} [1-9]\d*$', text, re.M)
    assert re.search(r"^shop_cache_hits_total [1-9]\d*$", text, re.M)
    assert re.search(r"^shop_workers_max 16$", text, re.M)
    assert re.search(r'^http_request_duration_seconds_sum\{route="products"\} \d', text, re.M)


def test_the_payment_service_charges_once_for_one_key(shop: "RunningShop") -> None:
    url = shop.url("payments", "/v1/charges")
    order = {"amount_cents": 100, "currency": "EUR", "card": "tok_visa"}
    headers = {"Authorization": "Bearer sk_test_sample_shop", "Idempotency-Key": "once"}
    first, second = (requests.post(url, json=order, headers=headers, timeout=8).json() for _ in range(2))
    assert first["id"] == second["id"]
    assert requests.post(url, json=order, timeout=8).status_code == 401
