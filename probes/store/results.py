"""How single results are written and read back."""

from collections.abc import Container, Mapping, Sequence

from probes.result import Result
from probes.store import due
from probes.store.bulk import insert_rows
from probes.store.database import Link, Store, file_behind, is_sqlite, reading
from probes.store.evidence import write_evidence
from probes.store.fresh import find_fresh
from probes.store.history import first_ms, newest_rows, read_rows, without_packed
from probes.store.interning import Interning
from probes.store.meta import get_watermarks
from probes.store.newest import update_states
from probes.store.rows import HotRow, find_errors, find_names, find_series, to_results, to_row
from probes.store.session import Session
from probes.store.statement import change, inserting


class ResultWriter:
    """Writes batches of results. One a process: it remembers the ids of series and errors, and keeps a link."""

    def __init__(self, store: Store) -> None:
        self._session = Session(store)
        self._interning = Interning()
        self._file: object = None

    def save(self, results: Sequence[Result]) -> int:
        """Keep a batch in one transaction; the number of rows that were new is returned.

        A result whose (check, location, slot) is there already is ignored, one older than the retention too. Raises
        StoreError, and then nothing of the batch was kept: hand it over again.
        """
        if not results:
            return 0
        try:
            with self._session.writing() as link:
                saved = self._save(link, results)
        except BaseException:
            self._interning.drop()
            raise
        self._interning.keep()
        return saved

    def close(self) -> None:
        """Let go of the store; another batch opens it again."""
        self._session.close()

    def _save(self, link: Link, results: Sequence[Result]) -> int:
        file = file_behind(link)
        if file != self._file:  # another file in its place: our ids mean nothing there
            self._file, self._interning = file, Interning()
        due.share(link)
        rolled_ms, pruned_ms, hot_ms = get_watermarks(link)
        kept = [result for result in results if result.slot_ms >= pruned_ms]
        rows = without_packed(link, self._rows(link, kept), hot_ms)
        saved = _insert(link, rows)
        update_states(link, rows)
        write_evidence(link, kept)
        due.mark(link, {due.hour_of(row.slot_ms) for row in rows if row.slot_ms < rolled_ms})
        return saved

    def _rows(self, link: Link, results: Sequence[Result]) -> list[HotRow]:
        series = self._interning.series_ids(link, ((result.check_id, result.location) for result in results))
        errors = self._interning.error_ids(link, results)
        rows: dict[int, HotRow] = {}
        for result, error_id in zip(results, errors, strict=True):
            row = to_row(result, series[result.check_id, result.location], error_id)
            rows.setdefault(row.id, row)
        return [rows[key] for key in sorted(rows)]


def load_results(  # noqa: PLR0917
    store: Store,
    check_id: str,
    from_ms: int,
    to_ms: int,
    limit: int | None = None,
    newest_first: bool = True,
    location: str | None = None,
) -> list[Result]:
    """Results of a check with from_ms <= slot_ms < to_ms, at most `limit`."""
    with reading(store) as link:
        names = {series_id: (check_id, place) for series_id, place in find_series(link, check_id, location).items()}
        if not names:
            rows = []
        elif newest_first:
            rows = newest_rows(link, from_ms, to_ms, list(names), limit)
        else:
            rows = read_rows(link, max(from_ms, first_ms(link) or 0), to_ms, names)[:limit]
        errors = find_errors(link, rows)
    return to_results(rows, names, errors)


def load_all_results(store: Store, from_ms: int, to_ms: int) -> list[Result]:
    """Results of every check with from_ms <= slot_ms < to_ms, in slot order; ask for short times."""
    with reading(store) as link:
        rows = read_rows(link, from_ms, to_ms)
        names = find_names(link)
        errors = find_errors(link, rows)
    return to_results(rows, names, errors)


def first_result_ms(store: Store) -> int | None:
    """The slot of the oldest single result."""
    with reading(store) as link:
        return first_ms(link)


def load_fresh_results(
    store: Store, seen: Mapping[tuple[str, str], int], checks: Container[str] | None = None
) -> list[Result]:
    """Every result newer than the slot seen of its (check, location), in slot order; at most three hours back.

    Of these checks only, where given: a check that was removed is never seen, and would be read each time, from
    packed results that may be damaged. What was never seen counts as seen before those three hours. Cheap when nothing
    was missed: a reader that saw the result before the newest reads only the newest.
    """
    with reading(store) as link:
        rows, names = find_fresh(link, seen, checks)
        errors = find_errors(link, rows)
    return to_results(rows, names, errors)


_INSERT = f"INSERT INTO hot ({', '.join(HotRow._fields)})"
_INSERT_EACH = inserting("hot", HotRow._fields)


def _insert(link: Link, rows: Sequence[HotRow]) -> int:
    if not rows:
        return 0
    if is_sqlite(link):
        return insert_rows(link, _INSERT, "ON CONFLICT DO NOTHING", rows)
    return change(link, _INSERT_EACH, *(row._asdict() for row in rows))
