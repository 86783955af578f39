"""How many rows go into an embedded store at once: a few dozen a statement.

A statement a row costs twice as much, and lets go of the interpreter and takes it again with each row: the loop that
probes and the thread that stores would wake each other thousands of times a second.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from probes.store.database import Link, driver_of

_TOGETHER = (64, 8, 1)


def insert_rows(link: Link, head: str, tail: str, rows: Sequence[Sequence[Any]]) -> int:
    """`head VALUES (…), (…) tail` for all rows, in their order; the number of rows that were inserted or changed."""
    driver, count, start = driver_of(link), 0, 0
    for size in _TOGETHER:
        while len(rows) - start >= size:
            values = tuple(chain.from_iterable(rows[start : start + size]))
            count += driver.execute(_statement(head, tail, len(rows[0]), size), values).rowcount
            start += size
    return count


@lru_cache(maxsize=16)
def _statement(head: str, tail: str, columns: int, rows: int) -> str:
    row = f"({','.join('?' * columns)})"
    return f"{head} VALUES {','.join([row] * rows)} {tail}"
