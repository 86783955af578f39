"""Buying: an order is reserved in the database, paid at the third party, and undone where the payment fails."""

import json
import secrets
import sqlite3
import time
from dataclasses import dataclass

import requests

from sample_targets.database import Database
from sample_targets.layout import HOST, PAYMENT_KEY

PAYMENT_TIMEOUT_S = 3.0


class PaymentFailed(Exception):
    """The payment service could not be asked, or broke."""


class CardDeclined(Exception):
    """The payment service refused the card."""


class OutOfStock(Exception):
    """There is not enough left of a product."""


@dataclass(frozen=True, slots=True)
class Purchase:
    """One order."""

    id: int
    amount_cents: int
    state: str


class Till:
    """Where orders are made and paid."""

    def __init__(self, database: Database, payments_port: int) -> None:
        self._database = database
        self._payments = f"http://{HOST}:{payments_port}"
        self._http = requests.Session()
        self._http.trust_env = False  # a proxy for the outside world has no business on loopback

    def buy(self, user_id: int, cart: dict[str, int], card: str) -> Purchase:
        """Order and pay the cart. Raises OutOfStock, CardDeclined or PaymentFailed; nothing is kept reserved then."""
        with self._database.transaction() as connection:
            order = _reserve(connection, user_id, cart)
        try:
            charge = self._charge(order, card)
        except (PaymentFailed, CardDeclined):
            with self._database.transaction() as connection:
                _cancel(connection, order, cart)
            raise
        with self._database.transaction() as connection:
            connection.execute("UPDATE purchase SET state = 'paid', charge = ? WHERE id = ?", (charge, order.id))
        return Purchase(order.id, order.amount_cents, "paid")

    def orders_of(self, user_id: int) -> list[Purchase]:
        """The last orders of a user, newest first."""
        with self._database.connect() as connection:
            rows = connection.execute(
                "SELECT id, amount_cents, state FROM purchase WHERE user_id = ? ORDER BY id DESC LIMIT 20", (user_id,)
            ).fetchall()
        return [Purchase(row["id"], row["amount_cents"], row["state"]) for row in rows]

    def ping(self) -> None:
        """Raises PaymentFailed where the payment service does not answer."""
        try:
            self._http.get(f"{self._payments}/v1/ping", timeout=1.0).raise_for_status()
        except requests.RequestException as error:
            raise PaymentFailed(_explain(error)) from error

    def _charge(self, order: Purchase, card: str) -> str:
        try:
            answer = self._http.post(
                f"{self._payments}/v1/charges",
                json={"amount_cents": order.amount_cents, "currency": "EUR", "card": card},
                headers={"Authorization": f"Bearer {PAYMENT_KEY}", "Idempotency-Key": secrets.token_hex(12)},
                timeout=PAYMENT_TIMEOUT_S,
            )
            if answer.status_code == 402:
                raise CardDeclined
            answer.raise_for_status()
            return str(answer.json()["id"])
        except requests.RequestException as error:
            raise PaymentFailed(_explain(error)) from error


def _reserve(connection: sqlite3.Connection, user_id: int, cart: dict[str, int]) -> Purchase:
    amount_cents = 0
    for product, count in cart.items():
        row = connection.execute("SELECT price_cents FROM product WHERE id = ?", (product,)).fetchone()
        taken = connection.execute(
            "UPDATE product SET stock = stock - ? WHERE id = ? AND stock >= ?", (count, product, count)
        )
        if row is None or taken.rowcount != 1:
            raise OutOfStock(product)
        amount_cents += row["price_cents"] * count
    cursor = connection.execute(
        "INSERT INTO purchase (user_id, items, amount_cents, state, created) VALUES (?, ?, ?, 'reserved', ?)",
        (user_id, json.dumps(cart), amount_cents, int(time.time())),
    )
    return Purchase(cursor.lastrowid or 0, amount_cents, "reserved")


def _cancel(connection: sqlite3.Connection, order: Purchase, cart: dict[str, int]) -> None:
    connection.execute("UPDATE purchase SET state = 'cancelled' WHERE id = ?", (order.id,))
    connection.executemany(
        "UPDATE product SET stock = stock + ? WHERE id = ?", [(count, product) for product, count in cart.items()]
    )


def _explain(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout):
        return "timeout"
    return "connection failed" if isinstance(error, requests.ConnectionError) else str(error)
