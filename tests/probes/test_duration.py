"""Durations are read as people write them and written as people read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.duration import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("10s", 10),
        ("1.5m", 90),
        ("1h30m", 5400),
        (" 2 h ", 7200),
        ("7d", 604800),
        ("2y", 63072000),
        (3, 3),
        (0.5, 0.5),
        ("15", 15),
    ],
)
def test_durations_are_read_as_people_write_them(text: object, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "soon", "-5s", True, None, "5 parsecs", "10S", "1e3s", -1, float("nan"), float("inf"), [], "200y", "s"]
)
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.25, "250ms"),
        (1.5, "1.5s"),
        (10, "10s"),
        (90, "1m30s"),
        (5400, "1h30m"),
        (604800, "7d"),
        (90061, "1d1h"),
        (59.6, "1m"),
        (3599.9, "1h"),
    ],
)
def test_durations_are_written_shortly(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.floats(0.001, 1e9))
def test_what_is_written_is_read_back_nearly(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=0.06)
