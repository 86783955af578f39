"""The alerts' commands: run the engine, see to incidents and silences, try a notifier."""

import getpass
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from probes.commands import Refusal, config_options, load_with, with_config

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from alerts.config import Alerting
    from alerts.incident import Incident, Silence
    from probes.config import Config
    from probes.store.evidence import Seen

# What is heavy is imported by the command that needs it: `backwatch --help` must not wait for a database driver.

_SEEN_WITHIN_MS = 60_000
_EVIDENCE_BEFORE_MS = 600_000
"""An incident opens when a failure is confirmed; the first failing run came before."""


def load_whole(source: Path, data_dir: Path | None) -> "tuple[Config, tuple[str, ...]]":
    """The configuration with the alerts' part checked as well, and warnings for people. Raises ConfigError."""
    from alerts.config import load_all

    config, alerting = load_all(source, data_dir)
    return config, alerting.warnings


@click.command()
@config_options
def alerts(config_path: Path | None, data_dir: Path | None) -> None:
    """Run the alert engine: judge results, open and close incidents, tell people."""
    from alerts.config import load_alerting
    from alerts.engine import run_alerts
    from probes.store.database import StoreError
    from probes.store.schema import SchemaError

    config, warnings = load_with(load_whole, config_path, data_dir)
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    try:
        run_alerts(config, load_alerting(config))
    except (SchemaError, StoreError) as error:
        raise Refusal(str(error)) from error


@click.group()
def incident() -> None:
    """See to incidents."""


@incident.command("list")
@click.option("--state", type=click.Choice(["open", "acked", "resolved", "all"]), help="default: what is not resolved")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000))
@click.option("--json", "as_json", is_flag=True, help="one JSON object")
@with_config
def list_incidents(config: "Config", state: str | None, limit: int, as_json: bool) -> None:
    """Incidents, the newest first."""
    from alerts.message import utc
    from alerts.store import load_incidents

    states = {None: ["open", "acked"], "all": None}.get(state, [state or ""])
    found = load_incidents(_open(config), states, limit)
    if as_json:
        click.echo(json.dumps({"incidents": [_as_json(one) for one in found]}))
        return
    if not found:
        click.echo("No open incident." if state is None else "None.")
    for one in found:
        click.echo(f"{one.id}  {one.state:<8}  {one.severity:<7}  {utc(one.opened_ms)}  {one.title}")


@incident.command()
@click.argument("incident_id")
@click.option("--json", "as_json", is_flag=True, help="one JSON object")
@with_config
def show(config: "Config", incident_id: str, as_json: bool) -> None:
    """One incident: members, what happened, who was told, what the failing runs saw."""
    from alerts.message import iso, utc
    from alerts.store import load_incident, load_incident_events, load_notifications
    from probes.evidence_text import as_text

    engine = _open(config)
    one = load_incident(engine, incident_id)
    if one is None:
        raise Refusal(f"there is no incident {incident_id}")
    events = load_incident_events(engine, incident_id)
    told = load_notifications(engine, incident_id)
    seen = evidence_of(engine, config, one)
    if as_json:
        click.echo(json.dumps({**_as_json(one), "events": [
            {"at": iso(event.at_ms), "kind": event.kind, "text": event.text, "author": event.author} for event in events
        ], "notifications": [
            {"id": n.id, "kind": n.kind, "notifier": n.notifier, "state": n.state, "attempts": n.attempts} for n in told
        ], "evidence": [
            {"check": s.check_id, "location": s.location, "slot": iso(s.slot_ms), "kind": s.kind, "saw": s.content}
            for s in seen
        ]}))  # fmt: skip
        return
    click.echo(f"{one.title}\n{one.state}, {one.severity}, since {utc(one.opened_ms)}")
    if one.cause:
        click.echo(f"cause: {one.cause}")
    for member in one.members:
        click.echo(f"  {member.target}  {member.level}{'' if member.active else ', well again'}")
    for event in events:
        author = f" by {event.author}" if event.author else ""
        click.echo(f"{utc(event.at_ms)}  {event.kind}{author}  {event.text}")
    for n in reversed(told):
        error = f"  {n.last_error}" if n.last_error else ""
        click.echo(f"{utc(n.created_ms)}  {n.kind} to {n.notifier}: {n.state}, {n.attempts} attempts{error}")
    for s in seen:
        click.echo(f"\n{s.check_id} from {s.location}, {utc(s.slot_ms)}, {s.kind} failure")
        click.echo(as_text(s.content))


def evidence_of(engine: "Engine", config: "Config", one: "Incident", limit: int = 6) -> "list[Seen]":
    """What the failing runs of an incident's root saw, from shortly before it opened, the newest first."""
    from probes.store.evidence import load_evidence

    target = config.estate.targets.get(one.root)
    if target is None:
        return []
    end_ms = one.resolved_ms or _now_ms()
    return load_evidence(engine, target.checks, one.opened_ms - _EVIDENCE_BEFORE_MS, end_ms + 1, limit)


@incident.command()
@click.argument("incident_id")
@click.option("--for", "lasting", default="8h", show_default=True, help="until reminders start again")
@click.option("--comment", default="")
@click.option("--author", default=None, help="default: your login name")
@with_config
def ack(config: "Config", incident_id: str, lasting: str, comment: str, author: str | None) -> None:
    """Say that you have it: reminders stop."""
    from alerts.message import utc
    from alerts.store import acknowledge

    until_ms = _now_ms() + int(_duration(lasting) * 1000)
    if not acknowledge(_open(config), incident_id, author or _login(), comment, until_ms):
        raise Refusal(f"{incident_id} is not an open incident")
    click.echo(f"{incident_id} acknowledged until {utc(until_ms)}")


@incident.command("resolve")
@click.argument("incident_id")
@click.option("--comment", default="")
@click.option("--author", default=None, help="default: your login name")
@with_config
def resolve_incident(config: "Config", incident_id: str, comment: str, author: str | None) -> None:
    """Close by hand; what is still down is left alone until it was well again."""
    from alerts.store import resolve

    if not resolve(_open(config), incident_id, author or _login(), comment):
        raise Refusal(f"{incident_id} is not an open incident")
    click.echo(f"{incident_id} resolved")


@click.group()
def silence() -> None:
    """Mute what you know of; results are kept."""


@silence.command()
@click.argument("matchers", nargs=-1, required=True, metavar="LABEL=VALUE…")
@click.option("--for", "lasting", required=True, help="how long, such as 2h")
@click.option("--comment", required=True, help="why")
@click.option("--author", default=None, help="default: your login name")
@with_config
def add(config: "Config", matchers: Sequence[str], lasting: str, comment: str, author: str | None) -> None:
    """Mute incidents that match all of these: site=shop, target=shop/db, tier=cache, severity=warning, tag=x.

    `target=~shop/.*` takes a pattern, `tier!=web` or `tier=!web` what must not be.
    """
    from alerts.message import utc
    from alerts.mute import MatcherError, check_matchers
    from alerts.store import add_silence

    parsed = dict(_matcher(matcher) for matcher in matchers)
    try:
        check_matchers(parsed)
    except MatcherError as problem:
        raise Refusal(str(problem)) from problem
    ends_ms = _now_ms() + int(_duration(lasting) * 1000)
    made = add_silence(_open(config), parsed, ends_ms, author or _login(), comment)
    click.echo(f"{made.id} until {utc(made.ends_ms)}")


@silence.command("list")
@click.option("--all", "ended", is_flag=True, help="those that are over, too")
@click.option("--json", "as_json", is_flag=True, help="one JSON object")
@with_config
def list_silences(config: "Config", ended: bool, as_json: bool) -> None:
    """Silences in force and to come."""
    from alerts.message import utc
    from alerts.store import load_silences

    found = load_silences(_open(config), _now_ms(), ended)
    if as_json:
        click.echo(json.dumps({"silences": [_silence_as_json(one) for one in found]}))
        return
    for one in found:
        said = " ".join(f"{label}={value}" for label, value in one.matchers.items())
        click.echo(f"{one.id}  until {utc(one.ends_ms)}  {said}  {one.author}: {one.comment}")


@silence.command()
@click.argument("silence_id")
@with_config
def expire(config: "Config", silence_id: str) -> None:
    """End a silence now; what still fires is told of."""
    from alerts.store import expire_silence

    if not expire_silence(_open(config), silence_id, _login()):
        raise Refusal(f"{silence_id} is not in force")
    click.echo(f"{silence_id} ended")


@click.group()
def notify() -> None:
    """Try the ways to tell people."""


@notify.command()
@click.argument("name")
@click.option("--timeout", default="45s", show_default=True, help="how long to wait for the alert engine to send it")
@with_config
def test(config: "Config", name: str, timeout: str) -> None:
    """Send a test message through the real outbox and say how it went."""
    from alerts.store import load_notifications, request_test
    from probes.store.processes import load_processes

    notifiers = _alerting(config).notifiers
    if name not in notifiers:
        raise Refusal(f"no notifier is called {name!r}; there are {', '.join(notifiers) or 'none'}")
    engine = _open(config)
    now_ms = _now_ms()
    if not any(one.role == "alerts" and now_ms - one.seen_ms < _SEEN_WITHIN_MS for one in load_processes(engine)):
        raise Refusal("no alert engine is at work here: start `backwatch alerts` or `backwatch up`")
    made = request_test(engine, name, _login())
    deadline = time.monotonic() + _duration(timeout)
    while time.monotonic() < deadline:
        time.sleep(0.3)
        row = next((one for one in load_notifications(engine) if one.id == made), None)
        if row is not None and row.state == "sent":
            click.echo(f"sent: {notifiers[name].describe()}")
            return
        if row is not None and (row.state == "dead" or row.attempts):
            raise Refusal(f"not delivered: {row.last_error}")
    raise Refusal(f"not sent within {timeout}; look at the Notifications page")


commands: tuple[click.Command, ...] = (alerts, incident, silence, notify)


def _alerting(config: "Config") -> "Alerting":
    from alerts.config import load_alerting
    from probes.document import ConfigError

    try:
        return load_alerting(config)
    except ConfigError as error:
        raise Refusal(f"the configuration {config.source} is broken:\n{error}") from error


def _open(config: "Config") -> "Engine":
    from probes.store.database import open_database
    from probes.store.schema import SchemaError, check_schema

    engine = open_database(config.database, durable=True)
    try:
        check_schema(engine)
    except SchemaError as error:
        raise Refusal(str(error)) from error
    return engine


def _matcher(text: str) -> tuple[str, str]:
    label, equals, value = text.partition("=")
    if not equals or not label:
        raise Refusal(f"{text!r} is no matcher; they look like site=shop")
    return (label[:-1], f"!{value}") if label.endswith("!") else (label, value)


def _duration(text: str) -> float:
    from probes.duration import parse_duration

    try:
        return parse_duration(text)
    except ValueError as problem:
        raise Refusal(str(problem)) from problem


def _as_json(one: "Incident") -> dict[str, Any]:
    from alerts.message import iso

    return {
        "id": one.id,
        "state": one.state,
        "severity": one.severity,
        "root": one.root,
        "members": [member.target for member in one.members],
        "title": one.title,
        "cause": one.cause,
        "opened": iso(one.opened_ms),
        "resolved": None if one.resolved_ms is None else iso(one.resolved_ms),
        "acked_by": one.acked_by,
    }


def _silence_as_json(one: "Silence") -> dict[str, Any]:
    from alerts.message import iso

    return {
        "id": one.id,
        "matchers": one.matchers,
        "starts": iso(one.starts_ms),
        "ends": iso(one.ends_ms),
        "author": one.author,
        "comment": one.comment,
    }


def _login() -> str:
    try:
        return getpass.getuser()
    except OSError:
        return "unknown"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
