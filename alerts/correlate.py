"""Which incidents there are: one for each deepest failing target, its dependents attached. Pure (alerting.md)."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from alerts.book import Book
from alerts.incident import Incident, IncidentState, Level, Severity
from alerts.root import Blame
from alerts.timings import Timings
from probes.target import Estate

# So long may a dependent stay slow after its root came back before it is a trouble of its own.
_DEGRADED_GRACE_MS = 300_000


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything a decision about incidents looks at. `muted` says whether a target is under maintenance."""

    estate: Estate
    blame: Blame
    timings: Timings
    now_ms: int
    muted: Callable[[str], bool] = lambda _target: False

    def wait_ms(self, level: Level) -> int:
        """The group wait."""
        wait_s = self.timings.group_wait if level is Level.DOWN else self.timings.group_wait_warning
        return int(wait_s * 1000)


def correlate(book: Book, scene: Scene) -> None:
    """Bring the book's incidents in line with the conditions of the targets."""
    dismissed = _see_to_dismissed(book, scene)
    _let_the_well_leave(book, scene)
    followers = scene.blame.followers()
    _move_roots_down(book, scene)
    _promote(book, scene)
    _attach(book, scene, followers)
    _open(book, scene, followers, dismissed)
    _close(book, scene)


def is_target(incident: Incident) -> bool:
    """False for incidents about a location that sends no data."""
    return not incident.root.startswith("location:")


def _live(book: Book) -> list[Incident]:
    return [incident for incident in book.open if is_target(incident)]


def _see_to_dismissed(book: Book, scene: Scene) -> set[str]:
    """Members of incidents that were closed by hand: left alone until they are well."""
    dismissed: set[str] = set()
    for incident in list(book.incidents.values()):
        if not incident.dismissing:
            continue
        ill = [
            member.target
            for member in incident.members
            if member.active and _is_as_ill(member.level, scene.blame.level(member.target))
        ]
        well = [target for target in incident.active if target not in ill]
        left = book.leave(incident, well, "is well again")
        if not ill:
            book.put(replace(left, dismissing=False))
        dismissed.update(ill)
    return dismissed


def _is_as_ill(known: Level, now: Level | None) -> bool:
    return now is not None and (now is known or known is Level.DOWN)


def _let_the_well_leave(book: Book, scene: Scene) -> None:
    for incident in _live(book):
        for member in incident.members:
            if not member.active:
                continue
            target = member.target
            if target not in scene.blame.conditions:
                book.leave(book.incidents[incident.id], [target], "was removed")
            elif _is_well(member.level, scene.blame, target):
                book.leave(book.incidents[incident.id], [target], "is well again")


def _is_well(level: Level, blame: Blame, target: str) -> bool:
    """What was down is well once it is not down, be it slow; what was degraded once nothing is confirmed against it.

    A suspect root stays until the suspicion is settled.
    """
    condition = blame.conditions[target]
    if level is Level.DOWN:
        return not condition.failing
    return condition.level is None and not condition.failing


def _move_roots_down(book: Book, scene: Scene) -> None:
    """A deeper target that fails takes over the incident, if it is young; two that meet at one root become one."""
    for known in _live(book):
        incident = book.incidents[known.id]
        roots = scene.blame.roots(incident.root)
        if not incident.is_open or not roots or incident.root in roots:
            continue
        primary = scene.blame.primary(roots)
        since_ms = scene.blame.conditions[primary].since_ms
        if since_ms - incident.opened_ms > scene.timings.reroot_window * 1000:
            continue
        taken = next((one for one in _live(book) if one.root == primary), None)
        if taken is None:
            _reroot(book, scene, incident, primary)
        else:
            _merge(book, scene, incident, taken)


def _merge(book: Book, scene: Scene, incident: Incident, taken: Incident) -> None:
    """Of two with one root the one that people know of stays, else the older."""
    stays, goes = sorted((taken, incident), key=lambda one: (one.told_ms is None, one.opened_ms, one.id))
    if stays.root != taken.root:
        stays = _reroot(book, scene, stays, taken.root)
    for member in goes.members:
        if member.active:
            stays = book.join(stays, member.target, member.level)
    book.close(goes, "merged", f"now part of {stays.id}")


def _reroot(book: Book, scene: Scene, incident: Incident, root: str) -> Incident:
    level = scene.blame.level(root) or Level.DOWN
    incident = book.reroot(incident, root, level, _update_due_ms(incident, scene))
    return _with_severity(book, scene, incident)


def _promote(book: Book, scene: Scene) -> None:
    """The root is well and members are not: after a grace the next deepest takes the blame, others go their own way."""
    for incident in _live(book):
        if incident.root in incident.active:
            book.put(replace(incident, root_ok_ms=None))
            continue
        held = _holding(book, scene, incident)
        if not held:
            continue  # nothing holds it open: _close sees to it
        root_ok_ms = scene.now_ms if incident.root_ok_ms is None else incident.root_ok_ms
        waiting = book.put(replace(incident, root_ok_ms=root_ok_ms))
        if incident.told_ms is None or scene.now_ms - root_ok_ms >= _grace_ms(scene, incident.root):
            _blame_next(book, scene, waiting, held)


def _blame_next(book: Book, scene: Scene, incident: Incident, held: Sequence[str]) -> None:
    roots = {root for target in held for root in scene.blame.roots(target)}
    if not roots:
        return
    primary = scene.blame.primary(roots)
    moved = _reroot(book, scene, incident, primary)
    strangers = [target for target in moved.active if primary not in scene.blame.roots(target)]
    book.leave(moved, strangers, "has another cause")


def _grace_ms(scene: Scene, root: str) -> int:
    target = scene.estate.targets.get(root)
    checks = [scene.estate.checks[check_id] for check_id in target.checks] if target else []
    recovery_s = max((check.recover_after * check.interval_s for check in checks), default=0.0)
    return int((recovery_s + scene.timings.promote_after) * 1000)


def _attach(book: Book, scene: Scene, followers: Mapping[str, Collection[str]]) -> None:
    for incident in _live(book):
        for target in sorted(followers.get(incident.root, ())):
            _attach_one(book, scene, incident.id, target)
        _with_severity(book, scene, book.incidents[incident.id])


def _attach_one(book: Book, scene: Scene, incident_id: str, target: str) -> None:
    incident = book.incidents[incident_id]
    level = scene.blame.level(target)
    if level is None or _stays_as_it_is(incident, target, level):
        return
    joined = book.join(incident, target, level)
    is_news = level is Level.DOWN or incident.severity is Severity.WARNING
    if is_news and incident.told_ms is not None and target not in incident.told:
        book.put(replace(joined, update_due_ms=_update_due_ms(incident, scene)))


def _stays_as_it_is(incident: Incident, target: str, level: Level) -> bool:
    member = incident.member(target)
    return member is not None and member.active and level is Level.DEGRADED


def _open(book: Book, scene: Scene, followers: Mapping[str, Collection[str]], dismissed: Collection[str]) -> None:
    members = [member for incident in _live(book) for member in incident.members if member.active]
    covered = {
        Level.DOWN: {member.target for member in members if member.level is Level.DOWN} | set(dismissed),
        Level.DEGRADED: {member.target for member in members} | set(dismissed) | _still_settling(book, scene),
    }
    for root in sorted(followers, key=lambda root: (scene.blame.conditions[root].since_ms, root)):
        level = Level.DOWN if scene.blame.conditions[root].failing else Level.DEGRADED
        if root in covered[level] or scene.muted(root):
            continue
        confirmed = [target for target in sorted(followers[root]) if _may_open(scene, target, dismissed)]
        if not any(scene.blame.level(target) is level for target in confirmed):
            continue
        since_ms = min(scene.blame.conditions[target].since_ms for target in {root, *confirmed})
        incident = _newly_closed(book, scene, root)
        if incident is None:
            incident = book.start(root, level, since_ms, scene.wait_ms(level))
        else:
            incident = book.reopen(incident, level, scene.wait_ms(level))
        for target in confirmed:
            incident = book.join(incident, target, scene.blame.level(target) or level)


def _may_open(scene: Scene, target: str, dismissed: Collection[str]) -> bool:
    """Old results fire nothing, nor does what people said they know of."""
    condition = scene.blame.conditions[target]
    return condition.level is not None and condition.fresh and target not in dismissed and not scene.muted(target)


def _newly_closed(book: Book, scene: Scene, root: str) -> Incident | None:
    earliest_ms = scene.now_ms - scene.timings.reopen_window * 1000
    closed = [
        incident
        for incident in book.incidents.values()
        if not incident.is_open and incident.key == root and incident.closed_as == "recovered"
        if (incident.resolved_ms or 0) >= earliest_ms
    ]
    return max(closed, key=lambda incident: incident.resolved_ms or 0, default=None)


def _still_settling(book: Book, scene: Scene) -> set[str]:
    """Targets that are slow in the wake of an outage that was over just now."""
    return {
        member.target
        for incident in book.incidents.values()
        if not incident.is_open and scene.now_ms - (incident.resolved_ms or 0) < _DEGRADED_GRACE_MS
        for member in incident.members
        if member.level is Level.DEGRADED and incident.severity is Severity.PAGE
        if scene.blame.level(member.target) is Level.DEGRADED
    }


def _close(book: Book, scene: Scene) -> None:
    for incident in _live(book):
        if incident.root not in incident.active and not _holding(book, scene, incident):
            book.close(incident, "recovered" if incident.root in scene.blame.conditions else "removed")


def _holding(book: Book, scene: Scene, incident: Incident) -> list[str]:
    """Members that keep an incident open: those that another incident explains do not."""
    elsewhere = {one.root for one in _live(book) if one.id != incident.id}
    ill = [target for target in incident.active if _counts(incident, target)]
    return [target for target in ill if not scene.blame.roots(target) & elsewhere]


def _counts(incident: Incident, target: str) -> bool:
    """A page is over when nothing is down, a warning when nothing is degraded either."""
    member = incident.member(target)
    return member is not None and (incident.severity is Severity.WARNING or member.level is Level.DOWN)


def _with_severity(book: Book, scene: Scene, incident: Incident) -> Incident:
    """What began as a warning becomes a page when its root goes down: nobody's acknowledgement covers that."""
    if incident.severity is Severity.PAGE or scene.blame.level(incident.root) is not Level.DOWN:
        return incident
    wait_until_ms = incident.wait_until_ms
    if wait_until_ms is not None:
        wait_until_ms = min(wait_until_ms, scene.now_ms + scene.wait_ms(Level.DOWN))
    return book.record(
        incident,
        "severity",
        "warning became page",
        severity=Severity.PAGE,
        state=IncidentState.OPEN,
        acked_until_ms=None,
        wait_until_ms=wait_until_ms,
        update_due_ms=scene.now_ms if incident.told_ms is not None else None,
    )


def _update_due_ms(incident: Incident, scene: Scene) -> int | None:
    if incident.told_ms is None:
        return None
    return incident.update_due_ms or max(scene.now_ms, incident.told_ms + int(scene.timings.group_interval * 1000))
