"""Trouble of Backwatch's own is told once, past the store, and once that it is over."""

import threading

import pytest

from alerts.config import Alerting
from alerts.message import OWN_ROOT, Message, lines
from alerts.notifier import DeliveryError, Notifier, NotifierOptions
from alerts.own_trouble import PATIENCE_MS, Courier, OwnTrouble
from alerts.route import Route
from probes.target import Estate

T0 = 1_760_000_400_000


@pytest.fixture
def told() -> list[Message]:
    return []


@pytest.fixture
def trouble(told: list[Message]) -> OwnTrouble:
    return OwnTrouble(told.append, "http://127.0.0.1:8501")


def test_a_moment_is_not_told(trouble: OwnTrouble, told: list[Message]) -> None:
    trouble.look("store", "locked", T0)
    trouble.look("store", "locked", T0 + PATIENCE_MS - 1)
    trouble.look("store", "", T0 + PATIENCE_MS)
    assert told == []


def test_what_lasts_is_told_once_and_its_end_once(trouble: OwnTrouble, told: list[Message]) -> None:
    for later_ms in (0, PATIENCE_MS, 2 * PATIENCE_MS):
        trouble.look("store", "the store is locked", T0 + later_ms)
    trouble.look("store", "", T0 + 3 * PATIENCE_MS)
    trouble.look("store", "", T0 + 4 * PATIENCE_MS)
    assert [message.status for message in told] == ["firing", "resolved"]
    assert [message.subject for message in told] == [
        "[DOWN] Backwatch itself: the store is locked",
        "[RESOLVED] Backwatch itself: the store is locked",
    ]
    assert told[0].incident_id == told[1].incident_id
    assert told[1].resolved_ms == T0 + 3 * PATIENCE_MS


def test_damage_is_told_at_once_and_beside_other_trouble(trouble: OwnTrouble, told: list[Message]) -> None:
    trouble.look("store", "the store is locked", T0)
    trouble.look("damage", "a page is damaged", T0, at_once=True)
    assert [message.cause for message in told] == ["a page is damaged"]


def test_nobody_is_asked_to_acknowledge_what_is_no_incident(trouble: OwnTrouble, told: list[Message]) -> None:
    trouble.look("damage", "a page is damaged", T0, at_once=True)
    text = "\n".join(lines(told[0]))
    assert "a page is damaged" in text
    assert "http://127.0.0.1:8501/itself" in text
    assert "incident ack" not in text


class Moody(Notifier):
    """Refuses so many times before it takes a message."""

    def __init__(self, name: str, refusals: int) -> None:
        super().__init__(name, NotifierOptions())
        self.refusals = refusals
        self.taken: list[str] = []
        self.done = threading.Event()

    def send(self, message: Message) -> int | None:
        if self.refusals:
            self.refusals -= 1
            raise DeliveryError("not now")
        self.taken.append(message.id)
        self.done.set()
        return None


def test_it_is_tried_again_and_nobody_hears_it_twice(
    trouble: OwnTrouble, told: list[Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alerts.own_trouble._WAITS_S", (0.01,) * 5)
    patient, moody = Moody("patient", 0), Moody("moody", 2)
    notifiers = {"patient": patient, "moody": moody}
    alerting = Alerting(notifiers=notifiers, routes=(Route(("patient",), {"site": "shop"}),))
    courier = Courier(Estate({}, {}, {}), alerting, str)
    trouble.look("damage", "a page is damaged", T0, at_once=True)
    courier.bring(told[0])
    assert moody.done.wait(5)
    courier.close()
    assert len(patient.taken) == len(moody.taken) == 1
    assert patient.taken != moody.taken  # an id is one delivery's
    assert told[0].root == OWN_ROOT
