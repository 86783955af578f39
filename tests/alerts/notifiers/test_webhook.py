"""A webhook as receivers meet it."""

import base64
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError
from standardwebhooks import Webhook

from alerts.message import Affected, Message
from alerts.notifier import DeliveryError
from alerts.notifiers.webhook import WebhookNotifier, WebhookOptions

SECRET = "whsec_" + base64.b64encode(os.urandom(32)).decode()
OLD = "whsec_" + base64.b64encode(os.urandom(24)).decode()


def webhook(url: str, **keys: Any) -> WebhookNotifier:
    return WebhookNotifier("hook", WebhookOptions.model_validate({"url": url, "secret": SECRET, **keys}))


def refused(notifier: WebhookNotifier, message: Message) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        notifier.send(message)
    return caught.value


@pytest.mark.parametrize("secret", [SECRET, OLD], ids=["new", "old"])
def test_signature_verifies_with_either_key_while_rotating(receiver: Any, message: Message, secret: str) -> None:
    assert webhook(receiver.url, old_secret=OLD).send(message) == 200
    (got,) = receiver.got
    Webhook(secret).verify(got.body, got.headers)


def test_id_is_the_delivery_on_every_attempt(receiver: Any, message: Message) -> None:
    notifier = webhook(receiver.url)
    notifier.send(message)
    notifier.send(message)
    assert [got.headers["webhook-id"] for got in receiver.got] == [message.id] * 2
    assert receiver.got[0].headers["idempotency-key"] == message.id


def test_body_is_what_alertmanager_sends(receiver: Any, message: Message) -> None:
    webhook(receiver.url).send(message)
    body = json.loads(receiver.got[0].body)
    assert body["version"] == "4"
    assert (body["status"], body["receiver"], body["truncatedAlerts"]) == ("firing", "hook", 0)
    assert body["commonLabels"]["root"] == "shop/db"
    first = body["alerts"][0]
    assert first["labels"]["target"] == "shop/db"
    assert first["endsAt"] == "0001-01-01T00:00:00Z"
    assert len(first["fingerprint"]) == 16
    assert {alert["labels"]["target"] for alert in body["alerts"]} == {"shop/db", "shop/app", "shop/web"}


def test_resolved_body_says_when(receiver: Any, message: Message) -> None:
    ended = replace(message, kind="resolve", status="resolved", resolved_ms=message.opened_ms + 60_000)
    webhook(receiver.url).send(ended)
    body = json.loads(receiver.got[0].body)
    assert body["status"] == "resolved"
    assert {alert["endsAt"] for alert in body["alerts"]} == {"2023-11-14T22:14:20.000Z"}


def test_standard_format(receiver: Any, message: Message) -> None:
    webhook(receiver.url, format="standard").send(message)
    body = json.loads(receiver.got[0].body)
    assert body["type"] == "incident.opened"
    assert body["data"]["members"] == ["shop/db", "shop/app", "shop/web"]


def test_alerts_are_capped(message: Message) -> None:
    many = tuple(Affected(f"shop/t{i}", "t", "app", "down", "x", 0) for i in range(150))
    body = json.loads(webhook("http://127.0.0.1/").body(replace(message, members=many)))
    assert (len(body["alerts"]), body["truncatedAlerts"]) == (100, 50)


@pytest.mark.parametrize("code", [400, 401, 403, 404, 405, 413, 422, 302])
def test_refusals_are_permanent(receiver: Any, message: Message, code: int) -> None:
    receiver.answer(code)
    receiver.answer(code)
    error = refused(webhook(receiver.url), message)
    assert (error.permanent, error.code) == (True, code)


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504])
def test_troubles_are_not(receiver: Any, message: Message, code: int) -> None:
    receiver.answer(code)
    error = refused(webhook(receiver.url), message)
    assert (error.permanent, error.code) == (False, code)


def test_gone_is_gone(receiver: Any, message: Message) -> None:
    receiver.answer(410)
    assert refused(webhook(receiver.url), message).gone


def test_redirect_is_not_followed(receiver: Any, message: Message) -> None:
    receiver.answer(307, Location=receiver.url)
    refused(webhook(receiver.url), message)
    assert len(receiver.got) == 1


@pytest.mark.parametrize("value", ["7", "Fri, 31 Dec 2100 23:59:59 GMT"])
def test_retry_after_is_read(receiver: Any, message: Message, value: str) -> None:
    receiver.answer(429, Retry_After=value)
    assert (refused(webhook(receiver.url), message).retry_after_s or 0) >= 7


def test_too_large_is_sent_once_more_with_the_root_alone(receiver: Any, message: Message) -> None:
    receiver.answer(413)
    assert webhook(receiver.url).send(message) == 200
    assert len(json.loads(receiver.got[1].body)["alerts"]) == 1
    Webhook(SECRET).verify(receiver.got[1].body, receiver.got[1].headers)


@pytest.fixture
def dripping() -> Iterator[str]:
    """A server that sends a byte of its header now and then, for ever."""
    server = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def drip() -> None:
        taken, _ = server.accept()
        with taken:
            while not stop.wait(0.05):
                try:
                    taken.send(b"H")
                except OSError:
                    return

    thread = threading.Thread(target=drip)
    thread.start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}/"
    stop.set()
    thread.join()
    server.close()


def test_dripping_receiver_meets_the_total_deadline(dripping: str, message: Message) -> None:
    notifier = webhook(dripping)
    notifier.deadline_s = 0.5
    started = time.monotonic()
    error = refused(notifier, message)
    assert time.monotonic() - started < 2
    assert "no answer within 0.5 s" in error.text


def test_refused_connection_names_the_host_but_not_the_url(message: Message) -> None:
    error = refused(webhook("http://127.0.0.1:1/T0KEN?key=S3cr3tCanary"), message)
    assert error.text == "127.0.0.1: Connection refused"
    assert not error.permanent


@pytest.mark.parametrize("host", ["169.254.169.254", "0xa9fea9fe", "[::ffff:169.254.169.254]", "100.100.100.200"])
def test_metadata_services_are_never_told(host: str, message: Message) -> None:
    error = refused(webhook(f"http://{host}/"), message)
    assert error.permanent
    assert "not public" in error.text


def test_name_that_leads_into_a_private_net_must_be_allowed(
    receiver: Any, message: Message, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(receiver.url.split(":")[2].split("/")[0])
    there = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *a, **k: there if host == "hooks.test" else real(host, *a, **k)
    )
    url = f"http://hooks.test:{port}/"
    assert "allow_cidr: [127.0.0.1]" in refused(webhook(url), message).text
    assert webhook(url, allow_cidr=["127.0.0.0/8"]).send(message) == 200
    assert receiver.got[0].headers["host"] == f"hooks.test:{port}"


def test_answer_that_mixes_public_and_private_is_refused(
    receiver: Any, message: Message, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(receiver.url.split(":")[2].split("/")[0])
    for mixed in (["93.184.216.34", "127.0.0.1"], ["127.0.0.1", "93.184.216.34"], ["93.184.216.34", "::ffff:7f00:1"]):
        there = [(0, socket.SOCK_STREAM, 6, "", (address, port)) for address in mixed]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *a, there=there, **k: there)
        assert "not public" in refused(webhook(f"http://hooks.test:{port}/"), message).text
    assert not receiver.got


def test_proxy_of_the_environment_is_ignored(receiver: Any, message: Message, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert webhook(receiver.url).send(message) == 200


@pytest.mark.parametrize("secret", ["short", "whsec_c2hvcnQ=", "whsec_***"])
def test_weak_secret_is_refused(secret: str) -> None:
    with pytest.raises(ValidationError, match="24 to 64 random bytes"):
        webhook("http://127.0.0.1/", secret=secret)


def test_secrets_do_not_show() -> None:
    notifier = webhook("https://hooks.example.org/T0KEN")
    assert "T0KEN" not in repr(notifier.options) + notifier.describe()
    assert SECRET not in repr(notifier.options)
