"""HTTP at the limit: thousands of conversations on one loop, driven through libcurl's multi-socket interface."""

import logging
import select
from collections.abc import Callable, Sequence

import pycurl

from probes.arrival import keep_stamping
from probes.backstop import Backstops, Expiring
from probes.curl_run import CurlRun
from probes.fetch import Fetch
from probes.handle import Handle, HandlePool, Shape
from probes.loop import READABLE, WRITABLE, Loop, Timer
from probes.plain_run import PlainRun
from probes.probe import Ask, Conversation, ConversationProbe, Failure, Reading, Request, Response
from probes.resolver import Resolver
from probes.result import Reason
from probes.route import Route, route_of
from probes.runner import reading_of_error, timed
from probes.secure import Security
from probes.target import Check
from probes.transfer import Transfer
from probes.wire_run import WireRun

log = logging.getLogger(__name__)

_EVENTS = {
    pycurl.POLL_IN: READABLE,
    pycurl.POLL_OUT: WRITABLE,
    pycurl.POLL_INOUT: READABLE | WRITABLE,
}
_BACKSTOP_S = 0.010  # libcurl's own timeout comes first and knows more
_MOST_ROUNDS = 4  # what is still to do then waits for the sockets of others
OnReading = Callable[[Reading], object]
OnTransfer = Callable[[int, str], object]


class Engine:
    """Runs conversations. All methods belong to the loop's thread.

    libcurl is told of no timer callback: it would ring it with nearly every call. It is asked once a turn instead.
    """

    def __init__(self, loop: Loop, resolver: Resolver | None = None) -> None:
        self.loop = loop
        self.resolver = resolver or Resolver(loop)
        self.backstops = Backstops(loop, _BACKSTOP_S)
        """Behind libcurl's own timeouts."""
        self.expiries = Backstops(loop, 0.0, per_second=250)
        """The timeouts of connections of our own."""
        self.security = Security(loop)
        self._stamping = keep_stamping()
        self._runs: set[_Talk | PlainRun] = set()
        self._handles = HandlePool()
        self._transfers: dict[pycurl.Curl, OnTransfer] = {}
        self.talking = ""
        """Id of the check whose generator is at work this moment; for the watchdog."""
        self._acted = False
        self.has_ready = False
        """Whether some socket had news in the turn under way."""
        self._timer: Timer | None = None
        self._timer_at = 0.0
        self._multi = pycurl.CurlMulti()
        self._act = self._multi.socket_action
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_PIPELINING, 0)  # every check has a connection of its own
        self._multi.setopt(pycurl.M_MAXCONNECTS, 1)
        loop.after_turn.append(self._end_turn)

    @property
    def in_flight(self) -> int:
        """Conversations under way."""
        return len(self._runs)

    def start(self, check: Check, ask: Ask, on_done: OnReading) -> None:
        """Run a check of a conversation kind; the reading comes by the callback, once, whatever happens."""
        probe = check.probe
        if isinstance(probe, ConversationProbe) and (route := route_of(self, probe)) is not None:
            run = _kind_of(route, self.loop.time())(self, check, probe, route, ask, on_done)
            if run.begin():
                self._runs.add(run)
                return
        talk = _Talk(self, check, ask, on_done)
        self._runs.add(talk)
        talk.begin()

    def cancel_all(self) -> None:
        """End all conversations with the reason `cancelled`."""
        for run in list(self._runs):
            run.abort(Failure(Reason.CANCELLED, "the worker was stopped"))

    def close(self) -> None:
        """Cancel everything and release libcurl."""
        self.cancel_all()
        self.resolver.close()
        self.loop.after_turn.remove(self._end_turn)
        if self._timer is not None:
            self._timer.cancel()
        self._multi.close()
        self._handles.close()
        self._stamping.close()

    def keep_spare(self, handle: Handle) -> None:
        """Return a handle whose transfer has ended well and been told of."""
        self._handles.give_back(handle, True)

    def run_ended(self, run: "_Talk | PlainRun") -> None:
        """A conversation is over."""
        self._runs.discard(run)

    def talk_on(self, run: PlainRun, transfer: Transfer, code: int, text: str) -> None:
        """A plain run turns out to be none: its transfer has ended in a way that needs a conversation."""
        self._runs.discard(run)
        talk = _Talk(self, run.check, run.ask, run.on_done)
        self._runs.add(talk)
        talk.go_on(run, transfer, code, text)

    def talk_anew(self, run: PlainRun) -> None:
        """A plain run has to be asked once more, in the time it has left."""
        self._runs.discard(run)
        talk = _Talk(self, run.check, run.ask, run.on_done)
        self._runs.add(talk)
        talk.begin()

    def take_handle(self, shape: Shape | None) -> Handle:
        """An easy handle, best one that was used for the same shape of request."""
        return self._handles.take(shape)

    def give_back(self, handle: Handle, ended_well: bool) -> None:
        """Return a handle, also one whose transfer is still under way: that ends it."""
        if self._transfers.pop(handle.curl, None) is not None:
            self._multi.remove_handle(handle.curl)
            ended_well = False
        self._handles.give_back(handle, ended_well)

    def begin_transfer(self, curl: pycurl.Curl, on_done: OnTransfer) -> None:
        """Hand a prepared handle to libcurl; the callback gets libcurl's error number (0 is fine) and text."""
        self._transfers[curl] = on_done
        self._multi.add_handle(curl)
        self._acted = self.loop.wants_turn = True

    def _on_socket(self, what: int, fd: int, _multi: object, _data: object) -> None:
        events = _EVENTS.get(what)
        if events is None:
            self.loop.forget(fd)
        else:
            self.loop.watch(fd, events, self._on_ready)

    def _on_ready(self, fd: int, events: int) -> None:
        self._acted = self.has_ready = True
        self._act(fd, _MASKS.get(events) or _mask_of(events))

    def _on_time(self) -> None:
        self._timer = None
        self._acted = True

    def _end_turn(self) -> None:
        """Let libcurl begin what was handed to it, hand out what it has finished, and ask when it wants to go on."""
        if not self._acted:
            return
        for _ in range(_MOST_ROUNDS):
            self._acted = False
            wait_ms = self._multi.timeout()
            if wait_ms == 0:
                self._act(pycurl.SOCKET_TIMEOUT, 0)
            self._collect()
            if not self._acted:
                break
        self.has_ready = False
        self.loop.wants_turn = self._acted
        self._set_timer(self._multi.timeout())

    def _set_timer(self, wait_ms: int) -> None:
        """One that rings too early is left to ring: libcurl's next time moves with nearly every transfer."""
        if wait_ms < 0:
            return
        at_s = self.loop.time() + wait_ms / 1000
        if self._timer is not None:
            if self._timer_at <= at_s:
                return
            self._timer.cancel()
        self._timer_at = at_s
        self._timer = self.loop.call_at(at_s, self._on_time)

    def _collect(self) -> None:
        """Hand out what libcurl has finished."""
        left = 1
        while left:
            left, good, bad = self._multi.info_read()
            for curl in good:
                if (on_done := self._transfers.pop(curl, None)) is not None:
                    self._multi.remove_handle(curl)
                    on_done(pycurl.E_OK, "")
            for curl, code, text in bad:
                if (on_done := self._transfers.pop(curl, None)) is not None:
                    self._multi.remove_handle(curl)
                    on_done(code, text)


def _mask_of(events: int) -> int:
    """Epoll's events in libcurl's words."""
    mask = 0
    if events & (select.EPOLLIN | select.EPOLLHUP):
        mask |= pycurl.CSELECT_IN
    if events & select.EPOLLOUT:
        mask |= pycurl.CSELECT_OUT
    if events & select.EPOLLERR:
        mask |= pycurl.CSELECT_ERR
    return mask


_MASKS = {events: _mask_of(events) for events in (READABLE, WRITABLE, READABLE | WRITABLE)}


def _kind_of(route: Route, now_s: float) -> type[PlainRun]:
    """Who carries a plain run."""
    if route.wire is None:
        return CurlRun
    if not route.url.is_tls:
        return WireRun
    return route.secure.kind if route.secure is not None and now_s < route.certificate_until_s else CurlRun


class _Talk:
    """One conversation under way: the generator, and the fetches it waits for."""

    __slots__ = (
        "_ask",
        "_asking",
        "_bucket",
        "_check",
        "_conversation",
        "_end_s",
        "_engine",
        "_fetches",
        "_missing",
        "_on_done",
        "_responses",
        "_started",
        "_wants_one",
    )

    def __init__(self, engine: Engine, check: Check, ask: Ask, on_done: OnReading) -> None:
        self._engine, self._check, self._ask, self._on_done = engine, check, ask, on_done
        self._started = engine.loop.time()
        self._conversation: Conversation | None = None
        self._fetches: list[Fetch] = []
        self._responses: list[Response | None] = []
        self._missing = 0
        self._wants_one = True
        self._asking = False
        self._end_s = ask.deadline.end_s
        self._bucket: set[Expiring] = set()

    def begin(self) -> None:
        """Run the generator to its first request."""
        probe = self._check.probe
        try:
            if not isinstance(probe, ConversationProbe):
                raise TypeError(f"kind {self._check.kind} blocks: it runs in the thread pool")
            self._ask.deadline.remaining_s()
            self._conversation = probe.converse(self._ask)
        except BaseException as error:  # noqa: BLE001  (a probe's fault must not reach the loop)
            self._finish(reading_of_error(self._check, error))
            return
        self._bucket = self._engine.backstops.add(self._end_s, self)
        self._advance(None)

    def go_on(self, run: PlainRun, transfer: Transfer, code: int, text: str) -> None:
        """Take over from a plain run: what it has asked for is what the conversation wants first."""
        self._started = run.started
        request = run.probe.only_request
        if request is None:
            raise RuntimeError("a plain run without a request")
        try:
            self._conversation = run.probe.converse(self._ask)
            next(self._conversation)
        except BaseException as error:  # noqa: BLE001  (see begin; unanswered, the check would never run again)
            transfer.release(False)
            self._finish(reading_of_error(self._check, error))
            return
        self._bucket = self._engine.backstops.add(self._end_s, self)
        self._responses, self._missing = [None], 1
        fetch = Fetch(self._engine, request, self._end_s, 0, self._hear, run.started)
        self._fetches = [fetch]
        fetch.go_on(transfer, run.route, code, text)

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
        self._missing = len(requests)
        self._fetches = [
            Fetch(self._engine, request, self._end_s, index, self._hear) for index, request in enumerate(requests)
        ]
        fetches = tuple(self._fetches)
        self._asking = True
        for fetch in fetches:
            fetch.begin()
        self._asking = False
        if not self._missing:  # all failed at once: through the loop, or asking on and on would fill the stack
            self._engine.loop.call_soon(self._take_responses)

    def _hear(self, index: int, response: Response) -> None:
        self._responses[index] = response
        self._missing -= 1
        if not self._asking and not self._missing:
            self._take_responses()

    def _take_responses(self) -> None:
        heard = tuple(response for response in self._responses if response is not None)
        self._fetches = []
        self._advance(heard[0] if self._wants_one else heard)

    def expire(self) -> None:
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
        self._bucket.discard(self)
        self._engine.run_ended(self)
        self._on_done(timed(reading, self._engine.loop.time() - self._started))
