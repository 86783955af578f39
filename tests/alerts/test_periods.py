"""When maintenance was open over a stretch of time: the same answer as asking at every minute."""

from datetime import datetime, time

import pytest

from alerts.mute import Window

MINUTE, DAY = 60_000, 86_400_000
T0 = 1_772_323_200_000  # 2026-03-01T00:00Z, a Sunday; clocks in Berlin change on the 29th


@pytest.mark.parametrize(
    "window",
    [
        Window(length_s=7200, at=time(2), rule="FREQ=WEEKLY;BYDAY=SU", zone="Europe/Berlin"),
        Window(length_s=5400, at=time(23, 30), rule="FREQ=DAILY", zone="UTC"),
        Window(length_s=3 * 86400, at=time(1), rule="FREQ=MONTHLY;BYMONTHDAY=-1", zone="UTC"),
        Window(length_s=3600, starts=datetime(2026, 3, 10, 2), zone="Europe/Berlin"),  # noqa: DTZ001 - local time
    ],
    ids=["weekly over a change of clocks", "over midnight", "three days from the last of the month", "once"],
)
def test_periods_are_when_it_covers(window: Window) -> None:
    from_ms, to_ms = T0 + 90 * MINUTE, T0 + 35 * DAY
    periods = window.periods(from_ms, to_ms)
    assert periods
    for at_ms in range(from_ms, to_ms, 10 * MINUTE):
        assert window.covers(at_ms) is any(start <= at_ms < end for start, end in periods), at_ms


def test_a_period_is_cut_to_what_was_asked_for() -> None:
    window = Window(length_s=7200, at=time(2), rule="FREQ=DAILY")
    assert window.periods(T0 + 3 * 3_600_000, T0 + 5 * 3_600_000) == [(T0 + 3 * 3_600_000, T0 + 4 * 3_600_000)]
    assert window.periods(T0 + 5 * 3_600_000, T0 + 6 * 3_600_000) == []
