"""What keeps Backwatch itself from alerting? Told past the store and its outbox, for it is the store that fails."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from alerts.announce import Kind
from alerts.config import Alerting
from alerts.incident import Incident, IncidentState, Severity
from alerts.message import OWN_ROOT, Affected, Message, addressed
from alerts.notifier import DeliveryError, Notifier
from alerts.route import receivers
from probes.redact import clean
from probes.target import Estate

log = logging.getLogger(__name__)

PATIENCE_MS = 30_000
"""The store may be locked for a moment: what takes longer holds alerts up."""
_WAITS_S = (5.0, 15.0, 30.0, *(60.0,) * 30)


@dataclass(slots=True)
class _Matter:
    since_ms: int
    text: str
    told: bool = False


class OwnTrouble:
    """Remembers since when something is wrong; people are told once that it is, and once that it is over.

    It remembers for as long as the process lives: after a restart people are told anew.
    """

    def __init__(self, deliver: Callable[[Message], object], external_url: str) -> None:
        self._deliver = deliver
        self._external_url = external_url
        self._matters: dict[str, _Matter] = {}

    def look(self, name: str, text: str, now_ms: int, *, at_once: bool = False) -> None:
        """How the matter of this name stands now: a sentence, or empty when all is well."""
        matter = self._matters.get(name)
        if not text:
            if matter is not None:
                del self._matters[name]
                if matter.told:
                    self._tell(name, matter, now_ms, over=True)
            return
        if matter is None:
            matter = self._matters[name] = _Matter(now_ms, text)
        if not matter.told and (at_once or now_ms - matter.since_ms >= PATIENCE_MS):
            matter.text, matter.told = text, True
            self._tell(name, matter, now_ms, over=False)

    def _tell(self, name: str, matter: _Matter, now_ms: int, *, over: bool) -> None:
        text = clean(matter.text, 400)
        log.error("%s: %s", "over" if over else "Backwatch itself is in trouble", text)
        own = Affected(OWN_ROOT, "Backwatch itself", "", "well" if over else "down", text, matter.since_ms)
        self._deliver(
            Message(
                id="", incident_id=f"{OWN_ROOT}:{name}:{matter.since_ms}", seq=2 if over else 1,
                kind=Kind.RESOLVE if over else Kind.FIRE, severity=Severity.PAGE,
                status="resolved" if over else "firing", site="", root=OWN_ROOT, tier="",
                title=f"Backwatch itself: {text}", cause=text, reason=name, members=(own,), opened_ms=matter.since_ms,
                resolved_ms=now_ms if over else None, at_ms=now_ms, url=f"{self._external_url}/itself",
                external_url=self._external_url, closed_as="recovered" if over else "",
            )
        )  # fmt: skip


class Courier:
    """Brings messages to everybody who hears of pages, one after the other, and tries again where one is refused."""

    def __init__(self, estate: Estate, alerting: Alerting, mask: Callable[[str], str]) -> None:
        self.configure(estate, alerting, mask)
        self._closed = threading.Event()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="courier")

    def configure(self, estate: Estate, alerting: Alerting, mask: Callable[[str], str]) -> None:
        """Take another configuration."""
        self._notifiers: Mapping[str, Notifier] = alerting.notifiers
        self._names = _who_hears(estate, alerting)
        self._mask = mask

    def bring(self, message: Message) -> None:
        """Begin to bring a message; never waits."""
        self._pool.submit(self._bring, message, self._names)

    def close(self) -> None:
        """Give up what could not be brought yet."""
        self._closed.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _bring(self, message: Message, names: Sequence[str]) -> None:
        for wait_s in _WAITS_S:
            names = [name for name in names if not self._send(message, name)]
            if not names or self._closed.wait(wait_s):
                return
        log.error("given up telling %s of trouble of our own", ", ".join(names))

    def _send(self, message: Message, name: str) -> bool:
        """True when there is no more to do."""
        notifier = self._notifiers.get(name)
        if notifier is None:
            return True
        try:
            notifier.send(addressed(message, name))
        except DeliveryError as error:
            log.warning("%s could not be told of trouble of our own: %s", name, self._mask(error.text))
            return error.permanent
        except Exception:
            log.exception("notifier %s broke over trouble of our own", name)
            return False
        return True


def _who_hears(estate: Estate, alerting: Alerting) -> tuple[str, ...]:
    own = Incident(
        id=OWN_ROOT, key=OWN_ROOT, state=IncidentState.OPEN, severity=Severity.PAGE, root=OWN_ROOT, members=(),
        title="", cause="", reason="store", opened_ms=0,
    )  # fmt: skip
    found = receivers(own, estate, alerting.routes, alerting.notifiers, default=alerting.notify)
    return found or tuple(alerting.notifiers)  # routes may name sites only: then it concerns them all
