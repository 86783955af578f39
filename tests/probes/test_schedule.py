"""Which check is due when: tables of times, no clock."""

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.grid import offset_ms
from probes.probe import BlockingProbe, Expect, Options, Probe
from probes.result import Status
from probes.schedule import Mood, Schedule, next_mood
from probes.target import Check, Estate, Target, Tier

PROBE = Probe(Options(), Expect())


class Statistics(Probe):
    """A conversation that is worth its numbers."""

    measures = True


class Database(BlockingProbe):
    """A kind that blocks."""

    measures = True


STATISTICS, DATABASE = Statistics(Options(), Expect()), Database(Options(), Expect())
UP, DOWN, DEGRADED, UNKNOWN = Status.UP, Status.DOWN, Status.DEGRADED, Status.UNKNOWN


def check(check_id: str = "shop/web/http", **fields: Any) -> Check:
    site, target, name = check_id.split("/")
    given: dict[str, Any] = {"interval_s": 60.0, "retry_interval_s": 5.0, "fail_after": 3, "recover_after": 2}
    given["probe"] = PROBE
    return Check(check_id, site, target, name, Tier.WEB, timeout_s=10.0, **(given | fields))


def estate(*checks: Check, needs: dict[str, tuple[str, ...]] | None = None) -> Estate:
    targets: dict[str, Target] = {}
    for one in checks:
        target_id = f"{one.site}/{one.target}"
        ids = tuple(c.id for c in checks if c.target == one.target)
        targets[target_id] = Target(
            target_id, one.site, one.target, one.target, one.tier, (needs or {}).get(target_id, ()), checks=ids
        )
    return Estate({}, targets, {one.id: one for one in checks})


def test_each_slot_is_taken_once_and_nothing_overlaps() -> None:
    one = check()
    schedule = Schedule(estate(one), 0)
    first = schedule.next_ms()
    assert first is not None
    assert schedule.take_due(first - 1, 10) == []
    assert [due.slot_ms for due in schedule.take_due(first, 10)] == [first]
    assert schedule.next_ms() is None
    assert schedule.take_due(first + 600_000, 10) == []
    schedule.finish(one.id, UP, first + 100)
    assert schedule.next_ms() == first + 60_000


def test_slots_that_pass_during_a_long_run_are_skipped() -> None:
    one = check(interval_s=10.0)
    schedule = Schedule(estate(one), 0)
    first = schedule.next_ms() or 0
    schedule.take_due(first, 1)
    schedule.finish(one.id, UP, first + 25_000)
    assert schedule.next_ms() == first + 30_000


def test_run_that_starts_an_interval_late_is_reported_once_and_not_run() -> None:
    one = check(interval_s=10.0)
    schedule = Schedule(estate(one), 0)
    first = schedule.next_ms() or 0
    assert [due.late for due in schedule.take_due(first + 10_000, 1)] == [False]
    schedule.finish(one.id, UP, first + 10_001)
    missed = schedule.take_due(first + 35_000, 5)
    assert [(due.late, due.slot_ms) for due in missed] == [(True, first + 20_000)]
    assert schedule.next_ms() == first + 40_000


def overload(checks: list[Check], starts_per_s: int, seconds: int) -> tuple[dict[str, list[int]], dict[str, int]]:
    """Run a schedule with too few starts: when each check was started, and how often it was late instead."""
    schedule = Schedule(estate(*checks), 0)
    starts: dict[str, list[int]] = {one.id: [] for one in checks}
    late = dict.fromkeys(starts, 0)
    for now in range(1000, seconds * 1000, 1000):
        left = starts_per_s
        for due in schedule.take_due(now, 100_000, starts_per_s):
            if due.late:
                late[due.check.id] += 1
            else:
                left -= 1
                starts[due.check.id].append(now)
                schedule.finish(due.check.id, UP, now)
        assert left >= 0
    return starts, late


def longest_pause(starts: list[int]) -> int:
    return max(later - earlier for earlier, later in itertools.pairwise(starts))


FAST = [check(f"shop/web/f{n}", interval_s=10.0) for n in range(200)]
SLOW = [check(f"shop/web/s{n}", interval_s=60.0) for n in range(20)]


def test_nobody_starves_under_tenfold_overload() -> None:
    starts, late = overload([*FAST, *SLOW], starts_per_s=2, seconds=900)
    fair_ms = 220 / 2 * 1000
    assert all(starts[one.id] for one in [*FAST, *SLOW])
    assert max(longest_pause(starts[one.id]) for one in [*FAST, *SLOW]) < 2 * fair_ms
    assert sum(late.values()) > 1000


def test_short_intervals_do_not_crowd_out_long_ones() -> None:
    starts, late = overload([*FAST, *SLOW], starts_per_s=8, seconds=600)
    assert sum(late[one.id] for one in SLOW) == 0
    assert max(longest_pause(starts[one.id]) for one in SLOW) < 65_000
    rounds = [len(starts[one.id]) for one in FAST]
    assert min(rounds) > 0.6 * max(rounds)
    assert sum(late[one.id] for one in FAST) > 0


def test_statistics_stand_back_first() -> None:
    numbers = [check(f"shop/web/n{n}", interval_s=10.0, probe=STATISTICS) for n in range(100)]
    starts, _ = overload([*FAST[:100], *numbers], starts_per_s=15, seconds=300)
    asked = sum(len(starts[one.id]) for one in FAST[:100])
    assert asked > 0.9 * 100 * 30
    assert all(starts[one.id] for one in numbers)
    assert sum(len(starts[one.id]) for one in numbers) < 0.75 * asked


def test_retries_of_a_thousand_failures_do_not_delay_the_healthy() -> None:
    """All of a thousand are suspect and due, ten starts at a time; a healthy one that was asked later is due too."""
    bad = [check(f"shop/web/b{n}", interval_s=36_000.0) for n in range(1000)]
    good = check("shop/web/good", interval_s=10.0)
    schedule = Schedule(estate(*bad, good), 0)
    for one in bad:
        schedule.run_now(one.id, 30_000)
    for due in schedule.take_due(30_000, 2000):
        schedule.finish(due.check.id, UP if due.check is good else DOWN, 30_000)
    assert schedule.take_due(40_000, 0) == []
    assert good.id in {due.check.id for due in schedule.take_due(40_001, 10)}
    retried = [due.check.id for _ in range(100) for due in schedule.take_due(40_002, 10)]
    assert len(retried) >= 985


@pytest.mark.parametrize("probe", [STATISTICS, DATABASE])
def test_shedding_leaves_out_every_second_slot_of_statistics(probe: Probe) -> None:
    numbers, web = check("shop/web/n", interval_s=10.0, probe=probe), check("shop/web/w", interval_s=10.0)
    schedule = Schedule(estate(numbers, web), 0)
    schedule.shedding = True
    runs: list[tuple[str, int]] = []
    for now in range(0, 120_000, 100):
        for due in schedule.take_due(now, 9):
            runs.append((due.check.name, due.slot_ms))
            schedule.finish(due.check.id, UP, now)
    slots = {name: [slot for one, slot in runs if one == name] for name in ("n", "w")}
    assert {later - earlier for earlier, later in itertools.pairwise(slots["n"])} == {20_000}
    assert {later - earlier for earlier, later in itertools.pairwise(slots["w"])} == {10_000}
    assert schedule.shed == len(slots["n"])


def test_blocking_kinds_do_not_wait_for_room_for_conversations() -> None:
    web, db = check("shop/web/http"), check("shop/db/postgresql", probe=DATABASE)
    schedule = Schedule(estate(web, db), 0)
    assert [due.check.id for due in schedule.take_due(60_000, 9, room=0)] == [db.id]
    assert schedule.waiting == 1
    assert schedule.next_ms(has_room=True) == 60_000
    assert [due.check.id for due in schedule.take_due(60_100, 9, room=1)] == [web.id]


def test_those_that_wait_without_room_become_late_in_time() -> None:
    web = [check(f"shop/web/w{n}", interval_s=10.0) for n in range(5)]
    schedule = Schedule(estate(*web), 0)
    assert schedule.take_due(10_000, 9, room=0) == []
    at = schedule.next_ms(has_room=False)
    assert at is not None
    assert at <= 11_000
    assert {due.late for due in schedule.take_due(20_001, 9, room=0)} == {True}
    assert schedule.waiting == 0


def test_no_more_are_taken_than_asked_for() -> None:
    checks = [check(f"shop/web/w{n}", probe=DATABASE if n % 2 else PROBE) for n in range(20)]
    schedule = Schedule(estate(*checks), 0)
    taken = [len(schedule.take_due(60_000, 3)) for _ in range(8)]
    assert taken == [3] * 6 + [2, 0]


def test_what_somebody_asks_for_goes_before_all_that_wait() -> None:
    checks = [check(f"shop/web/w{n}", interval_s=60.0) for n in range(30)]
    schedule = Schedule(estate(*checks), 0)
    for due in schedule.take_due(60_000, 30):
        schedule.finish(due.check.id, UP, 60_001)
    assert schedule.take_due(120_000, 30, room=0) == []
    schedule.run_now(checks[17].id, 120_001)
    assert [due.check.id for due in schedule.take_due(120_002, 30, room=1)] == [checks[17].id]
    assert len(schedule.take_due(120_003, 99, room=99)) == 29


MOODS: list[tuple[str, list[Status], list[Mood]]] = [
    ("ok stays", [UP, DEGRADED, UP], [Mood.OK] * 3),
    ("three failures", [DOWN, DOWN, DOWN], [Mood.SUSPECT, Mood.SUSPECT, Mood.DOWN]),
    ("soft recovery", [DOWN, UP, DOWN, DOWN], [Mood.SUSPECT, Mood.OK, Mood.SUSPECT, Mood.SUSPECT]),
    ("unknown freezes", [DOWN, UNKNOWN, DOWN, UNKNOWN, DOWN], [Mood.SUSPECT] * 4 + [Mood.DOWN]),
    ("recovery", [DOWN, DOWN, DOWN, UP, UP], [Mood.SUSPECT, Mood.SUSPECT, Mood.DOWN, Mood.RECOVERING, Mood.OK]),
    ("relapse", [DOWN] * 3 + [DEGRADED, DOWN], [Mood.SUSPECT, Mood.SUSPECT, Mood.DOWN, Mood.RECOVERING, Mood.DOWN]),
]


@pytest.mark.parametrize(("statuses", "moods"), [row[1:] for row in MOODS], ids=[row[0] for row in MOODS])
def test_moods_follow_the_state_machine(statuses: list[Status], moods: list[Mood]) -> None:
    mood, streak, seen = Mood.OK, 0, []
    for status in statuses:
        mood, streak = next_mood(check(), mood, streak, status)
        seen.append(mood)
    assert seen == moods


def test_one_failure_is_enough_where_it_is_configured() -> None:
    assert next_mood(check(fail_after=1), Mood.OK, 0, DOWN) == (Mood.DOWN, 0)
    assert next_mood(check(recover_after=1), Mood.DOWN, 0, UP) == (Mood.OK, 0)


def run(schedule: Schedule, status: Status, took_ms: int = 10) -> int:
    """Run the next due check; the time it started."""
    at = schedule.next_ms() or 0
    (due,) = schedule.take_due(at, 1)
    schedule.finish(due.check.id, status, at + took_ms)
    return at


def test_suspect_is_asked_again_at_the_retry_interval_and_goes_back_to_the_grid() -> None:
    schedule = Schedule(estate(check()), 0)
    first = run(schedule, UP)
    starts = [run(schedule, status) - first for status in (DOWN, DOWN, DOWN, DOWN, UP, UP, UP)]
    assert starts == [60_000, 65_010, 70_020, 120_000, 180_000, 185_010, 240_000]


def test_dependencies_of_a_new_suspect_are_asked_at_once() -> None:
    web, app, db = check("shop/web/http"), check("shop/app/http"), check("shop/db/postgresql")
    other = check("shop/mail/tcp")
    graph = {"shop/web": ("shop/app",), "shop/app": ("shop/db",)}
    schedule = Schedule(estate(web, app, db, other, needs=graph), 0)
    schedule.run_now(web.id, 1000)
    assert [due.check.id for due in schedule.take_due(1000, 9)] == [web.id]
    schedule.finish(web.id, DOWN, 1100)
    assert {due.check.id for due in schedule.take_due(1100, 9)} == {app.id, db.id}


def test_dependency_asked_a_moment_ago_waits_until_its_answer_is_worth_renewing() -> None:
    web, db = check("shop/web/http"), check("shop/db/postgresql")
    schedule = Schedule(estate(web, db, needs={"shop/web": ("shop/db",)}), 0)
    schedule.run_now(db.id, 20_000)
    assert {due.check.id for due in schedule.take_due(20_000, 9)} == {db.id, web.id}
    schedule.finish(db.id, UP, 20_010)
    schedule.finish(web.id, DOWN, 21_000)
    assert schedule.next_ms() == 25_000


def test_run_now_of_an_unknown_check_is_refused() -> None:
    assert Schedule(estate(check()), 0).run_now("no/such/check", 0) is False


def test_reload_keeps_plans_and_moods_and_follows_intervals() -> None:
    kept, gone = check("shop/web/a"), check("shop/web/b")
    schedule = Schedule(estate(kept, gone), 0)
    schedule.run_now(kept.id, 500)
    schedule.take_due(500, 1)
    schedule.finish(kept.id, DOWN, 510)
    slower, new = check("shop/web/a", interval_s=30.0), check("shop/web/c")
    schedule.replace(estate(slower, new), 600)
    assert len(schedule) == 2
    assert schedule.mood_of(kept.id) is Mood.SUSPECT
    schedule.finish(gone.id, UP, 700)


FEW, MANY = 1, 90
"""How many checks at 1 s stand beside the one that is looked at: its starts lie on a grain of 500 ms or 250 ms."""
CROWD = [check(f"shop/crowd/c{n}", interval_s=1.0) for n in range(MANY)]


def starts_while_reloading(one: Check, reloads_ms: Sequence[int], took_ms: Sequence[int], until_ms: int) -> list[int]:
    """When a check starts while the estate around it, and with it the grain of all slots, changes again and again."""
    sizes, took = itertools.cycle([MANY, FEW]), itertools.cycle(took_ms)
    schedule = Schedule(estate(one, *CROWD[:FEW]), 0)
    events = [(at_ms, "reload") for at_ms in reloads_ms]
    starts: list[int] = []
    ends: dict[str, int] = {}
    now = 0
    while now < until_ms:
        for due in schedule.take_due(now, 10_000):
            if due.check.id == one.id:
                starts.append(now)
                ends[one.id] = now + next(took)
        if ends.get(one.id, now + 1) <= now:
            schedule.finish(one.id, UP, ends.pop(one.id))
        if events and events[0][0] <= now:
            events.pop(0)
            schedule.replace(estate(one, *CROWD[: next(sizes)]), now)
        coming = [schedule.next_ms(), ends.get(one.id), events[0][0] if events else None]
        now = max(now, min(at_ms for at_ms in (*coming, until_ms) if at_ms is not None))
    return starts


@given(
    name=st.text("abc", max_size=4),
    reloads_ms=st.lists(st.integers(1, 60_000), min_size=1, max_size=12).map(sorted),
    near_ms=st.lists(st.integers(-510, 510), max_size=6),
    took_ms=st.lists(st.sampled_from([0, 1, 90, 400]), min_size=1, max_size=3),
)
@settings(max_examples=60, deadline=None)
def test_no_slot_is_skipped_or_doubled_whatever_is_reloaded(
    name: str, reloads_ms: list[int], near_ms: list[int], took_ms: list[int]
) -> None:
    one = check(f"shop/web/x{name}", interval_s=10.0)
    own_ms = offset_ms(one.id, 10_000)
    near = [at_ms for number, shift in enumerate(near_ms) if (at_ms := own_ms + 10_000 * number + shift) > 0]
    starts = starts_while_reloading(one, sorted([*reloads_ms, *near]), took_ms, own_ms + 65_000)
    slots = [(at_ms - own_ms + 5000) // 10_000 for at_ms in starts]
    assert slots == list(range(slots[0], 7))
    assert slots[0] <= 1
    assert all(-500 < at_ms - own_ms - slot * 10_000 <= 500 for at_ms, slot in zip(starts, slots, strict=True))


def test_run_under_way_is_not_repeated_when_its_slot_moves_a_little_later() -> None:
    candidates = (check(f"shop/web/c{n}", interval_s=10.0) for n in range(99))
    one = next(one for one in candidates if offset_ms(one.id, 500) >= 250)
    schedule = Schedule(estate(one), 0)
    slot_ms = schedule.next_ms() or 0
    assert schedule.take_due(slot_ms, 1)
    schedule.replace(estate(one, *CROWD), slot_ms + 10)
    schedule.finish(one.id, UP, slot_ms + 20)
    taken = [due.slot_ms for at_ms in range(slot_ms, slot_ms + 10_300, 5) for due in schedule.take_due(at_ms, 99)
             if due.check.id == one.id]  # fmt: skip
    assert taken == [slot_ms + 250 + 10_000]


def test_removed_check_that_is_under_way_ends_quietly() -> None:
    one = check()
    schedule = Schedule(estate(one), 0)
    schedule.run_now(one.id, 1)
    schedule.take_due(1, 1)
    schedule.replace(estate(check("shop/web/other")), 2)
    schedule.finish(one.id, DOWN, 3)
    assert [due.check.id for due in schedule.take_due(10**7, 9)] == ["shop/web/other"]


@pytest.mark.parametrize("jump_ms", [3_600_000, 86_400_000, -3_600_000])
def test_clock_jump_spreads_again_and_forgets_suspicion(jump_ms: int) -> None:
    start = 1_700_000_000_000
    checks = [check(f"shop/web/c{n}") for n in range(50)]
    schedule = Schedule(estate(*checks), start)
    schedule.run_now(checks[0].id, start + 1)
    schedule.take_due(start + 1, 1)
    schedule.finish(checks[0].id, DOWN, start + 2)
    now = start + jump_ms
    schedule.rebase(now)
    assert schedule.mood_of(checks[0].id) is Mood.OK
    assert schedule.take_due(now, 99) == []
    at = schedule.next_ms()
    assert at is not None
    assert now < at <= now + 60_000
    taken = schedule.take_due(now + 60_000, 99)
    assert len(taken) == 50
    assert not any(due.late for due in taken)
