"""From stored results to incidents and queued messages, on a real store with a clock that is moved by hand."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from alerts.config import Alerting
from alerts.incident import Incident, Severity
from alerts.judge import Judge
from alerts.mute import Window
from alerts.notifier import NotifierOptions
from alerts.notifiers.log import LogNotifier
from alerts.outbox import Outbox
from alerts.route import Route
from alerts.store import (
    acknowledge,
    load_check_states,
    load_incident_events,
    load_incidents,
    load_notifications,
    resolve,
)
from alerts.timings import Timings
from probes.config import Config
from probes.document import read_document
from probes.result import Reason, Result, Status
from probes.store.results import ResultWriter
from probes.target import Estate, Limit

START_MS = 1_800_000_000_000


class Rig:
    """A worker and an engine, both played."""

    def __init__(self, engine: Engine, tmp_path: Path, estate: Estate, **alerting: Any) -> None:
        self.engine = engine
        self.estate = estate
        self.now_ms = START_MS
        self.bad: dict[str, Result] = {}
        self.writer = ResultWriter(engine)
        file = tmp_path / "backwatch.yaml"
        file.write_text("sites: {}\n")
        self.config = Config(file, "x", read_document(file), estate, "", tmp_path)
        logger = LogNotifier("ops", NotifierOptions())
        self.alerting = Alerting(**{"notifiers": {"ops": logger}, "notify": ("ops",), **alerting})
        self.judge = Judge(engine, self.config, self.alerting, self.now_ms)

    def restart(self, gap_s: float = 0) -> None:
        self.now_ms += int(gap_s * 1000)
        self.judge = Judge(self.engine, self.config, self.alerting, self.now_ms)
        self.judge.resume(int(gap_s * 1000), self.now_ms)

    def break_(
        self, name: str, status: Status = Status.DOWN, reason: Reason = Reason.TCP_REFUSED, **metrics: float
    ) -> None:
        check_id = f"shop/{name}/http"
        self.bad[check_id] = Result(check_id, "default", 0, 0, status, reason, "connection refused", metrics=metrics)

    def mend(self, *names: str) -> None:
        for name in names:
            del self.bad[f"shop/{name}/http"]

    def write(self, *, mute: tuple[str, ...] = ()) -> None:
        well = {check_id: Result(check_id, "default", 0, 0, Status.UP) for check_id in self.estate.checks}
        results = [
            replace(result, slot_ms=self.now_ms, started_ms=self.now_ms)
            for check_id, result in {**well, **self.bad}.items()
            if check_id not in mute
        ]
        self.writer.save(results)

    def run(self, seconds: float, *, probing: bool = True, judging: bool = True, every_s: float = 5) -> None:
        for _ in range(int(seconds / every_s)):
            self.now_ms += int(every_s * 1000)
            if probing:
                self.write()
            if judging:
                self.judge.step(self.now_ms)

    def sent(self) -> list[tuple[str, str]]:
        return [(one.kind, one.title) for one in reversed(load_notifications(self.engine))]

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.sent()]

    def open(self) -> list[Incident]:
        return load_incidents(self.engine, ["open", "acked"])


@pytest.fixture
def rig(engine: Engine, tmp_path: Path, shop: Any) -> Rig:
    made = Rig(engine, tmp_path, shop.estate())
    made.run(20)
    return made


def test_database_outage_is_one_page_and_one_end(rig: Rig) -> None:
    for name in ("db", "app", "login", "web"):
        rig.break_(name)
    rig.run(20)
    (incident,) = rig.open()
    assert (incident.root, incident.severity) == ("shop/db", Severity.PAGE)
    assert set(incident.active) == {"shop/db", "shop/app", "shop/login", "shop/web"}
    title = "[DOWN] shop: database shop/db refuses connections — app, login and web affected"
    assert rig.sent() == [("fire", title)]
    rig.mend("db", "app", "login", "web")
    rig.run(20)
    assert rig.open() == []
    assert rig.kinds() == ["fire", "resolve"]


def test_the_same_on_postgresql(postgresql: Engine, tmp_path: Path, shop: Any) -> None:
    rig = Rig(postgresql, tmp_path, shop.estate())
    rig.run(20)
    for name in ("db", "app", "login", "web"):
        rig.break_(name)
    rig.run(20)
    (incident,) = rig.open()
    assert acknowledge(postgresql, incident.id, "ana", until_ms=rig.now_ms + 3_600_000)
    sender = Outbox(postgresql, rig.alerting.notifiers, rig.estate, "", clock=lambda: rig.now_ms)
    assert sender.step() == 1
    assert sender.wait_idle(10)
    rig.mend("db", "app", "login", "web")
    rig.run(20)
    sender.step()
    assert sender.wait_idle(10)
    sender.close()
    assert [(one.kind, one.state) for one in load_notifications(postgresql)] == [("resolve", "sent"), ("fire", "sent")]


def test_detection_to_message_takes_no_longer_than_promised(rig: Rig) -> None:
    """Interval 10 s, refused: 25 s; here the re-checks come every 5 s."""
    rig.break_("db")
    broken_ms = rig.now_ms
    while not rig.sent():
        rig.run(5)
    assert rig.now_ms - broken_ms <= 15_000


def test_state_survives_a_restart_in_mid_outage(rig: Rig) -> None:
    rig.break_("db")
    rig.run(10)
    rig.restart()
    rig.run(5)
    assert rig.kinds() == ["fire"]
    rig.restart()
    rig.run(30)
    assert rig.kinds() == ["fire"]
    rig.mend("db")
    rig.run(5)
    rig.restart()
    rig.run(5)
    assert rig.kinds() == ["fire", "resolve"]


def test_outage_while_nobody_judged_says_nothing(rig: Rig) -> None:
    rig.break_("db")
    rig.run(300, judging=False)
    rig.mend("db")
    rig.run(60, judging=False)
    rig.restart()
    rig.run(10)
    assert rig.sent() == []


def test_old_failures_fire_nothing_after_a_standstill_of_everything(rig: Rig) -> None:
    rig.break_("db")
    rig.run(60, judging=False)
    rig.restart(gap_s=1800)
    rig.run(60, probing=False)
    assert rig.sent() == []


def test_update_tells_of_new_members_after_the_group_interval(rig: Rig) -> None:
    rig.break_("db")
    rig.run(20)
    rig.break_("app")
    rig.run(120)
    assert rig.kinds() == ["fire"]
    rig.run(200)
    assert rig.kinds() == ["fire", "update"]
    assert rig.sent()[-1][1].endswith("— app affected (update)")


def test_reminders_until_acknowledged_and_after(engine: Engine, tmp_path: Path, shop: Any) -> None:
    rig = Rig(engine, tmp_path, shop.estate(), timings=Timings(repeat_interval=600))
    rig.run(20)
    rig.break_("db")
    rig.run(680, every_s=20)
    assert rig.kinds() == ["fire", "repeat"]
    (incident,) = rig.open()
    assert acknowledge(rig.engine, incident.id, "ana", "on it", rig.now_ms + 1_800_000)
    rig.run(1780, every_s=20)
    assert rig.kinds() == ["fire", "repeat"]
    rig.run(60, every_s=20)
    assert rig.kinds() == ["fire", "repeat", "repeat"]


def test_reminders_come_every_four_hours_for_pages_and_daily_for_warnings() -> None:
    timings = Timings()
    assert (timings.repeat_interval, timings.repeat_interval_warning) == (4 * 3600, 24 * 3600)


def test_acknowledgement_by_another_process_is_not_overwritten(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.break_("db")
    rig.run(20)
    (incident,) = rig.open()
    decide = rig.judge._decide

    def decide_slowly(*args: Any) -> Any:
        monkeypatch.undo()
        acknowledge(rig.engine, incident.id, "ana")
        return decide(*args)

    monkeypatch.setattr(rig.judge, "_decide", decide_slowly)
    rig.break_("app")
    rig.run(30)
    (after,) = rig.open()
    assert after.acked_by == "ana"
    assert "shop/app" in after.active


def test_closing_by_hand_is_told_and_the_target_left_alone(rig: Rig) -> None:
    rig.break_("db")
    rig.run(20)
    resolve(rig.engine, rig.open()[0].id, "ana", "known")
    rig.run(600)
    assert rig.kinds() == ["fire", "resolve"]
    assert rig.open() == []


def test_unknown_results_open_nothing(rig: Rig) -> None:
    rig.break_("db", Status.UNKNOWN, Reason.SELF_NET)
    rig.run(60)
    assert rig.sent() == []
    assert rig.open() == []


def test_silent_worker_is_one_incident_about_its_location(rig: Rig) -> None:
    rig.run(180, probing=False)
    (incident,) = rig.open()
    assert (incident.root, incident.severity) == ("location:default", Severity.PAGE)
    assert len(rig.kinds()) == 1
    assert all(state.stale for state in load_check_states(rig.engine).values())
    rig.run(20)
    assert rig.open() == []
    assert rig.kinds() == ["fire", "resolve"]


def test_one_silent_check_is_a_warning(rig: Rig) -> None:
    for _ in range(40):
        rig.now_ms += 5000
        rig.write(mute=("shop/db/http",))
        rig.judge.step(rig.now_ms)
    (incident,) = rig.open()
    assert (incident.root, incident.severity) == ("location:default", Severity.WARNING)


def test_down_and_silent_stays_down(rig: Rig) -> None:
    rig.break_("db")
    rig.run(20)
    rig.run(600, probing=False)
    assert "shop/db" in {incident.root for incident in rig.open()}
    assert "resolve" not in rig.kinds()


def test_cold_cache_is_a_warning_with_the_number(engine: Engine, tmp_path: Path, shop: Any) -> None:
    limits = {"cache": (Limit("hit_ratio", Status.DEGRADED, 0.85, "below"),)}
    rig = Rig(engine, tmp_path, shop.estate(limits=limits))
    rig.run(20)
    rig.break_("cache", Status.DEGRADED, Reason.VALUE_LIMIT, hit_ratio=0.4)
    rig.run(20)
    (incident,) = rig.open()
    assert (incident.root, incident.severity) == ("shop/cache", Severity.WARNING)
    assert rig.sent() == [("fire", "[DEGRADED] shop: cache shop/cache is degraded: connection refused")]
    rig.break_("cache", Status.UP, hit_ratio=0.97)
    rig.run(20)
    assert rig.kinds() == ["fire", "resolve"]


def test_trouble_over_within_the_group_wait_is_silent(engine: Engine, tmp_path: Path, shop: Any) -> None:
    rig = Rig(engine, tmp_path, shop.estate())
    rig.run(20)
    rig.break_("app")
    for _ in range(3):
        rig.now_ms += 5000
        rig.write(mute=("shop/db/http", "shop/cache/http"))
        rig.judge.step(rig.now_ms)
    assert len(rig.open()) == 1
    rig.mend("app")
    for _ in range(2):
        rig.now_ms += 1000
        rig.write(mute=("shop/db/http", "shop/cache/http"))
        rig.judge.step(rig.now_ms)
    assert (rig.open(), rig.sent()) == ([], [])


def test_maintenance_that_ends_over_trouble_fires_after_one_fresh_vote(
    engine: Engine, tmp_path: Path, shop: Any
) -> None:
    window = Window({"target": "shop/db"}, 120.0, starts=_at(START_MS + 20_000))
    rig = Rig(engine, tmp_path, shop.estate(), maintenance=(window,))
    rig.run(20)
    rig.break_("db")
    rig.run(100)
    assert rig.open() == []
    rig.run(40, probing=False)
    assert rig.open() == []
    rig.run(5)
    assert len(rig.open()) == 1


def test_routes_decide_who_hears(engine: Engine, tmp_path: Path, shop: Any) -> None:
    notifiers = {name: LogNotifier(name, NotifierOptions()) for name in ("ops", "dba", "chat")}
    routes = (
        Route(("dba", "ops"), {"tier": "database", "severity": "page"}),
        Route(("chat",), {"severity": "warning"}),
    )
    rig = Rig(engine, tmp_path, shop.estate(), notifiers=notifiers, routes=routes, notify=("ops",))
    rig.run(20)
    rig.break_("db")
    rig.run(20)
    rig.break_("cache")
    rig.run(20)
    told = {(one.notifier, one.title.split()[3]) for one in load_notifications(engine)}
    assert told == {("dba", "shop/db"), ("ops", "shop/db"), ("ops", "shop/cache")}


def test_removed_target_with_an_open_incident_is_told_of(rig: Rig, shop: Any) -> None:
    rig.break_("cache")
    rig.run(20)
    targets = {n: (tier, tuple(x for x in needs if x != "cache")) for n, (tier, needs) in shop.targets.items()}
    del targets["cache"]
    rig.mend("cache")
    rig.estate = shop.estate(targets)
    rig.judge.configure(replace(rig.config, estate=rig.estate), rig.alerting)
    rig.run(10)
    assert rig.kinds() == ["fire", "resolve"]
    assert "shop/cache/http" not in load_check_states(rig.engine)


def test_edited_configuration_keeps_the_incident(rig: Rig, shop: Any) -> None:
    rig.break_("db")
    rig.run(20)
    (before,) = rig.open()
    rig.judge.configure(replace(rig.config, estate=shop.estate(interval_s=20)), rig.alerting)
    rig.run(60)
    (after,) = rig.open()
    assert (after.id, rig.kinds()) == (before.id, ["fire"])


def test_second_engine_takes_no_decision_twice(rig: Rig) -> None:
    other = Judge(rig.engine, rig.config, rig.alerting, rig.now_ms)
    rig.break_("db")
    for _ in range(6):
        rig.run(5)
        other.step(rig.now_ms)
    rig.mend("db")
    for _ in range(6):
        rig.now_ms += 5000
        rig.write()
        other.step(rig.now_ms)
        rig.judge.step(rig.now_ms)
    assert rig.kinds() == ["fire", "resolve"]
    assert len(load_incidents(rig.engine)) == 1


def test_clock_that_jumps_an_hour_ahead_reminds_of_nothing(rig: Rig) -> None:
    rig.break_("db")
    rig.run(20)
    rig.now_ms += 5 * 3_600_000
    rig.judge.shift(5 * 3_600_000, rig.now_ms)
    rig.run(20)
    assert rig.kinds() == ["fire"]
    assert len(rig.open()) == 1


def test_events_tell_the_story_in_order(rig: Rig) -> None:
    rig.break_("app")
    rig.run(20)
    rig.break_("db")
    rig.run(20)
    (incident,) = rig.open()
    events = load_incident_events(rig.engine, incident.id)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [event.kind for event in events][:2] == ["opened", "notified"]
    assert "rerooted" in {event.kind for event in events}


def _at(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
