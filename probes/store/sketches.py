"""Many sketches at once, as arrays: the buckets of `probes.store.sketch`, one higher, 0 for durations of zero."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from probes.store.arrays import Floats, Ints
from probes.store.sketch import GAMMA, PER_LOG, VERSION


def buckets_of(durations_us: Ints) -> Ints:
    """The bucket of each duration."""
    buckets = np.ceil(np.log(np.maximum(durations_us, 1)) * PER_LOG).astype(np.int64) + 1
    buckets[durations_us < 1] = 0
    return buckets


def middles_us(buckets: Ints) -> Floats:
    """Microseconds within 1 % of everything in each bucket."""
    return np.where(buckets == 0, 0.0, 2 * np.power(GAMMA, buckets - 1.0) / (GAMMA + 1))


def decode(sketches: Sequence[bytes | memoryview | None]) -> tuple[Ints, Ints, Ints]:
    """Which sketch, bucket and how many, of every bucket. Raises ValueError for bytes of another kind."""
    blobs = [bytes(data) if data else b"" for data in sketches]
    lengths = np.array([len(data) for data in blobs], np.int64)
    filled = np.flatnonzero(lengths)
    data = np.frombuffer(b"".join(blobs), np.uint8)
    if not len(data):
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64)
    ends = lengths[filled].cumsum()
    last = data < 128  # of a number's bytes
    before = np.concatenate(([0], last.cumsum()))
    held = before[ends]  # numbers up to the end of each sketch
    if not last[ends - 1].all() or (held % 2).any():
        raise ValueError("sketch that is cut off")
    pairs = _numbers(data, last).reshape(-1, 2)
    heads = np.concatenate(([0], held[:-1])) // 2
    versions = np.unique(pairs[heads, 0])
    if versions.tolist() != [VERSION]:
        raise ValueError(f"sketch of versions {versions.tolist()}, this program knows {VERSION}")
    sizes = np.diff(np.concatenate((heads, [len(pairs)])))
    steps = pairs[:, 0].copy()
    steps[heads] = 0
    walked = steps.cumsum()
    buckets = walked - np.repeat(walked[heads] - 1, sizes)
    buckets[heads] = 0
    counted = pairs[:, 1] > 0
    return np.repeat(filled, sizes)[counted], buckets[counted], pairs[counted, 1]


def _numbers(data: NDArray[np.uint8], last: NDArray[np.bool_]) -> Ints:
    """All varints of some bytes."""
    if last.all():
        return data.astype(np.int64)
    ends = np.flatnonzero(last)
    begins = np.concatenate(([0], ends[:-1] + 1))
    sizes = ends - begins + 1
    numbers = (data[begins] & 127).astype(np.int64)
    for index in range(1, int(sizes.max())):
        longer = np.flatnonzero(sizes > index)
        numbers[longer] |= (data[begins[longer] + index] & 127).astype(np.int64) << 7 * index
    return numbers
