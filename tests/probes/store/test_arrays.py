"""Readers in arrays say what the plain ones say of the same bytes and rows."""

import random
from bisect import bisect_left
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.result import Reason
from probes.store.arrays import FIELDS, GAP, of_columns, unpack_arrays
from probes.store.block import pack, unpack
from probes.store.columns import Columns
from probes.store.points import ROLLUP, Steps
from probes.store.sketch import Sketch, bucket_of
from probes.store.sketches import decode
from probes.store.tally import Tally

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
    return Columns.made([slots, status, column(600, gaps), *plain, [3] * n, column(9, rnd.choice([0.2, 0.9]))], metrics)


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


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 360), st.integers(0, 360), st.sampled_from([10_000, 60_000, 900_000]))
def test_steps_come_to_what_each_would_by_itself(seed: int, n: int, rolled: int, step_ms: int) -> None:
    columns, reasons = (
        make_columns(seed, n),
        {number: (Reason.VALUE_LIMIT if number % 2 else Reason.HTTP_STATUS).value for number in range(9)},
    )
    count = 3_600_000 // step_ms
    steps, tallies = Steps(HOUR_MS, step_ms, count), [Tally() for _ in range(count)]
    bounds = [bisect_left(columns.slots, HOUR_MS + index * step_ms) for index in range(count + 1)]
    rollups = []
    for index, tally in enumerate(tallies):
        part = columns.part(bounds[index], bounds[index + 1])
        tally.add(part, reasons)
        if part.slots and index < rolled // 10:  # the first as rollups, the rest as single results
            row = tally.to_row(HOUR_MS + index * step_ms, 1)
            rollups.append([row[name] for name in ROLLUP])
        else:
            steps.add(of_columns(part), reasons)
    steps.add_rollups(rollups)
    for point in steps.points():
        tally = tallies.pop(0)
        while not tally.n:
            tally = tallies.pop(0)
        assert (point.up, point.degraded, point.down, point.unknown) == tuple(tally.counts)
        assert point.n == tally.n
        assert point.codes == tally.codes
        assert point.phases == tally.mean_phases()
        assert dict(point.metrics) == pytest.approx(tally.mean_metrics())
        for found, q in ((point.p50_s, 0.5), (point.p95_s, 0.95), (point.p99_s, 0.99)):
            wanted = tally.quantile_s(q)
            assert found == (None if wanted is None else pytest.approx(wanted, rel=1e-9))
    assert not any(tally.n for tally in tallies)
