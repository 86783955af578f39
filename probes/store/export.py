"""How do single results leave the store? As Parquet or CSV, slice by slice, so that any amount fits in memory."""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Engine

from probes.result import Result
from probes.store.results import first_result_ms, load_all_results
from probes.store.states import load_standings

Form = Literal["parquet", "csv"]
Progress = Callable[[str, int, int], object]
COLUMNS = (
    *("check", "location", "slot", "started", "status", "reason", "message", "duration_s", "code"),
    *("dns_s", "connect_s", "tls_s", "ttfb_s", "transfer_s", "metrics"),
)
MINUTE_MS = 60_000
_IN_MEMORY = 60_000


class ExportError(Exception):
    """The file cannot be written; the text says why."""


def export_results(
    engine: Engine, path: Path, form: Form, from_ms: int | None, to_ms: int, *, progress: Progress
) -> int:
    """Write every result with from_ms (default: the oldest) <= slot < to_ms; returns how many. In slot order.

    The file appears under its name when it is whole. Raises ExportError for one that exists, and StoreError.
    """
    if path.exists():
        raise ExportError(f"{path} exists already: an export never overwrites")
    part = path.with_name(f".{path.name}.part")
    slices = _slices(engine, from_ms, to_ms, progress)
    try:
        written = _write_parquet(part, slices) if form == "parquet" else _write_csv(part, slices)
        part.rename(path)
    except OSError as error:
        raise ExportError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
    return written


def _slices(engine: Engine, from_ms: int | None, to_ms: int, progress: Progress) -> Iterator[Sequence[Result]]:
    first_ms = first_result_ms(engine)
    if first_ms is None:
        return
    begin_ms = max(first_ms, from_ms or 0)
    # The rhythm is not known: a result of each series every ten seconds is as dense as it gets in practice.
    each_minute = max(1, len(load_standings(engine))) * 6
    step_ms = max(1, min(60, _IN_MEMORY // each_minute)) * MINUTE_MS
    # From a whole hour on, so that no slice reads two of them.
    at_ms = begin_ms
    while at_ms < to_ms:
        end_ms = min(at_ms - at_ms % step_ms + step_ms, to_ms)
        yield load_all_results(engine, at_ms, end_ms)
        progress("minutes of results", (end_ms - begin_ms) // MINUTE_MS, (to_ms - begin_ms) // MINUTE_MS)
        at_ms = end_ms


def _write_csv(path: Path, slices: Iterator[Sequence[Result]]) -> int:
    written = 0
    with path.open("x", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        for results in slices:
            writer.writerows(_as_text(result) for result in results)
            written += len(results)
    return written


def _as_text(result: Result) -> tuple[Any, ...]:
    check, location, slot_ms, started_ms, *rest = _values(result)
    return (check, location, _iso(slot_ms), _iso(started_ms), *("" if value is None else value for value in rest))


def _write_parquet(path: Path, slices: Iterator[Sequence[Result]]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    word, seconds, moment = pa.dictionary(pa.int32(), pa.string()), pa.float64(), pa.timestamp("ms", tz="UTC")
    kinds = {"slot": moment, "started": moment, "code": pa.int32(), "metrics": pa.string()}
    words = ("check", "location", "status", "reason", "message")
    schema = pa.schema([(name, word if name in words else kinds.get(name, seconds)) for name in COLUMNS])
    written = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for results in slices:
            if not results:
                continue
            columns = list(zip(*map(_values, results), strict=True))
            arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            written += len(results)
    return written


def _values(result: Result) -> tuple[Any, ...]:
    return (
        result.check_id,
        result.location,
        result.slot_ms,
        result.started_ms,
        result.status.value,
        result.reason.value if result.reason else None,
        result.message,
        result.duration_s,
        result.code,
        *astuple(result.phases),
        json.dumps(dict(result.metrics), separators=(",", ":")) if result.metrics else None,
    )


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
