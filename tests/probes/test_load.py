"""Does the worker keep up? Tables of runs, no clock."""

import pytest

from probes.load import LoadWatch, say_overload


def watched(*seconds: tuple[int, int]) -> LoadWatch:
    """A watch that saw (runs on time, late runs) in each second, and looked each time."""
    load = LoadWatch()
    for second, (good, late) in enumerate(seconds):
        for _ in range(good):
            load.note(5, second)
        for _ in range(late):
            load.note(1500, second)
        load.look(second)
    return load


@pytest.mark.parametrize(
    ("seconds", "overloaded"),
    [
        pytest.param([(100, 0)] * 40, False, id="on time"),
        pytest.param([(100, 1)] * 40, False, id="one in a hundred"),
        pytest.param([(100, 10)] * 40, True, id="one in eleven"),
        pytest.param([(3, 1)], False, id="too few to say"),
        pytest.param([(100, 10)] * 40 + [(100, 0)] * 20, True, id="not over yet"),
        pytest.param([(100, 10)] * 40 + [(100, 0)] * 40, False, id="over"),
        pytest.param([(100, 10)] * 40 + [(100, 3)] * 60, True, id="ends later than it begins"),
        pytest.param([(0, 50)] * 5, True, id="nothing in time"),
    ],
)
def test_overload_begins_and_ends(seconds: list[tuple[int, int]], overloaded: bool) -> None:
    assert watched(*seconds).overloaded is overloaded


def test_old_seconds_do_not_count() -> None:
    load = watched((0, 100))
    load.look(100)
    assert (load.late_ratio, load.overloaded) == (0.0, False)


def test_what_was_late_through_a_sleep_says_nothing() -> None:
    load = watched((0, 100))
    load.forget()
    assert load.look(1) is False


def test_words_name_what_is_short_and_what_to_do() -> None:
    assert "processor is short" in say_overload(0.25, {}, 0)
    threads = say_overload(0.25, {"redis": 2, "postgresql": 9}, 0)
    assert "25% of the last runs" in threads
    assert "9 postgresql, 2 redis" in threads
    assert "or raise worker.threads" in threads
    assert "worker.max_in_flight" not in threads
    assert "or raise worker.max_in_flight" in say_overload(0.25, {}, 7)
    assert "ore workers" in say_overload(0.25, {}, 7)
