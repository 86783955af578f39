"""What the cache holds: keys with an end, a limit on memory, and the counters an operator reads."""

import time
from collections import OrderedDict
from dataclasses import dataclass

# What one entry costs beside its bytes: the dictionary slot and three objects.
ENTRY_OVERHEAD_BYTES = 200


@dataclass(slots=True)
class Entry:
    """A value and the monotonic time at which it ends."""

    value: bytes
    ends_s: float | None = None


@dataclass(slots=True)
class Counters:
    """What happened since the start or the last CONFIG RESETSTAT."""

    keyspace_hits: int = 0
    keyspace_misses: int = 0
    evicted_keys: int = 0
    expired_keys: int = 0
    rejected_connections: int = 0
    total_connections_received: int = 0
    total_commands_processed: int = 0


class Keyspace:
    """Keys in order of their last use; the least recently used go first when memory runs out (allkeys-lru)."""

    def __init__(self, base_bytes: int, max_bytes: int) -> None:
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        self._base_bytes = base_bytes
        self._data_bytes = 0
        self.max_bytes = max_bytes
        self.counters = Counters()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def used_bytes(self) -> int:
        """Memory in use: the bare process and what it holds."""
        return self._base_bytes + self._data_bytes

    @property
    def expiring(self) -> int:
        """How many keys have an end."""
        return sum(entry.ends_s is not None for entry in self._entries.values())

    def get(self, key: bytes) -> bytes | None:
        """The value, counted as hit or miss."""
        entry = self._find(key)
        if entry is None:
            self.counters.keyspace_misses += 1
            return None
        self.counters.keyspace_hits += 1
        self._entries.move_to_end(key)
        return entry.value

    def set(self, key: bytes, value: bytes, ttl_s: float | None = None) -> None:
        """Keep the value, then make room if it was one too many."""
        self.delete(key)
        self._entries[key] = Entry(value, None if ttl_s is None else time.monotonic() + ttl_s)
        self._data_bytes += _size(key, value)
        self.evict()

    def delete(self, key: bytes) -> bool:
        """Forget the key; was it there?"""
        entry = self._entries.pop(key, None)
        if entry is None:
            return False
        self._data_bytes -= _size(key, entry.value)
        return True

    def exists(self, key: bytes) -> bool:
        """Is the key there? Not counted: only reads of values say how well the cache serves."""
        return self._find(key) is not None

    def expire(self, key: bytes, ttl_s: float) -> bool:
        """Give the key an end; is it there?"""
        entry = self._find(key)
        if entry is None:
            return False
        entry.ends_s = time.monotonic() + ttl_s
        return True

    def ttl_s(self, key: bytes) -> float | None:
        """Seconds left; -1 without an end, None without the key."""
        entry = self._find(key)
        if entry is None:
            return None
        return -1 if entry.ends_s is None else entry.ends_s - time.monotonic()

    def names(self) -> list[bytes]:
        """All keys that have not ended."""
        self.sweep()
        return list(self._entries)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._data_bytes = 0

    def evict(self) -> None:
        """Drop the least recently used keys until memory fits the limit."""
        while self.used_bytes > self.max_bytes and self._entries:
            self.delete(next(iter(self._entries)))
            self.counters.evicted_keys += 1

    def sweep(self) -> None:
        """Drop the keys whose end has passed."""
        for key in list(self._entries):
            self._find(key)

    def _find(self, key: bytes) -> Entry | None:
        entry = self._entries.get(key)
        if entry is not None and entry.ends_s is not None and entry.ends_s <= time.monotonic():
            self.delete(key)
            self.counters.expired_keys += 1
            return None
        return entry


def _size(key: bytes, value: bytes) -> int:
    return len(key) + len(value) + ENTRY_OVERHEAD_BYTES
