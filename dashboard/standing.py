"""How does a check stand now, all locations together? Pure: what is too old is unknown, never green."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dashboard import phrase
from dashboard.theme import Look
from probes.result import Reason, Status
from probes.store.states import Standing
from probes.target import Check, Estate


@dataclass(frozen=True, slots=True)
class CheckNow:
    """A check and what is known of it at this moment. `status` is unknown where the newest result is too old."""

    check: Check
    status: Status
    look: Look
    since_ms: int | None
    slot_ms: int | None
    reason: Reason | None
    message: str
    code: int | None
    duration_s: float | None
    location: str
    stale: bool

    @property
    def is_trouble(self) -> bool:
        """Down or degraded for sure."""
        return self.look in (Look.DOWN, Look.DEGRADED)


def check_now(check: Check, standings: Sequence[Standing], now_ms: int, in_maintenance: bool = False) -> CheckNow:
    """The worst of the locations that still report; unknown where none does."""
    if not standings:
        said = f"no result yet (runs every {phrase.span(check.interval_s)})"
        look = Look.MAINTENANCE if in_maintenance else Look.UNKNOWN
        return CheckNow(check, Status.UNKNOWN, look, None, None, None, said, None, None, "", True)
    limit_ms = now_ms - check.stale_after_s * 1000
    fresh = [one for one in standings if one.slot_ms >= limit_ms]
    if not fresh:
        newest = max(standings, key=lambda one: one.slot_ms)
        said = f"no fresh result; the last one was {newest.status.value}"  # its age is told by since_ms
        return CheckNow(
            check=check,
            status=Status.UNKNOWN,
            look=Look.MAINTENANCE if in_maintenance else Look.UNKNOWN,
            since_ms=newest.slot_ms,
            slot_ms=newest.slot_ms,
            reason=None,
            message=said,
            code=None,
            duration_s=None,
            location=newest.location,
            stale=True,
        )
    worst = max(fresh, key=lambda one: (one.status.badness, one.slot_ms))
    message = worst.message
    if len(fresh) > 1 and worst.status is not Status.UP:
        message = f"{worst.location}: {message}"
    return CheckNow(
        check=check,
        status=worst.status,
        look=Look.MAINTENANCE if in_maintenance else Look.of(worst.status),
        since_ms=worst.since_ms,
        slot_ms=max(one.slot_ms for one in fresh),
        reason=worst.reason,
        message=message,
        code=worst.code,
        duration_s=worst.duration_s,
        location=worst.location,
        stale=False,
    )


def checks_now(
    estate: Estate, standings: Iterable[Standing], now_ms: int, in_maintenance: frozenset[str] = frozenset()
) -> dict[str, CheckNow]:
    """Every configured check by id; what the store still knows of checks that are configured no more is left out."""
    by_check: dict[str, list[Standing]] = {}
    for standing in standings:
        by_check.setdefault(standing.check_id, []).append(standing)
    return {
        check_id: check_now(check, by_check.get(check_id, []), now_ms, check_id in in_maintenance)
        for check_id, check in estate.checks.items()
    }


def worst_look(looks: Iterable[Look]) -> Look:
    """The look of several together: trouble, then unknown, then maintenance, then up; unknown where there is none."""
    return min(looks, key=lambda look: look.rank, default=Look.UNKNOWN)


def targets_look(estate: Estate, checks: Mapping[str, CheckNow]) -> dict[str, Look]:
    """The look of every target that has checks."""
    return {
        target_id: worst_look(checks[check_id].look for check_id in target.checks)
        for target_id, target in estate.targets.items()
        if target.checks
    }
