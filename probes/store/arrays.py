"""What did a check answer over some time, as arrays? For readers that draw: the worker never loads numpy."""

import logging
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from probes.store.block import (
    CONSTANT,
    DECIMALS,
    DELTA,
    DELTA2,
    LEAST,
    NONE,
    WITH_GAPS,
    BlockError,
    BlockReader,
    inflate,
    unfold,
)
from probes.store.columns import PHASES, Columns
from probes.store.due import HOUR_MS
from probes.store.history import Part, find_parts
from probes.store.keys import SERIES_BITS

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

GAP = int(np.iinfo(np.int64).min)
"""Stands in an array of whole numbers where there is none; among metrics it is NaN, which no result can have."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Arrays:
    """The columns of results that charts are drawn from; `rows` are in the order of `FIELDS`."""

    rows: Ints
    metrics: dict[str, Floats]


FIELDS = ("slots", "status", "code", "error_id", "total_us", *PHASES)


def read_arrays(connection: Connection, from_ms: int, to_ms: int, ids: Iterable[int]) -> Arrays:
    """Results of some series with from_ms <= slot_ms < to_ms, those of each series in slot order."""
    return joined([_read(part, from_ms, to_ms) for part in find_parts(connection, from_ms, to_ms, ids)])


def of_columns(columns: Columns) -> Arrays:
    """The same results."""
    rows = [_whole_array(getattr(columns, name)) for name in FIELDS]
    metrics = {name: np.array(values, dtype=np.float64) for name, values in columns.metrics.items()}
    return Arrays(np.array(rows, dtype=np.int64).reshape(len(FIELDS), len(columns)), metrics)


@lru_cache(maxsize=64)  # a page that shows a day draws the same 24 blocks every few seconds
def unpack_arrays(data: bytes, hour_ms: int) -> Arrays:
    """The results of a block, not to be written to. Raises BlockError."""
    try:
        return _unpack(data, hour_ms)
    except (zlib.error, IndexError, ValueError, OverflowError) as error:
        if isinstance(error, BlockError):
            raise
        raise BlockError(f"a damaged block: {error}") from error


def joined(parts: Sequence[Arrays]) -> Arrays:
    """The results of all parts, one after the other."""
    if len(parts) == 1:
        return parts[0]
    rows = np.concatenate([np.empty((len(FIELDS), 0), np.int64), *(part.rows for part in parts)], axis=1)
    metrics: dict[str, Floats] = {}
    at = 0
    for part in parts:
        end = at + part.rows.shape[1]
        for name, values in part.metrics.items():
            metrics.setdefault(name, np.full(rows.shape[1], np.nan))[at:end] = values
        at = end
    return Arrays(rows, metrics)


def _read(part: Part, from_ms: int, to_ms: int) -> Arrays:
    if part.key is None or part.rows:
        return of_columns(part.columns(from_ms, to_ms))
    try:
        arrays = unpack_arrays(part.data, (part.key >> SERIES_BITS) * HOUR_MS)
    except BlockError as error:
        log.error("block %d is left out: %s", part.key, error)
        return of_columns(Columns())
    slots = arrays.rows[0]
    if from_ms <= slots[0] and slots[-1] < to_ms:
        return arrays
    start, stop = np.searchsorted(slots, (from_ms, to_ms))
    return Arrays(arrays.rows[:, start:stop], {name: values[start:stop] for name, values in arrays.metrics.items()})


def _unpack(data: bytes, hour_ms: int) -> Arrays:
    read = _ArrayReader(inflate(data))
    read.n = read.number()
    if not read.n:
        raise BlockError("a block of nothing")
    read.number()  # the step of durations
    rows = np.empty((len(FIELDS), read.n), np.int64)
    slots, status, code, error_id, total_us, *phases = rows
    slots[:] = read.array()
    slots += hour_ms
    status[:] = read.array()
    code[:] = read.array()
    read.array()  # how late runs began is in no chart
    error_id[:] = read.array()
    for phase in phases:
        phase[:] = read.array()
    total_us[:] = read.array()
    for phase in phases:
        _add_present(total_us, phase)
    metrics = {read.text(): read.float_array() for _ in range(read.number())}
    for array in (rows, *metrics.values()):
        array.flags.writeable = False
    return Arrays(rows, metrics)


def _add_present(total_us: Ints, phase: Ints) -> None:
    if phase.min() == GAP or total_us.min() == GAP:
        both = (phase != GAP) & (total_us != GAP)
        total_us[both] += phase[both]
    else:
        total_us += phase


def _whole_array(values: Sequence[int | None]) -> list[int]:
    return [GAP if value is None else value for value in values]


class _ArrayReader(BlockReader):
    """The same bytes, a column at a time."""

    def array(self) -> Ints | int:
        """The next column; one number where all are the same."""
        kind = self.number()
        if kind == NONE:
            return GAP
        if kind == CONSTANT:
            return unfold(self.number())
        divisor = self.number()
        flags = self._flags() if kind & WITH_GAPS else None
        count = self.n if flags is None else int(np.count_nonzero(flags))
        present = self._numbers(kind & ~WITH_GAPS, divisor, count)
        if flags is None:
            return present
        column = np.full(self.n, GAP, np.int64)
        column[flags] = present
        return column

    def float_array(self) -> Floats:
        """The next column of metrics."""
        kind = self.number()
        column = np.full(self.n, np.nan)
        if kind == DECIMALS:
            scale = 10 ** self.number()
            whole = self.array()
            if isinstance(whole, int):
                column[:] = np.nan if whole == GAP else whole / scale
            else:
                present = whole != GAP
                column[present] = whole[present] / scale
            return column
        flags: Any = self._flags() if kind & WITH_GAPS else slice(None)
        count = int(np.count_nonzero(flags)) if kind & WITH_GAPS else self.n
        column[flags] = self._plane_bytes(8, 1 if kind & ~WITH_GAPS == CONSTANT else count).view("<f8")[:, 0]
        return column

    def _numbers(self, kind: int, divisor: int, count: int) -> Ints:
        first = unfold(self.number())
        if kind == LEAST:
            return first + self._values(count) * divisor
        column = np.empty(count, np.int64)
        column[0] = first
        if kind == DELTA:
            column[1:] = self._steps(count - 1, divisor)
            return column.cumsum()
        if kind == DELTA2:
            column[1] = unfold(self.number())
            column[2:] = self._steps(count - 2, divisor)
            column[1:] = column[1:].cumsum()
            return column.cumsum()
        raise BlockError(f"a column of kind {kind}")

    def _steps(self, count: int, divisor: int) -> Ints:
        values = self._values(count)
        steps: Ints = ((values >> 1) ^ -(values & 1)) * divisor
        return steps

    def _values(self, count: int) -> Ints:
        return self._plane_bytes(self.number(), count).view("<i8")[:, 0]

    def _plane_bytes(self, width: int, count: int) -> NDArray[np.uint8]:
        whole = np.zeros((count, 8), np.uint8)
        if width > 8:
            raise BlockError(f"a column of {width} bytes a value")
        whole[:, :width] = np.frombuffer(self.take(width * count), np.uint8).reshape(width, count).T
        return whole

    def _flags(self) -> NDArray[np.bool_]:
        bits = np.frombuffer(self.take((self.n + 7) // 8), np.uint8)[::-1]
        return np.unpackbits(bits)[-self.n :].astype(np.bool_)
