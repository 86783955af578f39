"""Incidents about silence: a location that sends no results is one trouble, however many targets it asked."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from alerts.book import Book
from alerts.incident import Incident, Level, Severity
from alerts.timings import Timings


@dataclass(frozen=True, slots=True)
class Silent:
    """The targets that a location should report on, and those of them that it was silent about for too long."""

    location: str
    targets: frozenset[str]
    silent: frozenset[str]
    since_ms: int


def correlate_no_data(book: Book, silences: Collection[Silent], timings: Timings) -> None:
    """Bring the incidents about locations in line; a page only where no location is left that sends anything."""
    blind = all(one.silent == one.targets for one in silences)
    known = {f"location:{one.location}": one for one in silences}
    for incident in book.open:
        if incident.root.startswith("location:"):
            _update(book, incident, known.get(incident.root))
    opened = {incident.root for incident in book.open}
    for root, silent in known.items():
        if not silent.silent or (root in opened and not blind):
            continue
        if root not in opened:
            _open(book, root, silent, int(timings.group_wait_warning * 1000))
        if blind and silent.silent:
            _make_page(book, root)


def _open(book: Book, root: str, silent: Silent, wait_ms: int) -> None:
    incident = book.start(root, Level.NO_DATA, silent.since_ms, wait_ms)
    for target in sorted(silent.silent):
        incident = book.join(incident, target, Level.NO_DATA)


def _update(book: Book, incident: Incident, silent: Silent | None) -> None:
    now_silent = silent.silent if silent else frozenset[str]()
    heard = [target for target in incident.active if target != incident.root and target not in now_silent]
    if heard:
        incident = book.leave(incident, heard, "is heard of again")
    for target in sorted(now_silent):
        incident = book.join(incident, target, Level.NO_DATA)
    if not now_silent:
        book.close(incident, "recovered" if silent else "removed")


def _make_page(book: Book, root: str) -> None:
    for incident in book.open:
        if incident.root == root and incident.severity is Severity.WARNING:
            due_ms = book.now_ms if incident.told_ms is not None else None
            changed = replace(incident, severity=Severity.PAGE, update_due_ms=due_ms)
            book.record(changed, "severity", "warning became page: no location is left that sends data")


def silences_of(targets: Mapping[str, Mapping[str, frozenset[str]]], silent: Mapping[str, int]) -> list[Silent]:
    """Group by location: `targets` is location → target → its checks, `silent` is check → since when."""
    found = []
    for location, checks_of in sorted(targets.items()):
        quiet = {target: [silent[c] for c in checks if c in silent] for target, checks in checks_of.items()}
        since = [since_ms for ages in quiet.values() for since_ms in ages]
        ill = frozenset(target for target, ages in quiet.items() if ages)
        found.append(Silent(location, frozenset(checks_of), ill, min(since, default=0)))
    return found
