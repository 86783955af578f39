"""Who is visiting: sessions with cart and CSRF token in the database, read through the cache."""

import hashlib
import json
import secrets
import time
from dataclasses import dataclass, replace
from typing import Any

from sample_targets import catalogue
from sample_targets.database import Database
from sample_targets.near_cache import NearCache

LIFE_S = 3600
CACHE_S = 60


@dataclass(frozen=True, slots=True)
class Session:
    """One visitor's session. `token` is the cookie or bearer token; only its hash is stored."""

    token: str
    user_id: int | None
    csrf: str
    cart: dict[str, int]
    ends: int


class Sessions:
    """All sessions."""

    def __init__(self, database: Database, cache: NearCache) -> None:
        self._database = database
        self._cache = cache

    def start(self, user_id: int | None = None, cart: dict[str, int] | None = None) -> Session:
        """A new session under a new token."""
        ends = int(time.time()) + LIFE_S
        session = Session(secrets.token_urlsafe(24), user_id, secrets.token_urlsafe(18), cart or {}, ends)
        row = (_hash(session.token), user_id, session.csrf, json.dumps(session.cart), ends)
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO session (token_hash, user_id, csrf, cart, ends) VALUES (?, ?, ?, ?, ?)", row
            )
        self._remember(session)
        return session

    def find(self, token: str | None) -> Session | None:
        """The session of that token, if there is one."""
        if not token:
            return None
        row = self._cache.read(_key(token), CACHE_S, lambda: self._load(token))
        if row is None or row["ends"] < time.time():
            return None
        return Session(token, row["user_id"], row["csrf"], json.loads(row["cart"]), row["ends"])

    def keep_cart(self, session: Session, cart: dict[str, int]) -> None:
        """Store another cart."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE session SET cart = ? WHERE token_hash = ?", (json.dumps(cart), _hash(session.token))
            )
        self._remember(replace(session, cart=cart))

    def end(self, session: Session) -> None:
        """Forget the session: its token is worth nothing from now on."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM session WHERE token_hash = ?", (_hash(session.token),))
        self._cache.forget(_key(session.token))

    def log_in(self, email: str, password: str, before: Session | None) -> Session | None:
        """A session of that user, taking over the cart and replacing the token of the one before; None if refused."""
        with self._database.connect() as connection:
            user = connection.execute("SELECT id, salt, password FROM user WHERE email = ?", (email,)).fetchone()
        if user is None or not catalogue.is_password(password, user["salt"], user["password"]):
            return None
        if before is not None:
            self.end(before)
        return self.start(user["id"], before.cart if before else None)

    def _remember(self, session: Session) -> None:
        row = {"user_id": session.user_id, "csrf": session.csrf, "cart": json.dumps(session.cart), "ends": session.ends}
        self._cache.write(_key(session.token), CACHE_S, row)

    def _load(self, token: str) -> dict[str, Any] | None:
        with self._database.connect() as connection:
            row = connection.execute(
                "SELECT user_id, csrf, cart, ends FROM session WHERE token_hash = ?", (_hash(token),)
            ).fetchone()
        return None if row is None else dict(row)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _key(token: str) -> str:
    return f"session:{_hash(token)[:32]}"
