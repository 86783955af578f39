import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.counters import Sample, Window, known, window_of


def fed(*samples: Sample, interval_s: float = 30, window_s: float = 300) -> Window:
    window = Window()
    for sample in samples:
        window = window.then(sample, interval_s, window_s)
    return window


def sample(at_s: float, hits: float, misses: float, epoch: str = "one") -> Sample:
    return Sample(at_s, (epoch,), {"hits": hits, "misses": misses})


@pytest.mark.parametrize("lifetime", [(0, 0), (1, 999_999_999), (10**15, 0)], ids=["fresh", "all misses", "all hits"])
def test_800_hits_and_200_misses_are_080_whatever_came_before(lifetime):
    hits, misses = lifetime
    window = fed(sample(0, hits, misses), sample(30, hits + 800, misses + 200))
    assert window.ratio("hits", "misses") == pytest.approx(0.8)


def test_the_ratio_is_one_of_sums_and_no_mean_of_ratios():
    window = fed(sample(0, 0, 0), sample(30, 10, 0), sample(60, 10, 990))
    assert window.ratio("hits", "misses") == pytest.approx(0.01)


def test_one_sample_says_nothing():
    window = fed(sample(0, 900, 100))
    assert window.ratio("hits", "misses") is None
    assert window.per_s("hits") is None
    assert window.since_last("hits") is None


@pytest.mark.parametrize(
    "after",
    [
        sample(60, 1700, 300, epoch="two"),
        sample(60, 700, 1300),
        sample(60, 1700, 100),
        sample(121, 1700, 300),
        sample(30, 1700, 300),
        sample(29, 1700, 300),
    ],
    ids=["new epoch", "hits fell", "misses fell", "too long ago", "no time passed", "clock went back"],
)
def test_a_gap_gives_no_number_and_the_next_sample_counts_from_it(after):
    window = fed(sample(0, 0, 0), sample(30, 800, 200), after)
    assert window.ratio("hits", "misses") is None
    assert window.per_s("hits") is None
    later = Sample(
        after.at_s + 30, after.epoch, {"hits": after.counters["hits"] + 500, "misses": after.counters["misses"] + 500}
    )
    assert window.then(later, 30).ratio("hits", "misses") == pytest.approx(0.5)


def test_the_longest_step_is_three_intervals():
    assert fed(sample(0, 0, 0), sample(90, 800, 200)).ratio("hits", "misses") == pytest.approx(0.8)


def test_steps_leave_the_window_by_age():
    old = [sample(30.0 * n, 0, 1000.0 * n) for n in range(11)]
    window = fed(*old, *(sample(300 + 30.0 * n, 1000.0 * n, 10_000) for n in range(1, 11)))
    assert window.ratio("hits", "misses") == 1.0


def test_too_few_operations_give_no_ratio():
    window = fed(sample(0, 0, 0), sample(30, 99, 0))
    assert window.ratio("hits", "misses") is None
    assert window.ratio("hits", "misses", min_operations=99) == 1.0


def test_no_operations_at_all_give_no_ratio_even_without_a_floor():
    assert fed(sample(0, 5, 5), sample(30, 5, 5)).ratio("hits", "misses", min_operations=0) is None


def test_rates_are_those_of_the_last_step():
    window = fed(sample(0, 0, 0), sample(10, 1000, 0), sample(20, 1050, 0))
    assert window.per_s("hits") == pytest.approx(5)
    assert window.since_last("hits") == 50
    assert window.total("hits") == 1050


def test_a_counter_that_is_not_read_is_not_known():
    assert fed(sample(0, 0, 0), sample(30, 1, 1)).per_s("evictions") is None
    assert known({"a": None, "b": 0}) == {"b": 0.0}


def test_a_carry_of_another_shape_is_an_empty_window():
    assert window_of(None) == window_of("something") == Window()


@given(
    st.lists(
        st.tuples(
            st.floats(0.1, 200),
            st.integers(-1000, 10**6),
            st.integers(-1000, 10**6),
            st.sampled_from(["a", "a", "a", "b"]),
        ),
        max_size=30,
    )
)
def test_whatever_happens_the_ratio_stays_between_0_and_1(story):
    at, hits, misses, window = 0.0, 0, 0, Window()
    for seconds, more_hits, more_misses, epoch in story:
        at, hits, misses = at + seconds, max(0, hits + more_hits), max(0, misses + more_misses)
        window = window.then(sample(at, hits, misses, epoch), 30)
        ratio = window.ratio("hits", "misses")
        rate = window.per_s("hits")
        assert ratio is None or 0 <= ratio <= 1
        assert rate is None or (rate >= 0 and math.isfinite(rate))
