"""At least once, in order, under one id; never for what nobody needs to hear."""

import json
import threading
import time
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, update

from alerts.delivery import blocked_until_ms
from alerts.incident import notification_id
from alerts.message import Message, addressed
from alerts.notifier import DeliveryError, Notifier, NotifierOptions
from alerts.notifiers.webhook import WebhookNotifier, WebhookOptions
from alerts.outbox import Outbox
from alerts.store import add_silence, expire_silence, load_notifications, pending, request_test
from alerts.store.notifications import load_notifier_states
from alerts.store.outbox import write_notifications
from alerts.store.tables import outbox as table
from probes.store.database import writing

START_MS = 1_800_000_000_000


class Fake(Notifier):
    """Keeps what it is told, or fails as it is told; the transport is the tests' of each notifier."""

    kind = "fake"

    def __init__(self, name: str, fallback: str | None = None) -> None:
        super().__init__(name, NotifierOptions(fallback=fallback))
        self.got: list[Message] = []
        self.errors: list[DeliveryError] = []
        self.broken: DeliveryError | None = None

    def send(self, message: Message) -> int | None:
        if self.broken is not None or self.errors:
            raise self.broken or self.errors.pop(0)
        self.got.append(message)
        return 200


class Rig:
    """An outbox with a clock that is moved by hand."""

    def __init__(self, engine: Engine, shop: Any, **notifiers: Notifier) -> None:
        self.engine = engine
        self.now_ms = START_MS
        self.notifiers = notifiers
        self.outbox = Outbox(engine, notifiers, shop.estate(), "http://127.0.0.1:8501", clock=lambda: self.now_ms)

    def queue(self, message: Message, *kinds: str, to: str = "ops") -> None:
        for kind in kinds:
            resolved = kind == "resolve"
            made = replace(
                message,
                seq=self.seq,
                kind=kind,
                status="resolved" if resolved else "firing",
                resolved_ms=self.now_ms if resolved else None,
                at_ms=self.now_ms,
            )
            self.seq += 1
            with writing(self.engine) as connection:
                write_notifications(connection, [(to, addressed(made, to))])

    seq = 1

    def turn(self, after_s: float = 0) -> None:
        self.now_ms += int(after_s * 1000)
        self.outbox.step()
        assert self.outbox.wait_idle(10)

    def run(self, seconds: float, every_s: float = 5) -> None:
        for _ in range(int(seconds / every_s)):
            self.turn(every_s)

    def states(self) -> list[tuple[str, str]]:
        return [(one.kind, one.state) for one in reversed(load_notifications(self.engine))]


@pytest.fixture
def ops() -> Fake:
    return Fake("ops")


@pytest.fixture
def rig(engine: Engine, shop: Any, ops: Fake) -> Any:
    made = Rig(engine, shop, ops=ops)
    yield made
    made.outbox.close()


def test_message_is_sent_once_and_carries_its_key(rig: Rig, ops: Fake, message: Message) -> None:
    rig.queue(message, "fire")
    rig.run(30)
    assert [one.id for one in ops.got] == [notification_id(message.incident_id, 1, "ops")]
    assert rig.states() == [("fire", "sent")]


def test_failure_is_tried_again_under_the_same_id(rig: Rig, ops: Fake, message: Message) -> None:
    ops.errors = [DeliveryError("503", code=503), DeliveryError("lost")]
    rig.queue(message, "fire")
    rig.run(30)
    (row,) = load_notifications(rig.engine)
    assert (row.state, row.attempts, len(ops.got)) == ("sent", 3, 1)


def test_refusal_is_borne_three_times_then_the_row_is_dead(rig: Rig, ops: Fake, message: Message) -> None:
    ops.broken = DeliveryError("404", permanent=True, code=404)
    rig.queue(message, "fire")
    rig.run(1200, every_s=30)
    (row,) = load_notifications(rig.engine)
    assert (row.state, row.attempts, row.last_code) == ("dead", 3, 404)
    assert pending(rig.engine).dead == 1


def test_page_is_tried_for_a_day_a_warning_for_six_hours(rig: Rig, ops: Fake, message: Message) -> None:
    ops.broken = DeliveryError("503")
    rig.queue(message, "fire")
    rig.queue(replace(message, severity="warning", incident_id="other"), "fire")
    rig.run(7 * 3600, every_s=300)
    assert sorted(one.state for one in load_notifications(rig.engine)) == ["dead", "pending"]
    rig.run(18 * 3600, every_s=300)
    assert {one.state for one in load_notifications(rig.engine)} == {"dead"}


def test_receiver_back_after_an_hour_hears_once_of_each_incident_pages_first(
    rig: Rig, ops: Fake, message: Message
) -> None:
    ops.broken = DeliveryError("down")
    rig.queue(replace(message, severity="warning", incident_id="open-warning"), "fire", "update")
    rig.queue(replace(message, incident_id="over"), "fire")
    rig.turn()
    rig.queue(replace(message, incident_id="over"), "update", "resolve")
    rig.queue(replace(message, incident_id="open-page"), "fire", "update", "repeat")
    rig.queue(replace(message, severity="warning", incident_id="over-warning"), "fire", "resolve")
    rig.run(3600, every_s=30)
    ops.broken = None
    rig.run(400, every_s=10)
    assert {(one.incident_id, one.kind) for one in ops.got} == {
        ("over", "resolve"),
        ("open-page", "repeat"),
        ("open-warning", "update"),
    }
    assert len(ops.got) == 3
    assert ops.got[0].severity == "page"


def test_breaker_opens_after_five_failures_and_tries_once_a_minute(rig: Rig, ops: Fake, message: Message) -> None:
    ops.broken = DeliveryError("down")
    for number in range(20):
        rig.queue(replace(message, incident_id=f"i{number}"), "fire")
    rig.turn()
    rig.turn(61)
    failures = load_notifier_states(rig.engine)["ops"].failures
    rig.run(59)
    assert load_notifier_states(rig.engine)["ops"].failures - failures <= 1
    ops.broken = None
    rig.run(600)
    assert len(ops.got) == 20
    assert load_notifier_states(rig.engine)["ops"].failures == 0


def test_retry_after_pauses_the_whole_notifier(rig: Rig, ops: Fake, message: Message) -> None:
    ops.errors = [DeliveryError("429", code=429, retry_after_s=120)]
    rig.queue(replace(message, incident_id="one"), "fire")
    rig.turn()
    rig.queue(replace(message, incident_id="two"), "fire")
    rig.run(115)
    assert ops.got == []
    rig.run(70)
    assert len(ops.got) == 2


def test_page_goes_to_the_fallback_after_two_minutes(engine: Engine, shop: Any, message: Message) -> None:
    ops, sms = Fake("ops", fallback="sms"), Fake("sms")
    rig = Rig(engine, shop, ops=ops, sms=sms)
    ops.broken = DeliveryError("down")
    rig.queue(message, "fire")
    rig.run(110)
    assert sms.got == []
    rig.run(300)
    assert len(sms.got) == 1
    assert "because ops cannot be reached" in sms.got[0].cause
    rig.outbox.close()


def test_dead_page_is_told_by_another_notifier(engine: Engine, shop: Any, message: Message) -> None:
    ops, chat = Fake("ops"), Fake("chat")
    rig = Rig(engine, shop, ops=ops, chat=chat)
    ops.broken = DeliveryError("410", gone=True, code=410)
    rig.queue(message, "fire")
    rig.run(20)
    assert len(chat.got) == 1
    assert load_notifier_states(engine)["ops"].disabled
    rig.outbox.close()


def test_silence_holds_back_and_its_end_tells(rig: Rig, ops: Fake, message: Message) -> None:
    silence = add_silence(rig.engine, {"target": "~shop/.*"}, rig.now_ms + 3_600_000, "ana", "x", starts_ms=0)
    rig.queue(message, "fire")
    rig.run(120)
    assert ops.got == []
    rig.run(3600, every_s=60)
    assert [one.kind for one in ops.got] == ["fire"]
    assert not expire_silence(rig.engine, "no such", "ana")
    assert silence.matchers == {"target": "~shop/.*"}


def test_trouble_that_came_and_went_under_a_silence_is_never_told(rig: Rig, ops: Fake, message: Message) -> None:
    add_silence(rig.engine, {"site": "shop"}, rig.now_ms + 600_000, "ana", "x", starts_ms=0)
    rig.queue(message, "fire")
    rig.run(60)
    rig.queue(message, "resolve")
    rig.run(1200)
    assert ops.got == []
    assert {state for _, state in rig.states()} == {"superseded"}


def test_end_of_what_was_told_is_told_in_spite_of_a_silence(rig: Rig, ops: Fake, message: Message) -> None:
    rig.queue(message, "fire")
    rig.turn()
    add_silence(rig.engine, {"site": "shop"}, rig.now_ms + 600_000, "ana", "x", starts_ms=0)
    rig.queue(message, "resolve")
    rig.turn()
    assert [one.kind for one in ops.got] == ["fire", "resolve"]


def test_other_targets_are_not_silenced(rig: Rig, ops: Fake, message: Message) -> None:
    add_silence(rig.engine, {"target": "shop/web"}, rig.now_ms + 600_000, "ana", "x", starts_ms=0)
    rig.queue(message, "fire")
    rig.turn()
    assert len(ops.got) == 1


def test_sender_that_died_is_replaced_when_its_lease_is_over(rig: Rig, ops: Fake, message: Message) -> None:
    rig.queue(message, "fire")
    with writing(rig.engine) as connection:
        values = {"state": "sending", "lease_owner": "other:1:x", "lease_until_ms": rig.now_ms + 60_000}
        connection.execute(update(table).values(**values))
    rig.run(55)
    assert ops.got == []
    rig.run(30)
    assert len(ops.got) == 1


def test_messages_of_one_incident_go_one_after_the_other(engine: Engine, shop: Any, message: Message) -> None:
    class Slow(Fake):
        def __init__(self) -> None:
            super().__init__("ops")
            self.entered = threading.Event()
            self.go_on = threading.Event()

        def send(self, message: Message) -> int | None:
            self.entered.set()
            self.go_on.wait(10)
            return super().send(message)

    slow = Slow()
    rig = Rig(engine, shop, ops=slow)
    rig.queue(message, "fire")
    rig.outbox.step()
    assert slow.entered.wait(5)
    rig.queue(message, "resolve")
    assert rig.outbox.step() == 0
    slow.go_on.set()
    assert rig.outbox.wait_idle(5)
    rig.turn()
    assert [one.kind for one in slow.got] == ["fire", "resolve"]
    rig.outbox.close()


def test_bug_in_a_notifier_loses_nothing(engine: Engine, shop: Any, message: Message) -> None:
    class Buggy(Fake):
        def send(self, message: Message) -> int | None:
            if not self.got:
                self.got.append(message)
                raise ZeroDivisionError
            return super().send(message)

    buggy = Buggy("ops")
    rig = Rig(engine, shop, ops=buggy)
    rig.queue(message, "fire")
    rig.run(30)
    assert rig.states() == [("fire", "sent")]
    rig.outbox.close()


def test_requested_test_is_sent_in_spite_of_the_breaker(rig: Rig, ops: Fake, message: Message) -> None:
    ops.broken = DeliveryError("down")
    rig.queue(message, "fire")
    rig.run(120)
    ops.broken = None
    row = request_test(rig.engine, "ops", "ana")
    with writing(rig.engine) as connection:
        connection.execute(update(table).where(table.c.id == row).values(due_ms=0, created_ms=rig.now_ms))
    rig.turn()
    assert "asked for by ana" in ops.got[0].title


def test_secrets_in_errors_are_masked(engine: Engine, shop: Any, ops: Fake, message: Message) -> None:
    rig = Rig(engine, shop, ops=ops)
    rig.outbox.configure({"ops": ops}, shop.estate(), "", lambda text: text.replace("S3cr3tCanary", "***"))
    ops.broken = DeliveryError("login S3cr3tCanary refused")
    rig.queue(message, "fire")
    rig.turn()
    assert load_notifications(engine)[0].last_error == "login *** refused"
    rig.outbox.close()


def test_lost_answer_is_two_deliveries_under_one_id(engine: Engine, shop: Any, receiver: Any, message: Message) -> None:
    """The receiver took it and the connection broke: faults.md 24."""
    receiver.answers.append(lambda handler: handler.connection.close())
    hook = WebhookNotifier("ops", WebhookOptions.model_validate({"url": receiver.url}))
    rig = Rig(engine, shop, ops=hook)
    rig.queue(message, "fire")
    rig.run(30)
    assert len(receiver.got) == 2
    assert len({got.headers["webhook-id"] for got in receiver.got}) == 1
    assert json.loads(receiver.got[0].body) == json.loads(receiver.got[1].body)
    rig.outbox.close()


def test_pause_is_over_in_time() -> None:
    state = replace(load_state(), paused_until_ms=100)
    assert blocked_until_ms(state, 99) == 100
    assert blocked_until_ms(state, 100) == 0


def load_state() -> Any:
    from alerts.store.notifications import NotifierState

    return NotifierState("ops", last_ok_ms=int(time.time()))
