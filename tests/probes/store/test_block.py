"""A packed hour gives back what was packed, within the step, in a few bytes a result."""

import json
import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.store.block import BlockError, pack, unpack
from probes.store.columns import EXACT_US, PHASES, PLAIN, STEP_US, Columns
from probes.store.keys import key_of
from probes.store.rows import MAX_INT, HotRow

HOUR = 3_600_000
HOUR_MS = 488_889 * HOUR
DURATION = st.one_of(st.none(), st.integers(0, 20_000), st.integers(0, 10**15))
NUMBER = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(10**6), 10**6).map(float),
    st.integers(0, 10**6).map(lambda whole: whole / 100),
    st.just(0.25),
)


@st.composite
def rows(draw: Callable[..., object]) -> list[HotRow]:
    offsets = draw(st.sets(st.integers(0, HOUR - 1), min_size=1, max_size=40))
    names = draw(st.lists(st.text(min_size=1, max_size=8), max_size=3, unique=True))
    made = []
    for offset in sorted(offsets):  # type: ignore[call-overload]
        metrics = {name: draw(NUMBER) for name in names if draw(st.booleans())}  # type: ignore[attr-defined]
        made.append(
            HotRow(
                key_of(HOUR_MS + offset, 7),
                draw(st.integers(0, 3)),
                draw(st.one_of(st.none(), st.just(200), st.integers(-MAX_INT, MAX_INT))),
                *(draw(DURATION) for _ in range(6)),
                draw(st.integers(0, MAX_INT)),
                draw(st.one_of(st.none(), st.integers(1, MAX_INT))),
                json.dumps(metrics) if metrics else None,
            )  # type: ignore[arg-type]
        )
    return made


@settings(max_examples=300, deadline=None)
@given(rows())
def test_what_is_packed_comes_back_within_the_step(given_rows: list[HotRow]) -> None:
    columns = Columns.of_rows(given_rows)
    back = unpack(pack(columns, HOUR_MS), HOUR_MS)
    assert back == columns.rounded() == columns.rounded().rounded()
    for name in PLAIN:
        for before, after in zip(getattr(columns, name), getattr(back, name), strict=True):
            exact = name not in (*PHASES, "total_us") or (name == "total_us" and (before or 0) < EXACT_US)
            assert before == after if exact or before is None else abs(before - after) <= STEP_US / 2
    assert back.metrics == columns.metrics
    again = Columns.of_rows(list(back.rows(7)))
    assert again.rounded() == back


@settings(max_examples=100, deadline=None)
@given(rows(), st.randoms())
def test_hours_merge_to_the_same_in_any_order(given_rows: list[HotRow], chance: random.Random) -> None:
    whole = Columns.of_rows(given_rows).rounded()
    left = [row for row in given_rows if chance.random() < 0.6]
    right = [row for row in given_rows if row not in left or chance.random() < 0.3]
    parts = [Columns.of_rows(part).rounded() for part in (left, right)]
    for one, other in (parts, parts[::-1]):
        assert pack(one.merged(other), HOUR_MS) == pack(whole, HOUR_MS)


@settings(max_examples=200, deadline=None)
@given(rows(), st.data())
def test_damaged_block_is_said_or_gives_whole_columns(given_rows: list[HotRow], data: st.DataObject) -> None:
    packed = bytearray(pack(Columns.of_rows(given_rows), HOUR_MS))
    at = data.draw(st.integers(1, len(packed) - 1))
    packed[at] ^= data.draw(st.integers(1, 255))
    try:
        found = unpack(bytes(packed), HOUR_MS)
    except BlockError:
        return
    assert {len(getattr(found, name)) for name in PLAIN} == {len(found)}


@pytest.mark.parametrize("data", [b"", b"\x02abc", b"\x01", b"\x01\xff\xff"])
def test_bytes_that_are_no_block_are_refused(data: bytes) -> None:
    with pytest.raises(BlockError):
        unpack(data, HOUR_MS)


def make_hour(n: int, metrics: Callable[[int], dict[str, float]] = lambda _: {}, seed: int = 1) -> Columns:
    """An http check with all five phases, each as noisy as a real one, and a failure in two hundred."""
    chance = random.Random(seed)
    made = []
    for number in range(n):
        phases = [
            int(chance.lognormvariate(math.log(middle), spread))
            for middle, spread in ((900, 0.25), (1800, 0.15), (6000, 0.15), (50_000, 0.3), (300, 0.4))
        ]
        down = chance.random() < 0.005
        made.append(
            HotRow(
                key_of(HOUR_MS + 3217 + number * (HOUR // n), 7),
                2 if down else 0,
                503 if down else 200,
                sum(phases) + int(chance.lognormvariate(5, 0.3)),
                *phases,
                int(chance.lognormvariate(1, 0.8)),
                chance.choice([4, 5]) if down else None,
                json.dumps(metrics(number)) if metrics(number) else None,
            )
        )
    return Columns.of_rows(made)


@pytest.mark.parametrize(("n", "limit"), [(360, 9), (120, 10), (60, 12)], ids=["10 s", "30 s", "60 s"])
def test_result_takes_few_bytes(n: int, limit: float) -> None:
    sizes = [len(pack(make_hour(n, seed=seed), HOUR_MS)) for seed in range(5)]
    assert sum(sizes) / 5 / n <= limit


def test_metrics_that_do_not_change_cost_nothing() -> None:
    bare = len(pack(make_hour(360), HOUR_MS))
    steady = make_hour(360, lambda _: {"days_left": 62.718281828, "size_bytes": 4096.0, "version": 1.3})
    assert len(pack(steady, HOUR_MS)) - bare < 0.2 * 360
    counting = make_hour(360, lambda number: {"connections": 40.0 + number % 3, "written_bytes": 1e9 + number * 8192})
    assert len(pack(counting, HOUR_MS)) - bare < 360
