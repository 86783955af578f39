"""`backwatch status`: how does everything stand? For people as a table, for programs in the contract's shape."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import click

from probes.commands.finding import Refusal, with_config

if TYPE_CHECKING:
    from alerts.incident import Incident
    from dashboard.queries import Own, Snapshot
    from probes.config import Config

_COLOURS = {"up": "green", "degraded": "yellow", "down": "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="one JSON object, in the shape of the contract")
@with_config
def status(config: "Config", as_json: bool) -> None:
    """State of every check, open incidents, health of Backwatch itself.

    Reads the store: it works while the dashboard does not run.
    """
    from dashboard import queries
    from probes.store.database import StoreError, database_file, open_database
    from probes.store.schema import SchemaError, check_schema

    file = database_file(config.database)
    if file is not None and not file.exists():
        raise Refusal(f"there is no store at {file} yet: `backwatch up` makes one")
    engine = open_database(config.database)
    try:
        check_schema(engine)
        snapshot = queries.load_snapshot(engine, config.estate)
        incidents, own = queries.load_open_incidents(engine), queries.load_own(engine)
        if as_json:
            newest, summaries = queries.load_newest_results(engine), queries.load_all_summaries(engine)
            click.echo(json.dumps(as_object(snapshot, incidents, own, newest, summaries), indent=2))
        else:
            click.echo("\n".join(as_lines(snapshot, incidents, own)))
    except (StoreError, SchemaError) as error:
        raise Refusal(str(error)) from error
    finally:
        engine.dispose()


def as_object(
    snapshot: "Snapshot",
    incidents: "list[Incident]",
    own: "Own",
    newest: Mapping[str, Any],
    summaries: Mapping[str, Any],
) -> dict[str, Any]:
    """`{"checks", "incidents", "backwatch"}`, the first two as in the HTTP API."""
    from dashboard import shape

    return {
        "checks": [shape.check(one, newest.get(key), summaries.get(key)) for key, one in snapshot.checks.items()],
        "incidents": [shape.incident(one) for one in incidents],
        "backwatch": {"version": version("backwatch"), **shape.backwatch(own, snapshot)},
    }


def as_lines(snapshot: "Snapshot", incidents: "list[Incident]", own: "Own") -> list[str]:
    """For people: trouble first."""
    from dashboard import phrase

    width = max((len(check_id) for check_id in snapshot.checks), default=0)
    lines = []
    for check_id, one in sorted(snapshot.checks.items(), key=lambda item: -item[1].status.badness):
        word = click.style(f"{one.look.glyph} {one.status.value:<8}", fg=_COLOURS.get(one.status.value))
        since = phrase.span((snapshot.at_ms - one.since_ms) / 1000) if one.since_ms is not None else ""
        took = f"{one.duration_s * 1000:.1f} ms" if one.duration_s is not None else ""
        lines.append(f"{word}  {check_id:<{width}}  {since:>9}  {took:>10}  {one.message}".rstrip())
    lines.append("")
    lines += [f"incident {one.id}  {one.state}  {one.severity}  {one.title}" for one in incidents]
    lines += [] if incidents else ["no open incident"]
    return [*lines, "", *_of_itself(own)]


def _of_itself(own: "Own") -> list[str]:
    from dashboard import phrase

    lines = []
    absent = {absence.role for absence in own.absences}
    for process in own.processes:
        ago = phrase.span(max(0.0, (own.at_ms - process.seen_ms) / 1000))
        lines.append(f"{process.name}: seen {ago} ago, version {process.version}, pid {process.pid}")
        lines += [f"  {note}" for note in process.notes]
    lines += [click.style(f"no {role} is at work", fg="red") for role in sorted(absent)]
    late = f"{own.lateness_p99_s * 1000:.0f} ms" if own.lateness_p99_s is not None else "unknown"
    store = f"{own.store_bytes / 1e6:.1f} MB" if own.store_bytes is not None else "on a server"
    dead = f", {own.outbox.dead} given up" if own.outbox.dead else ""
    lines.append(f"lateness p99 {late}; {own.outbox.n} notifications waiting{dead}; store {store}")
    return lines
