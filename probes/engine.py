"""HTTP at the limit: thousands of conversations on one loop, driven through libcurl's multi-socket interface."""

import logging
import select
from collections.abc import Callable, Sequence
from functools import partial

import pycurl

from probes.fetch import Fetch
from probes.loop import READABLE, WRITABLE, Loop, Timer
from probes.probe import Ask, Conversation, ConversationProbe, Failure, Reading, Request, Response
from probes.resolver import Resolver
from probes.result import Reason
from probes.runner import reading_of_error, timed
from probes.target import Check

log = logging.getLogger(__name__)

_EVENTS = {
    pycurl.POLL_IN: READABLE,
    pycurl.POLL_OUT: WRITABLE,
    pycurl.POLL_INOUT: READABLE | WRITABLE,
}
_MOST_SPARE_HANDLES = 512
_BACKSTOP_S = 0.010  # libcurl's own timeout comes first and knows more
OnReading = Callable[[Reading], object]
OnTransfer = Callable[[int, str], object]


class Engine:
    """Runs conversations. All methods belong to the loop's thread."""

    def __init__(self, loop: Loop, resolver: Resolver | None = None) -> None:
        self.loop = loop
        self.resolver = resolver or Resolver(loop)
        self._talks: set[_Talk] = set()
        self._spare: list[pycurl.Curl] = []
        self._transfers: dict[pycurl.Curl, OnTransfer] = {}
        self.talking = ""
        """Id of the check whose generator is at work this moment; for the watchdog."""
        self._acted = False
        self._timer: Timer | None = None
        self._timer_at = 0.0
        self._curl_at: float | None = None
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer_change)
        self._multi.setopt(pycurl.M_PIPELINING, 0)  # every check has a connection of its own
        self._multi.setopt(pycurl.M_MAXCONNECTS, 1)
        loop.after_turn.append(self._collect)

    @property
    def in_flight(self) -> int:
        """Conversations under way."""
        return len(self._talks)

    def start(self, check: Check, ask: Ask, on_done: OnReading) -> None:
        """Run a check of a conversation kind; the reading comes by the callback, once, whatever happens."""
        talk = _Talk(self, check, ask, on_done)
        self._talks.add(talk)
        talk.begin()

    def cancel_all(self) -> None:
        """End all conversations with the reason `cancelled`."""
        for talk in list(self._talks):
            talk.abort(Failure(Reason.CANCELLED, "the worker was stopped"))

    def close(self) -> None:
        """Cancel everything and release libcurl."""
        self.cancel_all()
        self.loop.after_turn.remove(self._collect)
        if self._timer is not None:
            self._timer.cancel()
        self._multi.close()
        for curl in self._spare:
            curl.close()

    def talk_ended(self, talk: "_Talk") -> None:
        """A conversation is over."""
        self._talks.discard(talk)

    def take_handle(self) -> pycurl.Curl:
        """An easy handle; a used one keeps no option but spares building its caches anew."""
        return self._spare.pop() if self._spare else pycurl.Curl()

    def give_back(self, curl: pycurl.Curl) -> None:
        """Return a handle, also one whose transfer is still under way: that ends it."""
        if self._transfers.pop(curl, None) is not None:
            self._multi.remove_handle(curl)
        curl.reset()  # lets go of the callbacks, and with them of the body
        if len(self._spare) < _MOST_SPARE_HANDLES:
            self._spare.append(curl)
        else:
            curl.close()

    def begin_transfer(self, curl: pycurl.Curl, on_done: OnTransfer) -> None:
        """Hand a prepared handle to libcurl; the callback gets libcurl's error number (0 is fine) and text."""
        self._transfers[curl] = on_done
        self._multi.add_handle(curl)

    def _on_socket(self, what: int, fd: int, _multi: object, _data: object) -> None:
        events = _EVENTS.get(what)
        if events is None:
            self.loop.unwatch(fd)
        else:
            self.loop.watch(fd, events, partial(self._on_ready, fd))

    def _on_ready(self, fd: int, events: int) -> None:
        mask = 0
        if events & (select.EPOLLIN | select.EPOLLHUP):
            mask |= pycurl.CSELECT_IN
        if events & select.EPOLLOUT:
            mask |= pycurl.CSELECT_OUT
        if events & select.EPOLLERR:
            mask |= pycurl.CSELECT_ERR
        self._acted = True
        self._multi.socket_action(fd, mask)

    def _on_timer_change(self, timeout_ms: int) -> None:
        """libcurl moves its timer with nearly every call, so one of ours that would ring too early is left to ring."""
        if timeout_ms < 0:
            self._curl_at = None
            return
        self._curl_at = self.loop.time() + timeout_ms / 1000
        if self._timer is None or self._curl_at < self._timer_at:
            self._set_timer(self._curl_at)

    def _set_timer(self, at_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at_s
        self._timer = self.loop.call_at(at_s, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        if self._curl_at is None:
            return
        if self.loop.time() < self._curl_at:
            self._set_timer(self._curl_at)
            return
        self._curl_at = None
        self._acted = True
        self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)

    def _collect(self) -> None:
        """Hand out what libcurl has finished in this turn."""
        if not self._acted:
            return
        self._acted = False
        left = 1
        while left:
            left, good, bad = self._multi.info_read()
            for curl in good:
                self._end_transfer(curl, pycurl.E_OK, "")
            for curl, code, text in bad:
                self._end_transfer(curl, code, text)

    def _end_transfer(self, curl: pycurl.Curl, code: int, text: str) -> None:
        on_done = self._transfers.pop(curl, None)
        if on_done is not None:
            self._multi.remove_handle(curl)
            on_done(code, text)


class _Talk:
    """One conversation under way: the generator, and the fetches it waits for."""

    def __init__(self, engine: Engine, check: Check, ask: Ask, on_done: OnReading) -> None:
        self._engine, self._check, self._ask, self._on_done = engine, check, ask, on_done
        self._started = engine.loop.time()
        self._conversation: Conversation | None = None
        self._fetches: list[Fetch] = []
        self._responses: list[Response | None] = []
        self._wants_one = True
        self._asking = False
        self._end_s = 0.0
        self._backstop: Timer | None = None

    def begin(self) -> None:
        """Run the generator to its first request."""
        probe = self._check.probe
        try:
            if not isinstance(probe, ConversationProbe):
                raise TypeError(f"kind {self._check.kind} blocks: it runs in the thread pool")
            self._end_s = self._started + self._ask.deadline.remaining_s()
            self._conversation = probe.converse(self._ask)
        except BaseException as error:  # noqa: BLE001  (a probe's fault must not reach the loop)
            self._finish(reading_of_error(self._check, error))
            return
        self._backstop = self._engine.loop.call_at(self._end_s + _BACKSTOP_S, self._expire)
        self._advance(None)

    def abort(self, failure: Failure) -> None:
        """End now, whatever the generator would have said."""
        conversation, self._conversation = self._conversation, None
        for fetch in self._fetches:
            fetch.abort(failure)
        reading = Reading.of_failure(failure)
        try:
            if conversation is not None:
                conversation.close()
        except BaseException as error:  # noqa: BLE001  (a generator that refuses to end)
            reading = reading_of_error(self._check, error)
        self._finish(reading)

    def _advance(self, value: Response | tuple[Response, ...] | None) -> None:
        if self._conversation is None:
            return
        self._engine.talking = self._check.id
        try:
            wanted = self._conversation.send(value)
            self._engine.talking = ""
            self._ask_for(wanted)
        except StopIteration as stop:
            self._engine.talking = ""
            self._finish_with(stop.value)
        except BaseException as error:  # noqa: BLE001  (see begin)
            self._engine.talking = ""
            self._finish(reading_of_error(self._check, error))

    def _ask_for(self, wanted: Request | Sequence[Request]) -> None:
        self._wants_one = isinstance(wanted, Request)
        requests = (wanted,) if isinstance(wanted, Request) else tuple(wanted)
        self._responses = [None] * len(requests)
        self._fetches = [
            Fetch(self._engine, request, self._end_s, partial(self._hear, index))
            for index, request in enumerate(requests)
        ]
        fetches = tuple(self._fetches)
        self._asking = True
        for fetch in fetches:
            fetch.begin()
        self._asking = False
        if (
            None not in self._responses
        ):  # all failed at once: through the loop, or asking on and on would fill the stack
            self._engine.loop.call_soon(self._take_responses)

    def _hear(self, index: int, response: Response) -> None:
        self._responses[index] = response
        if not self._asking and None not in self._responses:
            self._take_responses()

    def _take_responses(self) -> None:
        heard = tuple(response for response in self._responses if response is not None)
        self._fetches = []
        self._advance(heard[0] if self._wants_one else heard)

    def _expire(self) -> None:
        """The deadline has passed and libcurl did not say so: end the fetches, and the talk if it goes on talking."""
        for fetch in list(self._fetches):
            fetch.expire()
        if self._conversation is not None:
            self.abort(Failure(Reason.DEADLINE, f"no answer within {self._ask.deadline.timeout_s:g} s"))

    def _finish_with(self, reading: object) -> None:
        if isinstance(reading, Reading):
            self._finish(reading)
        else:
            error = TypeError(f"kind {self._check.kind} returned {type(reading).__name__}, not a Reading")
            self._finish(reading_of_error(self._check, error))

    def _finish(self, reading: Reading) -> None:
        self._conversation = None
        self._fetches = []
        if self._backstop is not None:
            self._backstop.cancel()
        self._engine.talk_ended(self)
        self._on_done(timed(reading, self._engine.loop.time() - self._started))
