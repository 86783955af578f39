"""Which small number stands for a (check, location) or for an error text? Remembered, and right after a rollback."""

from collections.abc import Iterable, Sequence

from probes.result import Result
from probes.store.database import Link
from probes.store.messages import Allowance, mask, normalise
from probes.store.statement import change, inserting, rows, scalar

SeriesKey = tuple[str, str]
ErrorKey = tuple[str, str]

MAX_REMEMBERED = 50_000
_CHUNK = 400

_ERROR = "SELECT id FROM error WHERE reason = :reason AND message = :message"
_ADD_ERROR = inserting("error", ("reason", "message"))
_SERIES = "SELECT check_id, id FROM series WHERE location = :location AND check_id IN :check_ids"
_ADD_SERIES = inserting("series", ("check_id", "location"))


class Interning:
    """Ids of series and errors. What a transaction learnt counts only after `keep()`; `drop()` forgets it."""

    def __init__(self) -> None:
        self._series: dict[SeriesKey, int] = {}
        self._errors: dict[ErrorKey, int] = {}
        self._new_series: dict[SeriesKey, int] = {}
        self._new_errors: dict[ErrorKey, int] = {}
        self._allowance = Allowance()

    def series_ids(self, link: Link, keys: Iterable[SeriesKey]) -> dict[SeriesKey, int]:
        """The id of each (check, location), new ones inserted."""
        wanted = dict.fromkeys(keys)
        missing = [key for key in wanted if key not in self._series]
        for start in range(0, len(missing), _CHUNK):
            self._new_series.update(_find_or_add_series(link, missing[start : start + _CHUNK]))
        return {key: self._series.get(key) or self._new_series[key] for key in wanted}

    def error_ids(self, link: Link, results: Sequence[Result]) -> list[int | None]:
        """The id of each result's reason and message, new ones inserted; None where there is neither."""
        said: dict[tuple[str, str, str], int] = {}
        return [self._error_id(link, result, said) if result.reason or result.message else None for result in results]

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

    def _error_id(self, link: Link, result: Result, said: dict[tuple[str, str, str], int]) -> int:
        reason = str(result.reason or "")
        as_it_came = (result.check_id, reason, result.message)
        if as_it_came not in said:
            key = (reason, normalise(result.message))
            found = self._find_error(link, key)
            if found is None and not self._allowance.take(result.check_id, result.slot_ms):
                key = (reason, mask(key[1]))
                found = self._find_error(link, key)
            said[as_it_came] = found or self._add_error(link, key)
        return said[as_it_came]

    def _find_error(self, link: Link, key: ErrorKey) -> int | None:
        found = self._errors.get(key) or self._new_errors.get(key)
        if found is None:
            found = scalar(link, _ERROR, reason=key[0], message=key[1])
            if found is not None:
                self._new_errors[key] = found
        return found

    def _add_error(self, link: Link, key: ErrorKey) -> int:
        change(link, _ADD_ERROR, {"reason": key[0], "message": key[1]})
        found: int = scalar(link, _ERROR, reason=key[0], message=key[1])
        self._new_errors[key] = found
        return found


def _find_or_add_series(link: Link, keys: Sequence[SeriesKey]) -> dict[SeriesKey, int]:
    found = _find_series(link, keys)
    missing = [
        {"check_id": check_id, "location": location} for check_id, location in keys if (check_id, location) not in found
    ]
    if missing:
        change(link, _ADD_SERIES, *missing)
        found = _find_series(link, keys)
    return found


def _find_series(link: Link, keys: Sequence[SeriesKey]) -> dict[SeriesKey, int]:
    found: dict[SeriesKey, int] = {}
    for place in {location for _, location in keys}:
        wanted = [check_id for check_id, location in keys if location == place]
        known = rows(link, _SERIES, location=place, check_ids=wanted)
        found.update({(check_id, place): series_id for check_id, series_id in known})
    return found
