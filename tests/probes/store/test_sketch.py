"""Sketches: percentiles within 1 %, and merging is exact."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.store.sketch import Sketch

durations = st.lists(st.integers(0, 10**9), min_size=1, max_size=300)


def sketch_of(values: list[int]) -> Sketch:
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    return sketch


@given(durations, st.floats(0, 1))
def test_quantile_is_within_one_percent_of_the_exact_one(values: list[int], q: float) -> None:
    exact = sorted(values)[math.floor(q * (len(values) - 1))]
    assert sketch_of(values).quantile(q) == pytest.approx(exact, rel=0.0100001)


@given(st.lists(durations, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_merging_in_any_order_and_grouping_is_equal(parts: list[list[int]], rnd: random.Random) -> None:
    whole = sketch_of([value for part in parts for value in part])
    sketches = [sketch_of(part) for part in parts]
    while len(sketches) > 1:
        rnd.shuffle(sketches)
        one = sketches.pop()
        sketches[0].merge(one)
    assert sketches[0] == whole
    assert sketches[0].n == whole.n
    assert sketches[0].to_bytes() == whole.to_bytes()


@given(st.one_of(durations, st.just([])))
def test_bytes_come_back_as_the_same_sketch(values: list[int]) -> None:
    sketch = sketch_of(values)
    again = Sketch.from_bytes(sketch.to_bytes())
    assert again == sketch
    assert again.n == len(values)


def test_empty_sketch_has_no_quantile() -> None:
    assert Sketch.from_bytes(None).quantile(0.5) is None


def test_bytes_of_another_version_are_refused() -> None:
    with pytest.raises(ValueError, match="version 9"):
        Sketch.from_bytes(b"\x09\x00")


def test_an_hour_of_usual_latencies_takes_about_ninety_bytes() -> None:
    rnd = random.Random(4)
    assert len(sketch_of([round(rnd.lognormvariate(10, 0.2)) for _ in range(360)]).to_bytes()) < 200
