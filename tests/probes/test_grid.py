"""Where the slots of checks lie: the same in every process, spread over the interval, and in small companies."""

import statistics
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.grid import Grid, grain_ms_of, offset_ms
from probes.probe import BlockingProbe, Expect, Options, Probe
from probes.target import Check, Tier

GRAINS = (500, 250, 125, 50, 25, 10, 5, 1)


class Database(BlockingProbe):
    """A kind that blocks."""


def check(name: str = "http", **fields: Any) -> Check:
    given: dict[str, Any] = {"interval_s": 20.0, "retry_interval_s": 5.0, "fail_after": 3, "recover_after": 2}
    given["probe"] = Probe(Options(), Expect())
    return Check(f"shop/web/{name}", "shop", "web", name, Tier.WEB, timeout_s=1.0, **(given | fields))


def estate(count: int, interval_s: float = 20.0) -> list[Check]:
    return [check(f"c{number}", interval_s=interval_s) for number in range(count)]


def test_offset_is_stable_across_versions() -> None:
    assert [offset_ms(f"shop/web/{n}", 60_000) for n in "abc"] == [51669, 4662, 43231]
    assert [Grid.of(check(n, interval_s=60.0), 250).offset_ms for n in "abc"] == [51500, 4500, 43000]


@pytest.mark.parametrize("grain_ms", GRAINS)
def test_starts_are_spread_over_the_interval(grain_ms: int) -> None:
    tenths = [Grid.of(check(f"c{n}", interval_s=10.0), grain_ms).offset_ms // 1000 for n in range(1000)]
    counts = [tenths.count(n) for n in range(10)]
    assert min(counts) > 60
    assert statistics.pstdev(counts) < 20


@given(
    now=st.integers(0, 4_000_000_000_000),
    interval_s=st.sampled_from([0.25, 1, 7.3, 10, 60, 3600]),
    name=st.text("ab", max_size=9),
    grain_ms=st.sampled_from(GRAINS),
)
def test_next_slot_is_on_the_grid_and_within_one_interval(
    now: int, interval_s: float, name: str, grain_ms: int
) -> None:
    grid = Grid.of(check(name, interval_s=interval_s), grain_ms)
    slot = grid.next_ms(now)
    assert now < slot <= now + interval_s * 1000
    assert grid.next_ms(slot) == slot + interval_s * 1000


@pytest.mark.parametrize(
    ("count", "interval_s", "grain_ms"),
    [
        (0, 20.0, 500),
        (30, 30.0, 500),
        (1000, 20.0, 500),
        (1000, 10.0, 250),
        (1000, 5.0, 50),
        (1000, 1.0, 10),
        (5000, 2.0, 5),
    ],
)
def test_grain_brings_a_dozen_or_two_together(count: int, interval_s: float, grain_ms: int) -> None:
    assert grain_ms_of(estate(count, interval_s)) == grain_ms


def test_a_thousand_checks_start_in_small_companies() -> None:
    checks = estate(1000)
    starts = Counter(Grid.of(one, grain_ms_of(checks)).next_ms(0) for one in checks)
    assert len(starts) <= 40
    assert max(starts.values()) <= 45
    assert all(at_ms % 500 == 0 for at_ms in starts)


@pytest.mark.parametrize(
    ("interval_s", "own_ms"),
    [(10.0, 250), (5.0, 250), (1.0, 50), (0.25, 10), (7.3, 50), (0.333, 1)],
    ids=["long", "just long enough", "short", "very short", "odd", "very odd"],
)
def test_short_and_odd_intervals_keep_a_finer_grain(interval_s: float, own_ms: int) -> None:
    offsets = {Grid.of(check(f"c{n}", interval_s=interval_s), 250).offset_ms for n in range(2000)}
    assert all(offset % own_ms == 0 for offset in offsets)
    assert len(offsets) >= 20
    assert own_ms == 250 or any(offset % (own_ms * 5) for offset in offsets)


def test_blocking_kinds_start_one_by_one() -> None:
    blocking = [check(f"c{n}", probe=Database(Options(), Expect())) for n in range(1000)]
    assert grain_ms_of(blocking) == 500
    assert len({Grid.of(one, 500).offset_ms for one in blocking}) > 900
