"""How does an hour of results of one check become a few bytes a result, and back?

A byte of version, then one zlib stream, whose checksum finds damage: how many results, the step of durations, then what
describes the columns, then the columns. One that never changes is its value; another is what each value differs by from
the one before or from the least, the lowest byte of all first, then the next: bytes that are alike stand together, and
deflate finds them. The total is stored as what the phases leave of it. Pure: no I/O.
"""

import sys
import zlib
from array import array
from collections.abc import Callable, Sequence
from itertools import accumulate
from operator import add, sub
from typing import TypeVar

from probes.store.columns import PHASES, STEP_US, Columns, Whole

VERSION = 1
Number = TypeVar("Number", int, float)

NONE, CONSTANT, LEAST, DELTA, DELTA2, DOUBLES, DECIMALS = range(7)
WITH_GAPS = 8
_MAX_POWER = 6
_MAX_EXACT = float(1 << 52)


class BlockError(ValueError):
    """The bytes are no block of a version this program knows."""


def pack(columns: Columns, hour_ms: int) -> bytes:
    """The bytes of `columns`, whose slots lie within the hour. What comes back is `columns.rounded()`."""
    known, out = columns.rounded(), _Writer()
    out.number(len(known))
    out.number(STEP_US)
    out.column([slot_ms - hour_ms for slot_ms in known.slots])
    for plain in (known.status, known.code, known.late_ms, known.error_id):
        out.column(plain)
    for name in PHASES:
        out.column(getattr(known, name))
    out.column(_less_phases(known))
    out.number(len(known.metrics))
    for name, values in known.metrics.items():
        out.text(name)
        out.floats(values)
    return out.to_bytes()


def unpack(data: bytes | memoryview, hour_ms: int) -> Columns:
    """The results of `pack`. Raises BlockError."""
    try:
        return _unpack(bytes(data), hour_ms)
    except (zlib.error, IndexError, ValueError, OverflowError) as error:
        if isinstance(error, BlockError):
            raise
        raise BlockError(f"a damaged block: {error}") from error


def inflate(data: bytes) -> bytes:
    """What a block's reader reads. Raises BlockError, zlib.error."""
    if not data or data[0] != VERSION:
        raise BlockError(f"a block of version {data[0] if data else '?'}, this program knows {VERSION}")
    return zlib.decompress(data[1:])


def _unpack(data: bytes, hour_ms: int) -> Columns:
    read = BlockReader(inflate(data))
    read.n = read.number()
    if not read.n:
        raise BlockError("a block of nothing")
    read.number()  # the step: durations are stored in microseconds, and say by themselves what divides them
    slots = [hour_ms + offset for offset in read.whole()]
    status, code, late_ms, error_id = read.whole(), read.column(), read.whole(), read.column()
    phases = [read.column() for _ in PHASES]
    total_us = _with_phases(read.column(), phases)
    metrics = {read.text(): read.floats() for _ in range(read.number())}
    return Columns.made([slots, status, code, total_us, *phases, late_ms, error_id], metrics)


def _less_phases(columns: Columns) -> Whole:
    return _combined(columns.total_us, [getattr(columns, name) for name in PHASES], sub)


def _with_phases(rest: Whole, phases: Sequence[Whole]) -> Whole:
    return _combined(rest, phases, add)


def _combined(first: Whole, others: Sequence[Whole], combine: Callable[[int, int], int]) -> Whole:
    result = first
    for other in others:
        if None not in other and None not in result:
            result = list(map(combine, result, other))  # type: ignore[arg-type]
        elif any(other):
            pairs = zip(result, other, strict=True)
            result = [left if left is None or right is None else combine(left, right) for left, right in pairs]
    return result


class _Writer:
    def __init__(self) -> None:
        self._head, self._body = bytearray(), bytearray()

    def number(self, number: int) -> None:
        while number > 127:
            self._head.append(number & 127 | 128)
            number >>= 7
        self._head.append(number)

    def text(self, text: str) -> None:
        data = text.encode()
        self.number(len(data))
        self._head += data

    def column(self, column: Sequence[int | None]) -> None:
        present = _without_gaps(column)
        if self._kept_simple(column, present):
            return
        gaps = len(present) < len(column)
        kind, values, divisor = _differences(present)
        self.number(kind | (WITH_GAPS if gaps else 0))
        self.number(divisor)
        if gaps:
            self._bits([value is not None for value in column])
        if kind == DELTA2:
            self.number(_fold(present[0]))
            self.number(_fold(present[1] - present[0]))
        else:
            self.number(_fold(present[0] if kind == DELTA else min(present)))
        self._planes(values)

    def floats(self, column: Sequence[float | None]) -> None:
        present = [value for value in column if value is not None]
        power = _power_of_ten(present)
        if power is not None:
            self.number(DECIMALS)
            self.number(power)
            scale = 10**power
            self.column([None if value is None else round(value * scale) for value in column])
            return
        gaps = len(present) < len(column)
        if present.count(present[0]) == len(present):
            self.number(CONSTANT | (WITH_GAPS if gaps else 0))
            present = present[:1]
        else:
            self.number(DOUBLES | (WITH_GAPS if gaps else 0))
        if gaps:
            self._bits([value is not None for value in column])
        self._shuffle(array("d", present), 8)

    def to_bytes(self) -> bytes:
        whole = bytearray()
        size, head = len(self._head), self._head
        self._head = bytearray()
        self.number(size)
        whole += self._head + head + self._body
        squeeze = zlib.compressobj(9, zlib.DEFLATED, 15, 9)
        return bytes([VERSION]) + squeeze.compress(bytes(whole)) + squeeze.flush()

    def _kept_simple(self, column: Sequence[int | None], present: Sequence[int]) -> bool:
        if not present:
            self.number(NONE)
        elif present.count(present[0]) == len(column):
            self.number(CONSTANT)
            self.number(_fold(present[0]))
        else:
            return False
        return True

    def _bits(self, flags: Sequence[bool]) -> None:
        bits = int("".join("1" if flag else "0" for flag in flags), 2)
        self._body += bits.to_bytes((len(flags) + 7) // 8, "little")

    def _planes(self, values: Sequence[int]) -> None:
        width = (max(values, default=0).bit_length() + 7) // 8
        self.number(width)
        self._shuffle(array("Q", values), width)

    def _shuffle(self, values: "array[int] | array[float]", width: int) -> None:
        _to_little(values)
        data = values.tobytes()
        for plane in range(width):
            self._body += data[plane::8]


class BlockReader:
    """Goes through the bytes of a block: what describes a column, then its values."""

    def __init__(self, data: bytes) -> None:
        self.n = 0
        self._data, self._at = data, 0
        size = self.number()
        self._body_at = self._at + size

    def number(self) -> int:
        """The next number of what describes the columns."""
        number = shift = 0
        while True:
            byte = self._data[self._at]
            self._at += 1
            number |= (byte & 127) << shift
            if byte < 128:
                return number
            shift += 7

    def text(self) -> str:
        """The next text of what describes the columns."""
        size = self.number()
        self._at += size
        return self._data[self._at - size : self._at].decode()

    def whole(self) -> list[int]:
        """The next column, which has no gaps."""
        column = self.column()
        if None in column:
            raise BlockError("a column with gaps that has none")
        return column  # type: ignore[return-value]

    def column(self) -> Whole:
        """The next column."""
        kind = self.number()
        if kind == NONE:
            return [None] * self.n
        if kind == CONSTANT:
            return [unfold(self.number())] * self.n
        divisor = self.number()
        flags = self._bits() if kind & WITH_GAPS else None
        count = sum(flags) if flags else self.n
        present = self._present(kind & ~WITH_GAPS, divisor, count)
        return _spread(present, flags)

    def floats(self) -> list[float | None]:
        """The next column of metrics."""
        kind = self.number()
        if kind == DECIMALS:
            scale = 10 ** self.number()
            return [None if value is None else value / scale for value in self.column()]
        flags = self._bits() if kind & WITH_GAPS else None
        count = sum(flags) if flags else self.n
        if kind & ~WITH_GAPS == CONSTANT:
            return _spread(list(self._doubles(1)) * count, flags)
        return _spread(list(self._doubles(count)), flags)

    def _present(self, kind: int, divisor: int, count: int) -> list[int]:
        first = unfold(self.number())
        if kind == LEAST:
            return [first + value * divisor for value in self._planes(count)]
        if kind == DELTA:
            steps = self._folded(count - 1, divisor)
            return list(accumulate(steps, initial=first))
        if kind == DELTA2:
            step = unfold(self.number())
            turns = self._folded(count - 2, divisor)
            return list(accumulate(accumulate(turns, initial=step), initial=first))
        raise BlockError(f"a column of kind {kind}")

    def _folded(self, count: int, divisor: int) -> list[int]:
        return [(value >> 1 ^ -(value & 1)) * divisor for value in self._planes(count)]

    def _bits(self) -> list[bool]:
        size = (self.n + 7) // 8
        bits = int.from_bytes(self.take(size), "little")
        return [mark == "1" for mark in f"{bits:0{self.n}b}"]

    def _planes(self, count: int) -> Sequence[int]:
        values: array[int] = array("Q")
        values.frombytes(self._interleaved(self.number(), count))
        _to_little(values)
        return values

    def _doubles(self, count: int) -> Sequence[float]:
        values: array[float] = array("d")
        values.frombytes(self._interleaved(8, count))
        _to_little(values)
        return values

    def _interleaved(self, width: int, count: int) -> bytearray:
        data = bytearray(8 * count)
        for plane in range(width):
            data[plane::8] = self.take(count)
        return data

    def take(self, size: int) -> bytes:
        """The next bytes of the columns' values."""
        piece = self._data[self._body_at : self._body_at + size]
        if len(piece) != size:
            raise BlockError("a block that is cut off")
        self._body_at += size
        return piece


def _differences(present: Sequence[int]) -> tuple[int, list[int], int]:
    """How a column is stored: its kind, its values, none negative, and what all of them were divided by."""
    least = min(present)
    divisor = STEP_US if not any(value % STEP_US for value in present) else 1
    above = [(value - least) // divisor for value in present]
    steps = list(map(sub, above[1:], above))
    middle = sum(above) // len(above)
    spread = sum(abs(value - middle) for value in above)
    if len(present) > 2:
        turns = list(map(sub, steps[1:], steps))
        walk, bend = sum(map(abs, steps)), sum(map(abs, turns))
        if bend < min(walk, spread):
            return DELTA2, list(map(_fold, turns)), divisor
        if walk < spread:
            return DELTA, list(map(_fold, steps)), divisor
    return LEAST, above, divisor


def _power_of_ten(values: Sequence[float]) -> int | None:
    """How many decimals all the values have, so that whole numbers give each of them back exactly."""
    if not all(-_MAX_EXACT < value < _MAX_EXACT for value in values):
        return None
    for power in range(_MAX_POWER + 1):
        scale = 10**power
        if round(values[0] * scale) / scale != values[0]:
            continue
        scaled = [round(value * scale) for value in values]
        if all(whole / scale == value for whole, value in zip(scaled, values, strict=True)):
            return power if max(map(abs, scaled)) < _MAX_EXACT else None
    return None


def _without_gaps(column: Sequence[int | None]) -> Sequence[int]:
    return [value for value in column if value is not None] if None in column else column  # type: ignore[return-value]


def _spread(present: list[Number], flags: Sequence[bool] | None) -> list[Number | None]:
    if flags is None:
        return present  # type: ignore[return-value]
    values = iter(present)
    return [next(values) if flag else None for flag in flags]


def _fold(number: int) -> int:
    """Small numbers of either sign as small ones that are not negative: 0, -1, 1, -2, 2 …"""
    return number << 1 if number >= 0 else (-number << 1) - 1


def unfold(number: int) -> int:
    """The number that was folded."""
    return number >> 1 ^ -(number & 1)


def _to_little(values: "array[int] | array[float]") -> None:
    if sys.byteorder == "big":
        values.byteswap()
