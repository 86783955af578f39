"""What is known of a check between results: the state machine's memory."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class State(StrEnum):
    """States of alerting.md: one failure makes a suspect, `fail_after` of them make it down."""

    INIT = "init"
    OK = "ok"
    SUSPECT = "suspect"
    DOWN = "down"
    RECOVERING = "recovering"


@dataclass(frozen=True, slots=True)
class CheckState:
    """The state of a check and its counters. Times are UTC epoch milliseconds.

    `seen` is the newest slot of each location that was judged, `vote_ms` the newest slot that was an opinion (not
    unknown), `windows` the last results against each limit, newest last: "1" broken, "0" not.
    """

    check_id: str
    state: State = State.INIT
    degraded: bool = False
    stale: bool = False
    flapping: bool = False
    fails: int = 0
    oks: int = 0
    first_fail_ms: int | None = None
    since_ms: int = 0
    vote_ms: int | None = None
    degraded_ms: int | None = None
    reason: str = ""
    message: str = ""
    degraded_message: str = ""
    seen: Mapping[str, int] = field(default_factory=dict)
    windows: Mapping[str, str] = field(default_factory=dict)
    broken: tuple[str, ...] = ()  # limits beyond which it is, by their key

    @property
    def is_down(self) -> bool:
        """Confirmed down, and not yet confirmed well."""
        return self.state in (State.DOWN, State.RECOVERING)

    @property
    def is_failing(self) -> bool:
        """Down, or suspected of it: what the walk to the root visits."""
        return self.is_down or self.state is State.SUSPECT
