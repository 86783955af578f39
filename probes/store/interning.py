"""Which small number stands for a (check, location) or for an error text? Remembered, and right after a rollback."""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, Select, select, tuple_

from probes.result import Result
from probes.store.database import upsert
from probes.store.messages import Allowance, mask, normalise
from probes.store.tables import error, series

SeriesKey = tuple[str, str]
ErrorKey = tuple[str, str]

MAX_REMEMBERED = 50_000
_CHUNK = 400


class Interning:
    """Ids of series and errors. What a transaction learnt counts only after `keep()`; `drop()` forgets it."""

    def __init__(self) -> None:
        self._series: dict[SeriesKey, int] = {}
        self._errors: dict[ErrorKey, int] = {}
        self._new_series: dict[SeriesKey, int] = {}
        self._new_errors: dict[ErrorKey, int] = {}
        self._allowance = Allowance()

    def series_ids(self, connection: Connection, keys: Iterable[SeriesKey]) -> dict[SeriesKey, int]:
        """The id of each (check, location), new ones inserted."""
        wanted = dict.fromkeys(keys)
        missing = [key for key in wanted if key not in self._series]
        for start in range(0, len(missing), _CHUNK):
            self._new_series.update(_find_or_add_series(connection, missing[start : start + _CHUNK]))
        return {key: self._series.get(key) or self._new_series[key] for key in wanted}

    def error_ids(self, connection: Connection, results: Sequence[Result]) -> list[int | None]:
        """The id of each result's reason and message, new ones inserted; None where there is neither."""
        said: dict[tuple[str, str, str], int] = {}
        return [
            self._error_id(connection, result, said) if result.reason or result.message else None for result in results
        ]

    def keep(self) -> None:
        """The transaction was committed."""
        if len(self._errors) > MAX_REMEMBERED:
            self._errors.clear()
        self._series.update(self._new_series)
        self._errors.update(self._new_errors)
        self.drop()

    def drop(self) -> None:
        """The transaction was rolled back: ids it gave out may be given to others."""
        self._new_series.clear()
        self._new_errors.clear()

    def _error_id(self, connection: Connection, result: Result, said: dict[tuple[str, str, str], int]) -> int:
        reason = str(result.reason or "")
        as_it_came = (result.check_id, reason, result.message)
        if as_it_came not in said:
            key = (reason, normalise(result.message))
            found = self._find_error(connection, key)
            if found is None and not self._allowance.take(result.check_id, result.slot_ms):
                key = (reason, mask(key[1]))
                found = self._find_error(connection, key)
            said[as_it_came] = found or self._add_error(connection, key)
        return said[as_it_came]

    def _find_error(self, connection: Connection, key: ErrorKey) -> int | None:
        found = self._errors.get(key) or self._new_errors.get(key)
        if found is None:
            found = connection.scalar(_select_error(key))
            if found is not None:
                self._new_errors[key] = found
        return found

    def _add_error(self, connection: Connection, key: ErrorKey) -> int:
        insert = upsert(connection)(error).values(reason=key[0], message=key[1]).on_conflict_do_nothing()
        connection.execute(insert)
        found: int = connection.execute(_select_error(key)).scalar_one()
        self._new_errors[key] = found
        return found


def _find_or_add_series(connection: Connection, keys: Sequence[SeriesKey]) -> dict[SeriesKey, int]:
    insert = upsert(connection)(series).on_conflict_do_nothing()
    found = _find_series(connection, keys)
    missing = [
        {"check_id": check_id, "location": location} for check_id, location in keys if (check_id, location) not in found
    ]
    if missing:
        connection.execute(insert, missing)
        found = _find_series(connection, keys)
    return found


def _find_series(connection: Connection, keys: Sequence[SeriesKey]) -> dict[SeriesKey, int]:
    query = select(series).where(tuple_(series.c.check_id, series.c.location).in_(keys))
    return {(row.check_id, row.location): row.id for row in connection.execute(query)}


def _select_error(key: ErrorKey) -> Select[int]:
    return select(error.c.id).where(error.c.reason == key[0], error.c.message == key[1])
