"""Readers in arrays say what the plain ones say of the same bytes and rows."""

import random
from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.store.arrays import FIELDS, GAP, of_columns, unpack_arrays
from probes.store.block import pack, unpack
from probes.store.columns import Columns
from probes.store.sketch import Sketch, bucket_of
from probes.store.sketches import decode

HOUR_MS = 1_760_000_000_000 // 3_600_000 * 3_600_000


def make_columns(seed: int, n: int) -> Columns:
    rnd = random.Random(seed)

    def column(most: int, gaps: float) -> list[int | None]:
        return [None if rnd.random() < gaps else rnd.randrange(most) for _ in range(n)]

    most, gaps = rnd.choice([1, 200, 10**5, 10**9]), rnd.choice([0, 0.3, 1])
    plain = [column(most, gaps) for _ in range(6)]
    metrics: dict[str, list[float | None]] = {
        "whole": [float(rnd.randrange(-5, 90)) for _ in range(n)],
        "real": [rnd.choice([None, rnd.random()]) if index else 0.25 for index in range(n)],
    }
    slots = [HOUR_MS + index * 10_000 for index in sorted(rnd.sample(range(360), n))]
    status = [rnd.randrange(4) for _ in range(n)]
    return Columns.made([slots, status, column(600, gaps), *plain, [3] * n, column(9, 0.9)], metrics)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 360))
def test_blocks_are_the_same_as_arrays(seed: int, n: int) -> None:
    data = pack(make_columns(seed, n), HOUR_MS)
    plain, arrays = unpack(data, HOUR_MS), unpack_arrays(data, HOUR_MS)
    for name, row in zip(FIELDS, arrays.rows.tolist(), strict=True):
        assert [None if value == GAP else value for value in row] == getattr(plain, name), name
    for name, values in plain.metrics.items():
        got = arrays.metrics[name].tolist()
        assert [None if np.isnan(value) else value for value in got] == values
    assert (of_columns(plain).rows == arrays.rows).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 10**10), max_size=400), min_size=1, max_size=6), st.integers(1, 300))
def test_sketches_are_decoded_together(durations: list[list[int]], often: int) -> None:
    stored: list[bytes | None] = []
    wanted: list[tuple[int, int, int]] = []
    for index, some in enumerate(durations):
        sketch = Sketch()
        sketch.add_all(some * often)
        stored.append(sketch.to_bytes() if sketch.n else None)
        zeros = sum(us < 1 for us in some) * often
        wanted += [(index, 0, zeros)] * bool(zeros)
        wanted += [
            (index, bucket + 1, count)
            for bucket, count in sorted(Counter(bucket_of(us) for us in some * often if us).items())
        ]
    of, buckets, counts = decode(stored)
    assert list(zip(of.tolist(), buckets.tolist(), counts.tolist(), strict=True)) == wanted
