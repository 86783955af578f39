"""How does Backwatch itself fare?"""

from collections.abc import Sequence

import streamlit as st

from dashboard import frame, phrase, queries
from dashboard.components import panel as draw
from dashboard.context import current
from dashboard.health import why_silent
from dashboard.queries import SEEN_WITHIN_MS, Own
from dashboard.theme import Look
from probes.store.database import say_where
from probes.store.processes import Process
from probes.target import Estate

_WAL_WARN = 256 * 1024 * 1024
_LATE_S = 1.0


@frame.guarded
def page() -> None:
    """Everything refreshes by itself."""
    _live()


@st.fragment(run_every=5.0, key="itself")
@frame.guarded
def _live() -> None:
    context = current()
    own = queries.load_own(context.engine)
    blocks: list[draw.Block | None] = [draw.head("Backwatch itself"), _sentence(own), _figures(own)]
    rows = [_row(one, own.at_ms) for one in own.processes]
    columns = ["State", "Process", "Role", "Location", "Version", "Running for", "Seen", "Figures", "Notes"]
    blocks.append(draw.table("Processes", columns, rows, "No worker and no alert engine has ever run on this store."))
    happened: list[list[draw.Cell]] = [
        [draw.at(one.at_ms), one.kind.replace("_", " "), one.subject or "—", one.text, _length(one.at_ms, one.end_ms)]
        for one in own.events
    ]
    empty = "Nothing in the last 7 days: no gap, no clock jump, no change of configuration."
    blocks.append(draw.table("What happened, 7 days", ["When", "What", "To", "Text", "For"], happened, empty))
    blocks.append(_configuration())
    frame.top("itself", frame.snapshot().newest_ms, own.at_ms)
    draw.panel("itself", blocks, own.at_ms)


def _sentence(own: Own) -> draw.Block:
    noted = [one for one in own.processes if one.notes]
    problem = current().problem
    refused = why_silent(own.processes, own.at_ms)
    if refused:
        return draw.sentence(Look.DOWN, [draw.text(f"{refused[0].upper()}{refused[1:]}.", strong=True)])
    if own.absences:
        roles = " and ".join("worker" if one.role == "worker" else "alert engine" for one in own.absences)
        return draw.sentence(Look.DOWN, [draw.text(f"No {roles} is at work.", strong=True)])
    if own.overloaded:
        return draw.sentence(Look.DOWN, _overload(own.overloaded))
    if problem:
        return draw.sentence(Look.DEGRADED, [draw.text(problem)])
    if noted:
        return draw.sentence(Look.DEGRADED, [draw.text(f"{noted[0].name}: {noted[0].notes[0]}")])
    return draw.sentence(Look.UP, [draw.text("Worker and alert engine are at work.")])


def _overload(workers: Sequence[Process]) -> list[draw.Cell]:
    what = "The worker is overloaded" if len(workers) == 1 else f"{len(workers)} workers are overloaded"
    first = workers[0]
    why = first.notes[0] if first.notes else "Run more workers, lengthen intervals, or raise worker.threads."
    return [draw.text(f"{what}: not every check runs when it should. ", strong=True), draw.text(f"{first.name}: {why}")]


def _figures(own: Own) -> draw.Block:
    workers = [one for one in own.processes if one.role == "worker" and _is_seen(one, own.at_ms)]
    late = own.lateness_p99_s
    queue = sum(one.figures.get("queue", 0.0) for one in workers)
    overdue_s = (own.at_ms - own.outbox.oldest_due_ms) / 1000 if own.outbox.oldest_due_ms else 0.0
    items = [
        draw.figure("Workers", str(len(workers)), "seen within a minute", None if workers else Look.DOWN),
        draw.figure(
            "Lateness, p99", phrase.latency(late), "of starts", Look.DEGRADED if late and late > _LATE_S else None
        ),
        draw.figure(
            "Late runs",
            f"{own.late_ratio:.1%}" if own.late_ratio is not None else "—",
            "over a second, or never",
            Look.DOWN if own.overloaded else None,
        ),
        draw.figure("Results waiting", phrase.number(queue), "to be written", Look.DEGRADED if queue > 5000 else None),
        draw.figure(
            "Outbox", str(own.outbox.n), f"oldest overdue {phrase.span(overdue_s)}" if overdue_s > 0 else "to be sent"
        ),
    ]
    if own.store_bytes is not None:
        items.append(draw.figure("Store", phrase.size(own.store_bytes), "on disk"))
    if own.wal_bytes is not None:
        large = own.wal_bytes > _WAL_WARN
        note = "a reader holds a snapshot" if large else "write-ahead log"
        items.append(draw.figure("WAL", phrase.size(own.wal_bytes), note, Look.DEGRADED if large else None))
    return draw.figures(items)


def _row(one: Process, at_ms: int) -> list[draw.Cell]:
    look = Look.UP if _is_seen(one, at_ms) else Look.UNKNOWN
    figures = ", ".join(
        f"{phrase.label(name).lower()} {phrase.metric(name, value)}" for name, value in one.figures.items()
    )
    return [
        draw.state(look, "At work" if look is Look.UP else "Not seen"),
        draw.text(one.name, strong=True),
        one.role,
        one.location,
        one.version,
        phrase.span((at_ms - one.started_ms) / 1000),
        draw.at(one.seen_ms),
        draw.text(figures, tone="quiet"),
        draw.text("; ".join(one.notes), tone="warn"),
    ]


def _configuration() -> draw.Block:
    context = current()
    config = context.config
    rows: list[list[draw.Cell]] = [
        ["Configuration", draw.text(str(context.config_path), mono=True)],
        ["In force", draw.text(config.digest[:12], mono=True)],
        ["Store", draw.text(say_where(context.engine), mono=True)],
        ["Watched", _watched(config.estate)],
        ["Notifiers", ", ".join(context.alerting.notifiers) or "none"],
    ]
    if context.problem:
        rows.append(["Problem", draw.text(context.problem, tone="bad")])
    return draw.table("Configuration", ["What", "Value"], rows)


def _watched(estate: Estate) -> str:
    counts = {"site": len(estate.sites), "target": len(estate.targets), "check": len(estate.checks)}
    return ", ".join(f"{n} {noun}{'' if n == 1 else 's'}" for noun, n in counts.items())


def _is_seen(one: Process, at_ms: int) -> bool:
    return one.seen_ms >= at_ms - SEEN_WITHIN_MS


def _length(at_ms: int, end_ms: int | None) -> str:
    return phrase.span((end_ms - at_ms) / 1000) if end_ms else "—"
