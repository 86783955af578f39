"""How does one text of SQL run on whichever connection there is? With `:name` for each value, on both databases alike.

For the statements of a worker, which has no SQLAlchemy where it can do without; who composes statements takes Core. A
value that is a list stands after IN: `WHERE id IN :ids`.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from probes.store.database import Link
from probes.store.embedded import Driver

if TYPE_CHECKING:
    from sqlalchemy import TextClause


def rows(link: Link, statement: str, **values: Any) -> Sequence[Any]:
    """All rows that a statement gives, as tuples."""
    said, given = _spread(statement, values)
    if isinstance(link, Driver):
        return link.execute(said, given).fetchall()
    return link.execute(_text(said), given).fetchall()


def scalar(link: Link, statement: str, **values: Any) -> Any:
    """The first value of the first row; None where there is no row."""
    found = rows(link, statement, **values)
    return found[0][0] if found else None


def change(link: Link, statement: str, *values: Mapping[str, Any]) -> int:
    """Run a statement once for each of the values, or once without any; the number of rows inserted or changed."""
    if isinstance(link, Driver):
        return (link.executemany(statement, values) if values else link.execute(statement)).rowcount
    return link.execute(_text(statement), values or None, execution_options={"preserve_rowcount": True}).rowcount


def inserting(table: str, columns: Sequence[str]) -> str:
    """The statement that inserts a row, and leaves one of the same key as it is."""
    names, values = ", ".join(columns), ", ".join(f":{name}" for name in columns)
    return f"INSERT INTO {table} ({names}) VALUES ({values}) ON CONFLICT DO NOTHING"  # noqa: S608  (our own words)


def putting(table: str, columns: Sequence[str]) -> str:
    """The statement that inserts a row, or replaces the one of the same key; the first column is the key."""
    fresh = ", ".join(f"{name} = excluded.{name}" for name in columns[1:])
    begin = inserting(table, columns).removesuffix("DO NOTHING")
    return f"{begin}({columns[0]}) DO UPDATE SET {fresh}"


def _spread(statement: str, values: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    given: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, list):
            each = {f"{name}_{number}": one for number, one in enumerate(value)}
            statement = re.sub(rf":{name}\b", f"(:{', :'.join(each)})" if each else "(NULL)", statement)
            given |= each
        else:
            given[name] = value
    return statement, given


@lru_cache(maxsize=256)
def _text(statement: str) -> "TextClause":
    from sqlalchemy import text

    return text(statement)
