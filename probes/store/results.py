"""How single results are written and read back."""

from collections.abc import Container, Mapping, Sequence

from sqlalchemy import Connection, Engine

from probes.result import Result
from probes.store import due
from probes.store.bulk import insert_rows
from probes.store.database import FILE, is_sqlite, reading, upsert
from probes.store.evidence import write_evidence
from probes.store.fresh import find_fresh
from probes.store.history import first_ms, newest_rows, read_rows, without_packed
from probes.store.interning import Interning
from probes.store.meta import get_watermarks
from probes.store.newest import update_states
from probes.store.rows import HotRow, find_errors, find_names, find_series, to_results, to_row
from probes.store.session import Session
from probes.store.tables import hot


class ResultWriter:
    """Writes batches of results. One a process: it remembers the ids of series and errors, and keeps a connection."""

    def __init__(self, engine: Engine) -> None:
        self._session = Session(engine)
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
            with self._session.writing() as connection:
                saved = self._save(connection, results)
        except BaseException:
            self._interning.drop()
            raise
        self._interning.keep()
        return saved

    def close(self) -> None:
        """Let go of the store; another batch opens it again."""
        self._session.close()

    def _save(self, connection: Connection, results: Sequence[Result]) -> int:
        if connection.info.get(FILE) != self._file:  # another file in its place: our ids mean nothing there
            self._file, self._interning = connection.info.get(FILE), Interning()
        due.share(connection)
        rolled_ms, pruned_ms, hot_ms = get_watermarks(connection)
        kept = [result for result in results if result.slot_ms >= pruned_ms]
        rows = without_packed(connection, self._rows(connection, kept), hot_ms)
        saved = _insert(connection, rows)
        update_states(connection, rows)
        write_evidence(connection, kept)
        due.mark(connection, {due.hour_of(row.slot_ms) for row in rows if row.slot_ms < rolled_ms})
        return saved

    def _rows(self, connection: Connection, results: Sequence[Result]) -> list[HotRow]:
        series = self._interning.series_ids(connection, ((result.check_id, result.location) for result in results))
        errors = self._interning.error_ids(connection, results)
        rows: dict[int, HotRow] = {}
        for result, error_id in zip(results, errors, strict=True):
            row = to_row(result, series[result.check_id, result.location], error_id)
            rows.setdefault(row.id, row)
        return [rows[key] for key in sorted(rows)]


def load_results(  # noqa: PLR0917
    engine: Engine,
    check_id: str,
    from_ms: int,
    to_ms: int,
    limit: int | None = None,
    newest_first: bool = True,
    location: str | None = None,
) -> list[Result]:
    """Results of a check with from_ms <= slot_ms < to_ms, at most `limit`."""
    with reading(engine) as connection:
        names = {
            series_id: (check_id, place) for series_id, place in find_series(connection, check_id, location).items()
        }
        if not names:
            rows = []
        elif newest_first:
            rows = newest_rows(connection, from_ms, to_ms, list(names), limit)
        else:
            rows = read_rows(connection, max(from_ms, first_ms(connection) or 0), to_ms, names)[:limit]
        errors = find_errors(connection, rows)
    return to_results(rows, names, errors)


def load_all_results(engine: Engine, from_ms: int, to_ms: int) -> list[Result]:
    """Results of every check with from_ms <= slot_ms < to_ms, in slot order; ask for short times."""
    with reading(engine) as connection:
        rows = read_rows(connection, from_ms, to_ms)
        names = find_names(connection)
        errors = find_errors(connection, rows)
    return to_results(rows, names, errors)


def first_result_ms(engine: Engine) -> int | None:
    """The slot of the oldest single result."""
    with reading(engine) as connection:
        return first_ms(connection)


def load_fresh_results(
    engine: Engine, seen: Mapping[tuple[str, str], int], checks: Container[str] | None = None
) -> list[Result]:
    """Every result newer than the slot seen of its (check, location), in slot order; at most three hours back.

    Of these checks only, where given: a check that was removed is never seen, and would be read each time, from
    packed results that may be damaged. What was never seen counts as seen before those three hours. Cheap when nothing
    was missed: a reader that saw the result before the newest reads only the newest.
    """
    with reading(engine) as connection:
        rows, names = find_fresh(connection, seen, checks)
        errors = find_errors(connection, rows)
    return to_results(rows, names, errors)


_INSERT = f"INSERT INTO hot ({', '.join(HotRow._fields)})"


def _insert(connection: Connection, rows: Sequence[HotRow]) -> int:
    if not rows:
        return 0
    if is_sqlite(connection):
        return insert_rows(connection, _INSERT, "ON CONFLICT DO NOTHING", rows)
    insert = upsert(connection)(hot).on_conflict_do_nothing()
    named = [row._asdict() for row in rows]
    return connection.execute(insert, named, execution_options={"preserve_rowcount": True}).rowcount
