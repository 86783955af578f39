"""What can be broken in the shop, and what is broken now."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Fault(StrEnum):
    """One way for the shop to fail; the member's `effect` says what really happens."""

    DB_DOWN = "db_down"
    SLOW_DB = "slow_db"
    ERROR = "error"
    HANG = "hang"
    COLD_CACHE = "cold_cache"
    BAD_CERT = "bad_cert"
    ONE_BAD_NODE = "one_bad_node"
    LOGIN_BROKEN = "login_broken"
    PAY_DOWN = "pay_down"

    @property
    def effect(self) -> str:
        """One line for people."""
        return EFFECTS[self]


EFFECTS = {
    Fault.DB_DOWN: "the database file is moved away: nobody can open it",
    Fault.SLOW_DB: "a process holds the exclusive lock on the database in bursts: queries wait up to 1.6 s",
    Fault.ERROR: "both apps raise an exception on every page: 500",
    Fault.HANG: "both apps accept connections and never answer",
    Fault.COLD_CACHE: "the cache has next to no memory and evicts every key: the hit rate collapses",
    Fault.BAD_CERT: "the HTTPS front presents an expired certificate",
    Fault.ONE_BAD_NODE: "app-2 is slow and answers 500; the balancer takes it out and the site stays up",
    Fault.LOGIN_BROKEN: "form login and token endpoint raise an exception: 500; the rest is fine",
    Fault.PAY_DOWN: "the payment service is gone and its port closed; checkout fails, browsing works",
}


class UnknownFault(ValueError):
    """Somebody asked for a fault that does not exist."""

    def __init__(self, name: str) -> None:
        super().__init__(f"unknown fault {name!r}; the faults are: {', '.join(Fault)}")


def parse_fault(name: str) -> Fault:
    """The fault of that name. Raises UnknownFault, whose text lists them all."""
    try:
        return Fault(name)
    except ValueError:
        raise UnknownFault(name) from None


@dataclass(frozen=True, slots=True)
class FaultBoard:
    """The faults switched on, as one empty file each.

    Files, because any process may ask at any time for the price of one `stat`, and a child that was restarted
    sees at once what it has to break.
    """

    folder: Path

    def is_on(self, fault: Fault) -> bool:
        """Is this fault switched on now?"""
        return (self.folder / fault).exists()

    def active(self) -> frozenset[Fault]:
        """All faults switched on now."""
        return frozenset(fault for fault in Fault if self.is_on(fault))

    def switch_on(self, fault: Fault) -> None:
        """Ask for a fault; its owner brings it about within half a second."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / fault).touch()

    def switch_off(self, faults: Iterable[Fault]) -> None:
        """Ask for the end of these faults."""
        for fault in faults:
            (self.folder / fault).unlink(missing_ok=True)
