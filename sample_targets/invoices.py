"""The background job: every few seconds it writes invoices for paid orders, tidies up, and says it is alive."""

import logging
import os
import sqlite3
import time

import requests

from sample_targets.database import Database
from sample_targets.layout import Layout

log = logging.getLogger(__name__)

PERIOD_S = 3.0
HEARTBEAT_EVERY_S = 10.0
KEPT_PURCHASES = 2000
KEPT_INVOICES = 200
LOW_STOCK = 100
RESTOCKED = 500


def run_invoices(layout: Layout) -> None:
    """The process of the job."""
    database = Database(layout.database)
    heartbeat = Heartbeat(os.environ.get("SHOP_HEARTBEAT_URL"))
    while True:
        try:
            written = write_invoices(database, layout)
            tidy(database, layout)
        except (sqlite3.Error, OSError) as error:
            log.error("invoices failed: %s", error)
        else:
            log.info("invoices written: %d", written)
            heartbeat.beat(written)
        time.sleep(PERIOD_S)


class Heartbeat:
    """Tells a URL, if there is one, that the job succeeded: at most every HEARTBEAT_EVERY_S."""

    def __init__(self, url: str | None) -> None:
        self._url = url
        self._next_s = 0.0
        self._http = requests.Session()
        self._http.trust_env = False

    def beat(self, written: int) -> None:
        """Say so now, if it is time."""
        if not self._url or time.monotonic() < self._next_s:
            return
        # Half a period early rather than one late: the job only comes by every PERIOD_S.
        self._next_s = time.monotonic() + HEARTBEAT_EVERY_S - PERIOD_S / 2
        try:
            self._http.post(self._url, data=f"invoices written: {written}", timeout=3.0).raise_for_status()
        except requests.RequestException as error:
            log.warning("heartbeat not taken: %s", error)


def write_invoices(database: Database, layout: Layout) -> int:
    """One text file for every paid order without one; how many were written."""
    folder = layout.data / "invoices"
    folder.mkdir(exist_ok=True)
    with database.transaction() as connection:
        rows = connection.execute(
            "SELECT purchase.id, amount_cents, email FROM purchase JOIN user ON user.id = user_id"
            " WHERE state = 'paid' AND invoice IS NULL LIMIT 100"
        ).fetchall()
        for row in rows:
            name = f"invoice-{row['id']:08d}.txt"
            (folder / name).write_text(f"Invoice {row['id']}\n{row['email']}\n{row['amount_cents'] / 100:.2f} EUR\n")
            connection.execute("UPDATE purchase SET invoice = ? WHERE id = ?", (name, row["id"]))
    return len(rows)


def tidy(database: Database, layout: Layout) -> None:
    """Keep a shop that runs for weeks small, and its shelves filled."""
    now = int(time.time())
    with database.transaction() as connection:
        connection.execute("DELETE FROM purchase WHERE id <= (SELECT max(id) FROM purchase) - ?", (KEPT_PURCHASES,))
        connection.execute("DELETE FROM session WHERE ends < ?", (now,))
        connection.execute("UPDATE product SET stock = ? WHERE stock < ?", (RESTOCKED, LOW_STOCK))
    for old in sorted((layout.data / "invoices").glob("invoice-*.txt"))[:-KEPT_INVOICES]:
        old.unlink(missing_ok=True)
