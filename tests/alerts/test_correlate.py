"""One incident for the deepest failing target; what joins it, what takes it over, what ends it."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.book import Book
from alerts.check_state import CheckState, State
from alerts.condition import conditions
from alerts.correlate import Scene, correlate
from alerts.incident import Incident, IncidentState, Level, Severity
from alerts.root import Blame, Graph
from alerts.timings import Timings
from probes.target import Estate, Tier


class World:
    """Checks' states and incidents, moved along by hand."""

    def __init__(self, shop: Any, estate: Estate | None = None) -> None:
        self.shop = shop
        self.estate = estate or shop.estate()
        self.now_ms = 1_000_000
        self.states: dict[str, CheckState] = {}
        self.incidents: list[Incident] = []
        self.muted: set[str] = set()
        self.happened: Counter[str] = Counter()

    def put(self, name: str, state: State, **changes: Any) -> None:
        made = self.shop.well(name, self.now_ms)
        if state is not State.OK:
            made = self.shop.down(name, self.now_ms, state)
        self.states[made.check_id] = replace(made, **changes)

    def down(self, *names: str) -> None:
        for name in names:
            self.put(name, State.DOWN)

    def well(self, *names: str) -> None:
        for name in names:
            self.put(name, State.OK)

    def degraded(self, *names: str) -> None:
        for name in names:
            self.put(name, State.OK, degraded=True, degraded_ms=self.now_ms, degraded_message="slow")

    def turn(self, after_s: float = 1) -> list[Incident]:
        self.now_ms += int(after_s * 1000)
        self.states = {check_id: replace(state, vote_ms=self.now_ms) for check_id, state in self.states.items()}
        book = Book(self.incidents, self.now_ms)
        blame = Blame(Graph(self.estate), conditions(self.estate, self.states, self.now_ms))
        correlate(book, Scene(self.estate, blame, Timings(), self.now_ms, lambda target: target in self.muted))
        self.incidents = list(book.incidents.values())
        self.happened.update(event.kind if event.text[:8] != "now part" else "merged" for event in book.events)
        return self.open()

    def tell(self) -> None:
        self.incidents = [
            replace(one, told_ms=self.now_ms, told=one.active, wait_until_ms=None) if one.is_open else one
            for one in self.incidents
        ]

    def open(self) -> list[Incident]:
        return [one for one in self.incidents if one.is_open]

    def picture(self) -> set[tuple[str, frozenset[str]]]:
        return {(one.root, frozenset(one.active)) for one in self.open()}


@pytest.fixture
def world(shop: Any) -> World:
    return World(shop)


def names(incident: Incident) -> set[str]:
    return {target.removeprefix("shop/") for target in incident.active}


def test_one_incident_at_the_deepest_failing_target(world: World) -> None:
    world.down("web", "app", "login", "db")
    (incident,) = world.turn()
    assert (incident.root, incident.severity) == ("shop/db", Severity.PAGE)
    assert names(incident) == {"web", "app", "login", "db"}


def test_a_suspect_takes_the_blame_of_who_needs_it(world: World) -> None:
    world.down("app")
    world.put("db", State.SUSPECT)
    (incident,) = world.turn()
    assert incident.root == "shop/db"


def test_a_suspect_alone_opens_nothing(world: World) -> None:
    world.put("db", State.SUSPECT)
    assert world.turn() == []


def test_targets_without_checks_are_passed_through(shop: Any) -> None:
    world = World(shop, shop.estate(without_checks=("app",)))
    world.down("web", "db")
    (incident,) = world.turn()
    assert incident.root == "shop/db"
    assert names(incident) == {"web", "db"}


def test_a_well_target_between_stops_the_walk(world: World) -> None:
    world.down("web", "db")
    world.well("app", "login")
    assert {one.root for one in world.turn()} == {"shop/web", "shop/db"}


def test_two_roots_are_two_incidents_with_common_members(world: World) -> None:
    world.down("app", "db", "cache")
    world.turn()
    assert world.picture() == {
        ("shop/db", frozenset({"shop/db", "shop/app"})),
        ("shop/cache", frozenset({"shop/cache", "shop/app"})),
    }


def test_deeper_failure_takes_over_and_keeps_the_id(world: World) -> None:
    world.down("app")
    (before,) = world.turn()
    world.tell()
    world.down("db")
    (after,) = world.turn(60)
    assert (after.id, after.root) == (before.id, "shop/db")
    assert names(after) == {"app", "db"}
    assert after.update_due_ms == (before.wait_until_ms or 0) - 10_000 + 300_000


def test_deeper_failure_much_later_is_an_incident_of_its_own(world: World) -> None:
    world.down("app")
    world.turn()
    world.tell()
    world.turn(3600)
    world.down("db")
    world.turn()
    assert {one.root for one in world.open()} == {"shop/app", "shop/db"}


def test_two_that_meet_at_one_root_become_one(world: World) -> None:
    world.down("app", "login")
    world.turn()
    assert len(world.open()) == 2
    world.down("db")
    (incident,) = world.turn()
    assert incident.root == "shop/db"
    assert names(incident) == {"app", "login", "db"}
    assert [one.closed_as for one in world.incidents if not one.is_open] == ["merged"]


@pytest.mark.parametrize("order", [["db", "app", "web"], ["web", "app", "db"], ["app", "db", "web"]])
def test_recovery_in_any_order_resolves_once(world: World, order: list[str]) -> None:
    world.down("web", "app", "db")
    world.turn()
    world.tell()
    for name in order:
        assert len(world.open()) == 1
        world.well(name)
        world.turn(10)
    (incident,) = world.incidents
    assert (incident.state, incident.closed_as, incident.unannounced) == (IncidentState.RESOLVED, "recovered", True)


def test_next_deepest_is_promoted_when_the_root_is_well_and_members_are_not(world: World) -> None:
    world.down("web", "app", "db")
    (before,) = world.turn()
    world.tell()
    world.well("db")
    (waiting,) = world.turn()
    assert waiting.root == "shop/db"
    (after,) = world.turn(81)
    assert (after.id, after.root, names(after)) == (before.id, "shop/app", {"web", "app"})


def test_disjoint_members_split_when_the_root_is_well(world: World) -> None:
    world.down("app", "login", "db")
    world.turn()
    world.tell()
    world.well("db")
    world.turn()
    world.turn(81)
    assert world.picture() == {
        ("shop/app", frozenset({"shop/app"})),
        ("shop/login", frozenset({"shop/login"})),
    }


def test_member_that_another_incident_explains_does_not_hold_this_one(world: World) -> None:
    world.down("app", "db", "cache")
    world.turn()
    world.tell()
    world.well("db")
    world.turn()
    assert world.picture() == {("shop/cache", frozenset({"shop/cache", "shop/app"}))}


def test_degraded_target_is_a_warning(world: World) -> None:
    world.degraded("cache")
    (incident,) = world.turn()
    assert (incident.root, incident.severity) == ("shop/cache", Severity.WARNING)


def test_degraded_chain_is_one_warning_at_the_deepest(world: World) -> None:
    world.degraded("web", "app", "cache")
    (incident,) = world.turn()
    assert (incident.root, names(incident)) == ("shop/cache", {"web", "app", "cache"})


def test_degraded_dependent_of_a_failing_root_attaches_silently(world: World) -> None:
    world.down("db")
    world.turn()
    world.tell()
    world.degraded("app")
    (incident,) = world.turn()
    assert names(incident) == {"db", "app"}
    assert incident.update_due_ms is None


def test_degraded_dependent_waits_while_its_need_is_suspect(world: World) -> None:
    world.put("db", State.SUSPECT)
    world.degraded("app")
    assert world.turn() == []


def test_degraded_in_the_wake_of_an_outage_is_no_incident_yet(world: World) -> None:
    world.down("db")
    world.degraded("app")
    world.turn()
    world.well("db")
    assert world.turn() == []
    assert len(world.turn(301)) == 1


def test_degraded_member_that_goes_down_is_a_page(world: World) -> None:
    world.degraded("app", "cache")
    world.turn()
    world.down("app")
    assert {(one.root, one.severity) for one in world.turn()} == {
        ("shop/cache", Severity.WARNING),
        ("shop/app", Severity.PAGE),
    }


def test_warning_whose_root_goes_down_becomes_a_page_at_once(world: World) -> None:
    world.degraded("cache")
    (before,) = world.turn()
    world.tell()
    world.down("cache")
    (after,) = world.turn()
    assert (after.id, after.severity, after.update_due_ms) == (before.id, Severity.PAGE, world.now_ms)


def test_removed_target_resolves_with_that_reason(world: World) -> None:
    world.down("cache")
    world.turn()
    targets = {
        name: (tier, tuple(n for n in needs if n != "cache")) for name, (tier, needs) in world.shop.targets.items()
    }
    del targets["cache"]
    world.estate = world.shop.estate(targets)
    assert world.turn() == []
    assert world.incidents[0].closed_as == "removed"


def test_same_root_within_ten_minutes_reopens(world: World) -> None:
    world.down("db")
    (before,) = world.turn()
    world.tell()
    world.well("db")
    world.turn()
    world.down("db")
    (after,) = world.turn(60)
    assert (after.id, after.refire, after.told_ms) == (before.id, True, None)


def test_same_root_later_is_a_new_incident(world: World) -> None:
    world.down("db")
    (before,) = world.turn()
    world.well("db")
    world.turn()
    world.down("db")
    (after,) = world.turn(601)
    assert after.id != before.id


def test_old_evidence_opens_nothing(world: World) -> None:
    world.down("db")
    world.now_ms += 60_000
    book = Book([], world.now_ms)
    blame = Blame(Graph(world.estate), conditions(world.estate, world.states, world.now_ms))
    correlate(book, Scene(world.estate, blame, Timings(), world.now_ms))
    assert book.open == []


def test_maintenance_opens_nothing_but_resolves(world: World) -> None:
    world.muted = {"shop/db", "shop/cache"}
    world.down("db")
    assert world.turn() == []
    world.muted = {"shop/cache"}
    assert len(world.turn()) == 1
    world.muted = {"shop/db"}
    assert len(world.turn()) == 1
    world.well("db")
    assert world.turn() == []


def test_maintenance_of_the_root_covers_its_dependents(world: World) -> None:
    world.muted = {"shop/db"}
    world.down("db", "app")
    assert world.turn() == []


def test_what_was_closed_by_hand_is_left_alone_until_it_was_well(world: World) -> None:
    world.down("db")
    (incident,) = world.turn()
    closed = replace(incident, state=IncidentState.RESOLVED, resolved_ms=world.now_ms, dismissing=True)
    world.incidents = [replace(closed, closed_as="by hand")]
    assert world.turn() == []
    world.well("db")
    world.turn()
    world.down("db")
    assert len(world.turn()) == 1


@st.composite
def outages(draw: st.DrawFn) -> tuple[dict[str, tuple[Tier, tuple[str, ...]]], list[str], list[str]]:
    count = draw(st.integers(2, 9))
    targets = {f"t{i}": (Tier.APP, tuple(f"t{j}" for j in range(i) if draw(st.booleans()))) for i in range(count)}
    failing = draw(st.lists(st.sampled_from(sorted(targets)), unique=True, min_size=1))
    return targets, failing, draw(st.permutations(failing))


def arrive(world: World, order: Iterable[str]) -> None:
    """Failures come one by one, everybody is told each time."""
    for name in order:
        world.down(name)
        world.turn()
        world.tell()
    world.turn()


@settings(max_examples=300, deadline=None)
@given(outages())
def test_every_outage_has_its_incidents(shop: Any, outage: Any) -> None:
    targets, order, shuffled = outage
    world = World(shop, shop.estate(targets))
    arrive(world, order)
    members = {target for one in world.open() for target in one.active}
    assert {f"shop/{name}" for name in order} == members
    failing = {f"shop/{name}" for name in order}
    for incident in world.open():
        assert not failing & set(world.estate.targets[incident.root].needs)
        assert incident.member(incident.root).level is Level.DOWN  # type: ignore[union-attr]
    pages = world.happened["opened"]
    assert pages <= len(world.open()) + world.happened["rerooted"] + world.happened["merged"]
    assert len({one.root for one in world.open()}) == len(world.open())
    other = World(shop, shop.estate(targets))
    arrive(other, shuffled)
    assert other.picture() == world.picture()


@settings(max_examples=200, deadline=None)
@given(outages())
def test_after_every_recovery_nothing_is_open(shop: Any, outage: Any) -> None:
    targets, order, shuffled = outage
    world = World(shop, shop.estate(targets))
    arrive(world, order)
    for name in shuffled:
        world.well(name)
        world.turn(100)
        down = {f"shop/{name}" for name in order if world.states[f"shop/{name}/http"].is_down}
        assert down <= {target for one in world.open() for target in one.active}
    world.turn(100)
    assert world.open() == []
