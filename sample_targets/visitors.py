"""The visitors: a steady, bounded stream of people who browse, log in, order and pay."""

import logging
import random
import re
import threading
import time

import requests

from sample_targets import catalogue
from sample_targets.layout import Layout

log = logging.getLogger(__name__)

VISITORS = 6
TIMEOUT_S = 6.0
CSRF = re.compile(r'name="csrf" value="([^"]+)"')


class Pace:
    """Lets requests through at a mean rate, however many visitors ask. What waited too long is not made up for."""

    def __init__(self, rate: float) -> None:
        self._gap_s = 1 / rate
        self._next_s = time.monotonic()
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Sleep until it is this caller's turn."""
        with self._lock:
            now_s = time.monotonic()
            turn_s = max(self._next_s, now_s)
            self._next_s = turn_s + random.uniform(0.5, 1.5) * self._gap_s  # noqa: S311 - no secret
        time.sleep(max(0.0, turn_s - now_s))


class Visitor:
    """One person after another, each with a browser of their own."""

    def __init__(self, number: int, base_url: str, ca_file: str, pace: Pace) -> None:
        self._random = random.Random(number)  # noqa: S311 - no secret; the same visitors every time
        self._base_url = base_url
        self._ca_file = ca_file
        self._pace = pace
        self._browser = requests.Session()

    def stay(self) -> None:
        """Visit for ever; what fails is the shop's trouble, the next visit starts over."""
        while True:
            try:
                self._visit()
            except requests.RequestException as error:
                log.info("visit ended: %s", error)
                self._pace.wait()

    def _visit(self) -> None:
        with requests.Session() as self._browser:
            self._browser.trust_env = False
            self._browser.verify = self._ca_file
            self._get("/")
            for _ in range(self._random.randint(4, 10)):
                self._browse()
            if self._random.random() < 0.4:
                self._order()

    def _browse(self) -> None:
        category = self._random.choice(["", *catalogue.CATEGORIES])
        self._get(f"/products?category={category}" if category else "/products")
        # Squared: a few products are everybody's favourites, most are looked at now and then.
        favourite = int(self._random.random() ** 2 * len(catalogue.products())) + 1
        self._get(f"/products/{favourite}")

    def _order(self) -> None:
        self._post("/cart", {"product": str(self._random.randint(1, len(catalogue.products())))})
        form = self._get("/login")
        email = catalogue.visitor_email(self._random.randint(1, catalogue.CUSTOMERS))
        password = catalogue.PASSWORD if self._random.random() < 0.95 else "battery staple"
        self._post("/login", {"email": email, "password": password, "csrf": _csrf(form)})
        cart = self._get("/cart")
        card = "tok_visa" if self._random.random() < 0.95 else "tok_declined"
        self._post("/checkout", {"card": card, "csrf": _csrf(cart)})
        self._post("/logout", {"csrf": _csrf(self._get("/account"))})

    def _get(self, path: str) -> str:
        self._pace.wait()
        return self._browser.get(self._base_url + path, timeout=TIMEOUT_S).text

    def _post(self, path: str, form: dict[str, str]) -> str:
        self._pace.wait()
        return self._browser.post(self._base_url + path, data=form, timeout=TIMEOUT_S).text


def _csrf(page: str) -> str:
    found = CSRF.search(page)
    return found[1] if found else ""


def run_visitors(layout: Layout) -> None:
    """The process of all visitors: most by HTTP, the last by HTTPS."""
    pace = Pace(layout.rate)
    urls = [layout.urls["web"]] * (VISITORS - 1) + [layout.urls["https"]]
    threads = [
        threading.Thread(target=Visitor(number, url, str(layout.ca_file), pace).stay, daemon=True)
        for number, url in enumerate(urls)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
