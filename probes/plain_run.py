"""The run that most are: one request to an address that is known and allowed, and a whole answer that leads nowhere.

It takes none of the steps that such a run does not need (no generator, no lookup, no redirects). Where anything turns
out otherwise it hands over, with the transfer as it stands, to a conversation that knows all the cases
(`probes.engine`); so what a failure means is written down once, there. The request goes through libcurl
(`probes.curl_run`) or over a connection of our own (`probes.wire_run`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from probes.backstop import Expiring
from probes.probe import Ask, ConversationProbe, Failure, Reading, Response
from probes.runner import reading_of_error, timed
from probes.target import Check

if TYPE_CHECKING:
    from probes.engine import Engine
    from probes.route import Route

OnReading = Callable[[Reading], object]
_NOWHERE: set[Expiring] = set()


class PlainRun(ABC):
    """One run of one check. Calls back exactly once, by itself or by the conversation it has handed over to."""

    __slots__ = ("_bucket", "_end_s", "_engine", "ask", "check", "on_done", "probe", "route", "started")

    def __init__(  # noqa: PLR0917
        self, engine: "Engine", check: Check, probe: ConversationProbe, route: "Route", ask: Ask, on_done: OnReading
    ) -> None:
        self._engine, self.check, self.probe, self.route, self.ask = engine, check, probe, route, ask
        self.on_done = on_done
        self.started = engine.loop.time()
        self._end_s = ask.deadline.end_s
        self._bucket = _NOWHERE

    @abstractmethod
    def begin(self) -> bool:
        """Send the request on its way; False, and nothing has happened, where that is not possible."""

    @abstractmethod
    def expire(self) -> None:
        """The deadline has passed."""

    @abstractmethod
    def _let_go(self) -> None:
        """End what is under way."""

    def abort(self, failure: Failure) -> None:
        """End now."""
        self._let_go()
        self._finish(Reading.of_failure(failure))

    def _conclude(self, response: Response) -> None:
        """Have the probe say what the answer means, and end."""
        engine = self._engine
        engine.talking = self.check.id
        try:
            reading = self.probe.conclude(self.ask, response)
        except BaseException as error:  # noqa: BLE001  (a probe's fault must not reach the loop)
            reading = reading_of_error(self.check, error)
        engine.talking = ""
        self._finish(reading)

    def _finish(self, reading: Reading) -> None:
        engine = self._engine
        self._bucket.discard(self)
        engine.run_ended(self)
        self.on_done(reading if reading.duration_s is not None else timed(reading, engine.loop.time() - self.started))
