"""How long did most runs take? A mergeable picture of durations that gives every percentile within 1 %.

Counts in buckets of logarithmic width, as in DDSketch (Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable
quantile sketch with relative-error guarantees", VLDB 2019): bucket i holds gamma^(i-1) < x <= gamma^i with
gamma = (1 + a) / (1 - a), and its middle 2 gamma^i / (gamma + 1) is within a of everything in it.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

RELATIVE_ERROR = 0.01

VERSION = 1
GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
PER_LOG = 1 / math.log(GAMMA)


@lru_cache(maxsize=65_536)
def bucket_of(us: int) -> int:
    """The bucket of a duration in microseconds, which is at least 1."""
    return math.ceil(math.log(us) * PER_LOG)


class Sketch:
    """Durations in microseconds. Merging is exact: any order and grouping gives the same sketch."""

    __slots__ = ("_buckets", "_zeros", "n")

    def __init__(self) -> None:
        self.n = 0
        self._zeros = 0
        self._buckets: dict[int, int] = {}

    def add(self, us: int) -> None:
        """Count one duration; less than a microsecond counts as zero."""
        self.n += 1
        if us < 1:
            self._zeros += 1
        else:
            bucket = bucket_of(us)
            self._buckets[bucket] = self._buckets.get(bucket, 0) + 1

    def add_all(self, durations_us: Sequence[int]) -> None:
        """Count many durations."""
        self.n += len(durations_us)
        if min(durations_us, default=1) < 1:
            some = [us for us in durations_us if us >= 1]
            self._zeros += len(durations_us) - len(some)
            durations_us = some
        buckets = self._buckets
        for bucket in map(bucket_of, durations_us):
            buckets[bucket] = buckets.get(bucket, 0) + 1

    def merge(self, other: "Sketch") -> None:
        """Count everything the other sketch has counted."""
        self.n += other.n
        self._zeros += other._zeros
        if not self._buckets:
            self._buckets = dict(other._buckets)
            return
        buckets = self._buckets
        for bucket, count in other._buckets.items():
            buckets[bucket] = buckets.get(bucket, 0) + count

    def quantile(self, q: float) -> float | None:
        """The q-quantile (0 <= q <= 1) in microseconds; None if nothing was counted.

        Within 1 % of the value at rank floor(q (n - 1)).
        """
        if not self.n:
            return None
        rank = math.floor(q * (self.n - 1))
        below = self._zeros
        if rank < below:
            return 0.0
        for bucket in sorted(self._buckets):
            below += self._buckets[bucket]
            if rank < below:
                return float(2 * GAMMA**bucket / (GAMMA + 1))
        return None

    def to_bytes(self) -> bytes:
        """Version, zeros, then for each bucket its distance from the one before and its count, as varints."""
        out = bytearray([VERSION])
        _put(out, self._zeros)
        last = 0
        for bucket in sorted(self._buckets):
            _put(out, bucket - last)
            _put(out, self._buckets[bucket])
            last = bucket
        return bytes(out)

    @classmethod
    def from_bytes(cls, data: bytes | memoryview | None) -> "Sketch":
        """The sketch of `to_bytes`; an empty one for None. Raises ValueError for bytes of another kind."""
        sketch = cls()
        if not data:
            return sketch
        if data[0] != VERSION:
            raise ValueError(f"sketch of version {data[0]}, this program knows {VERSION}")
        numbers = _numbers(bytes(data))
        sketch._zeros = numbers[0] if numbers else 0
        if len(numbers) % 2 != 1:
            raise ValueError("sketch that is cut off")
        sketch._buckets = dict(zip(accumulate(numbers[1::2]), numbers[2::2], strict=True))
        sketch.n = sketch._zeros + sum(numbers[2::2])
        return sketch

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sketch):
            return NotImplemented
        return self._zeros == other._zeros and self._buckets == other._buckets

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Sketch(n={self.n}, p50={self.quantile(0.5)})"


def _put(out: bytearray, number: int) -> None:
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)


def _numbers(data: bytes) -> Sequence[int]:
    if data.isascii() and len(data) > 1:
        return data[1:]  # no number takes more than a byte
    numbers = []
    number = shift = 0
    for byte in data[1:]:
        number |= (byte & 127) << shift
        if byte > 127:
            shift += 7
        else:
            numbers.append(number)
            number = shift = 0
    return numbers
