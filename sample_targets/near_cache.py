"""The app's way to the cache server: read through, counted, and never the reason for a failing page."""

import json
import random
import threading
from collections.abc import Callable
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from sample_targets.layout import HOST

TIMEOUT_S = 0.5


class NearCache:
    """JSON values by key. When the cache server is gone the shop asks the database instead."""

    def __init__(self, port: int) -> None:
        self._client = redis.Redis(
            host=HOST,
            port=port,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        self._lock = threading.Lock()
        self.hits = 0
        self.misses = 0

    def read(self, key: str, ttl_s: int, load: Callable[[], Any]) -> Any:
        """The cached value, else the loaded one, which is then cached unless it is None."""
        text = self._get(key)
        with self._lock:
            self.hits += text is not None
            self.misses += text is None
        if text is not None:
            return json.loads(text)
        value = load()
        if value is not None:
            self.write(key, ttl_s, value)
        return value

    def write(self, key: str, ttl_s: int, value: Any) -> None:
        """Cache a value."""
        # Spread the ends, so that what was cached together does not expire together.
        spread_s = round(ttl_s * random.uniform(0.8, 1.2))  # noqa: S311 - no secret
        try:
            self._client.setex(key, spread_s, json.dumps(value))
        except redis.RedisError:
            return

    def forget(self, key: str) -> None:
        """Drop a value that changed."""
        try:
            self._client.delete(key)
        except redis.RedisError:
            return

    def ping(self) -> None:
        """Raises redis.RedisError where the cache server does not answer."""
        self._client.ping()

    def _get(self, key: str) -> bytes | None:
        try:
            found = self._client.get(key)
        except redis.RedisError:
            return None
        return found if isinstance(found, bytes) else None
