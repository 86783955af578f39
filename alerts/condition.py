"""How a target is, seen from the states of its checks."""

from collections.abc import Mapping
from dataclasses import dataclass

from alerts.check_state import CheckState
from alerts.incident import Level
from alerts.rules import is_old
from probes.target import Estate, Target


@dataclass(frozen=True, slots=True)
class Condition:
    """A target now. `level` None: nothing confirmed against it; `failing` counts suspicion too.

    `since_ms` is the first failure (or the moment it was called degraded), `vote_ms` the oldest of the newest votes of
    its checks, `fresh` whether the evidence is new enough to act on.
    """

    target: str
    level: Level | None = None
    failing: bool = False
    since_ms: int = 0
    vote_ms: int | None = None
    fresh: bool = False
    reason: str = ""
    message: str = ""
    check_id: str = ""

    @property
    def is_bad(self) -> bool:
        """Failing or degraded."""
        return self.failing or self.level is not None


def conditions(estate: Estate, states: Mapping[str, CheckState], now_ms: int) -> dict[str, Condition]:
    """The condition of every target that has checks."""
    return {target.id: condition(estate, target, states, now_ms) for target in estate.targets.values() if target.checks}


def condition(estate: Estate, target: Target, states: Mapping[str, CheckState], now_ms: int) -> Condition:
    """A target is down when any of its checks is; of several, the one that failed first speaks for it."""
    known = [states[check_id] for check_id in target.checks if check_id in states]
    votes = [state.vote_ms for state in known if state.vote_ms is not None]
    vote_ms = min(votes) if votes and len(votes) == len(target.checks) else None
    failing = [state for state in known if state.is_failing]
    degraded = [state for state in known if state.degraded]
    worst = [state for state in failing if state.is_down] or failing or degraded
    if not worst:
        return Condition(target.id, vote_ms=vote_ms)
    spokesman = min(worst, key=lambda state: (_since_ms(state), state.check_id))
    down = spokesman.is_down
    return Condition(
        target=target.id,
        level=Level.DOWN if down else Level.DEGRADED if degraded and not failing else None,
        failing=bool(failing),
        since_ms=_since_ms(spokesman),
        vote_ms=vote_ms,
        fresh=not is_old(estate.checks[spokesman.check_id], spokesman.vote_ms or 0, now_ms),
        reason=spokesman.reason if failing else "value_limit",
        message=spokesman.message if failing else spokesman.degraded_message,
        check_id=spokesman.check_id,
    )


def _since_ms(state: CheckState) -> int:
    since_ms = state.first_fail_ms if state.is_failing else state.degraded_ms
    return state.since_ms if since_ms is None else since_ms
