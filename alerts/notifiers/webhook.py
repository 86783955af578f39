"""A POST of JSON: as Alertmanager sends it, or as Standard Webhooks describe it; signed if there is a secret."""

import base64
import binascii
import hashlib
import hmac
import json
import time
from dataclasses import replace
from ipaddress import ip_network
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from alerts.message import Affected, Message, iso
from alerts.notifier import DeliveryError, Notifier, NotifierOptions, notifier
from alerts.post import Answer, Network, post

_DEADLINE_S = 15.0
_MOST_ALERTS = 100
_MOST_BYTES = 256 * 1024
_PERMANENT = frozenset({400, 401, 403, 404, 405, 413, 422})
_NEVER = "0001-01-01T00:00:00Z"
_TYPES = {"fire": "opened", "refire": "opened", "resolve": "resolved"}


def _secret(value: SecretStr) -> SecretStr:
    if not 24 <= len(_key(value)) <= 64:
        raise ValueError(
            "a secret is whsec_ and the base64 of 24 to 64 random bytes; make one: openssl rand -base64 32"
        )
    return value


def _key(value: SecretStr) -> bytes:
    try:
        return base64.b64decode(value.get_secret_value().removeprefix("whsec_"), validate=True)
    except binascii.Error:
        return b""


def _url(value: SecretStr) -> SecretStr:
    parts = urlsplit(value.get_secret_value())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("a webhook's URL begins with http:// or https:// and names a host")
    return value


def _network(value: str) -> str:
    ip_network(value)
    return value


Secret = Annotated[SecretStr, AfterValidator(_secret)]


class WebhookOptions(NotifierOptions):
    """Keys of a webhook notifier."""

    url: Annotated[SecretStr, AfterValidator(_url)] = Field(description="where to post; kept out of logs and errors")
    secret: Secret | None = Field(default=None, description="key of the signature: whsec_ and base64")
    old_secret: Secret | None = Field(default=None, description="signs as well while keys are rotated")
    format: Literal["alertmanager", "standard"] = Field(default="alertmanager", description="shape of the body")
    allow_cidr: tuple[Annotated[str, AfterValidator(_network)], ...] = Field(
        default=(), description="private networks that the URL's name may lead to"
    )
    ca_file: str | None = Field(default=None, description="certificates to trust instead of the usual ones")


@notifier("webhook")
class WebhookNotifier(Notifier):
    """Posts each message; the answer decides what the outbox does next."""

    Options = WebhookOptions
    options: WebhookOptions
    deadline_s = _DEADLINE_S

    def __init__(self, name: str, options: WebhookOptions) -> None:
        super().__init__(name, options)
        self._allow: tuple[Network, ...] = tuple(ip_network(net) for net in options.allow_cidr)

    def describe(self) -> str:
        """Format and host; the path may be a secret."""
        return f"webhook ({self.options.format}) to {urlsplit(self.options.url.get_secret_value()).hostname}"

    def send(self, message: Message) -> int | None:
        """See `Notifier.send`. A body that is too large for the receiver is sent once more with the root alone."""
        answer = self._post(message)
        if answer.code == 413 and len(message.members) > 1:
            answer = self._post(replace(message, members=message.members[:1]))
        if 200 <= answer.code < 300:
            return answer.code
        raise _failure(answer)

    def _post(self, message: Message) -> Answer:
        body = self.body(message)
        return post(
            self.options.url.get_secret_value(),
            body,
            self.headers(message.id, body, int(time.time())),
            deadline_s=self.deadline_s,
            allow=self._allow,
            ca_file=self.options.ca_file,
        )

    def body(self, message: Message) -> bytes:
        """The exact bytes that are signed and sent."""
        for most in (_MOST_ALERTS, 10, 1):
            members = message.members[:most]
            shape = _alertmanager if self.options.format == "alertmanager" else _standard
            body = json.dumps(shape(message, members, self.name), separators=(",", ":")).encode()
            if len(body) <= _MOST_BYTES:
                break
        return body

    def headers(self, delivery: str, body: bytes, at_s: int) -> dict[str, str]:
        """Standard Webhooks: the id stays the same over all attempts, the time is this attempt's."""
        secrets = [secret for secret in (self.options.secret, self.options.old_secret) if secret is not None]
        signed = f"{delivery}.{at_s}.".encode() + body
        signatures = [
            "v1," + base64.b64encode(hmac.new(_key(secret), signed, hashlib.sha256).digest()).decode()
            for secret in secrets
        ]
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Backwatch",
            "Idempotency-Key": delivery,
            "webhook-id": delivery,
            "webhook-timestamp": str(at_s),
        }
        return {**headers, "webhook-signature": " ".join(signatures)} if signatures else headers


def _failure(answer: Answer) -> DeliveryError:
    text = f"answered {answer.code}"
    if 300 <= answer.code < 400:
        return DeliveryError(f"{text}: redirects are not followed, correct the URL", code=answer.code, permanent=True)
    if answer.text.strip():
        text += f": {answer.text.strip()[:200]}"
    return DeliveryError(
        text,
        code=answer.code,
        permanent=answer.code in _PERMANENT,
        gone=answer.code == 410,
        retry_after_s=answer.retry_after_s if answer.code in (429, 503) else None,
    )


def _alertmanager(message: Message, members: tuple[Affected, ...], receiver: str) -> dict[str, Any]:
    """Version 4 of Alertmanager's webhook body: one alert a member, grouped by incident."""
    common = {"incident": message.incident_id, "severity": message.severity, "root": message.root}
    if message.site:
        common["site"] = message.site
    about = {"summary": message.title, "description": message.cause, "url": message.url, "notification": message.kind}
    return {
        "version": "4",
        "groupKey": f'{{}}:{{incident="{message.incident_id}"}}',
        "truncatedAlerts": len(message.members) - len(members),
        "status": message.status,
        "receiver": receiver,
        "groupLabels": {"incident": message.incident_id},
        "commonLabels": common,
        "commonAnnotations": about,
        "externalURL": message.external_url,
        "alerts": [_alert(message, member, common, about) for member in members],
    }


def _alert(message: Message, member: Affected, common: dict[str, str], about: dict[str, str]) -> dict[str, Any]:
    name = "BackwatchDown" if message.severity == "page" else "BackwatchDegraded"
    identity = f"{message.incident_id}|{member.target}".encode()
    firing = message.status == "firing"
    return {
        "status": message.status,
        "labels": {"alertname": name, "target": member.target, "tier": member.tier, **common},
        "annotations": {**about, "message": member.message},
        "startsAt": iso(message.opened_ms),
        "endsAt": _NEVER if firing or message.resolved_ms is None else iso(message.resolved_ms),
        "generatorURL": message.url,
        "fingerprint": hashlib.sha256(identity).hexdigest()[:16],
    }


def _standard(message: Message, members: tuple[Affected, ...], _receiver: str) -> dict[str, Any]:
    return {
        "type": f"incident.{_TYPES.get(message.kind, 'updated')}" if message.incident_id else "test",
        "timestamp": iso(message.at_ms),
        "data": {
            "id": message.incident_id,
            "kind": message.kind,
            "status": message.status,
            "severity": message.severity,
            "site": message.site,
            "root": message.root,
            "tier": message.tier,
            "title": message.title,
            "cause": message.cause,
            "reason": message.reason,
            "members": [member.target for member in members],
            "truncated": len(message.members) - len(members),
            "opened": iso(message.opened_ms),
            "resolved": None if message.resolved_ms is None else iso(message.resolved_ms),
            "url": message.url,
        },
    }
