"""How a target is asked: the base classes every kind derives from, and the registry of kinds."""

import importlib
import importlib.util
import pkgutil
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache, lru_cache
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from probes.header import HeaderLines
from probes.result import NO_PHASES, Phases, Reason, Status
from probes.value import value


class Options(BaseModel):
    """Base of a kind's options: its fields are the keys users write, their descriptions the documentation."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """From a pickle: set one by one, thousands of checks share the keys, and each keeps 200 bytes, not 1,200."""
        for name, given in (state | state["__dict__"]).items():
            if name != "__dict__":
                object.__setattr__(self, name, given)


class Expect(BaseModel):
    """Base of a kind's own expectations (status, body …); limits on metrics need no field here."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


@dataclass(frozen=True, slots=True)
class Metric:
    """A number a kind can report, so that limits on it can be checked when the configuration is read.

    `worse` says on which side of a limit trouble lies when the user does not say `above` or `below`.
    """

    help: str
    worse: Literal["above", "below"] = "above"


Gather = Callable[[], Mapping[str, Any]]
"""Tells what a run saw, as values that JSON knows; called only where somebody will want to see it, and then at once."""


class Failure(Exception):
    """What a probe raises when the target failed it: a stable reason and a message for people.

    A reason that is our own fault (`Reason.is_ours`) makes the result unknown, any other makes it down.
    Phases, code, metrics, facts (see `Reading`) and evidence gathered so far may be handed over and are kept.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        code: int | None = None,
        phases: Phases = NO_PHASES,
        metrics: Mapping[str, float] | None = None,
        facts: Mapping[str, str] | None = None,
        evidence: Gather | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.code = code
        self.phases = phases
        self.metrics = dict(metrics or {})
        self.facts = facts
        self.evidence = evidence


@value(frozen=True, slots=True)
class Reading:
    """What a probe returns. `carry` is handed to the next run as `ask.last.carry` (counters for rates), never stored.

    `facts` are things that seldom change, by a name for people ("certificate"): only a change is stored, as an event.
    `duration_s` None means: the runner's own stopwatch, from start to return. `evidence` is asked only for runs that
    turn out bad, and forgotten with the run.
    """

    status: Status = Status.UP
    reason: Reason | None = None
    message: str = ""
    duration_s: float | None = None
    code: int | None = None
    phases: Phases = NO_PHASES
    metrics: Mapping[str, float] = field(default_factory=dict)
    carry: Any = None
    facts: Mapping[str, str] | None = None
    evidence: Gather | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of_failure(cls, failure: Failure) -> "Reading":
        """The reading that a raised failure stands for."""
        return cls(
            status=Status.UNKNOWN if failure.reason.is_ours else Status.DOWN,
            reason=failure.reason,
            message=failure.message,
            code=failure.code,
            phases=failure.phases,
            metrics=failure.metrics,
            facts=failure.facts,
            evidence=failure.evidence,
        )

    def carrying(self, carry: Any) -> "Reading":
        """The same reading with another carry."""
        return replace(self, carry=carry)


class Deadline:
    """One total deadline for a run, on the monotonic clock; driver timeouts are taken from what is left of it."""

    __slots__ = ("end_s", "timeout_s")

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.end_s = time.monotonic() + timeout_s

    def remaining_s(self) -> float:
        """Seconds left; raises Failure(deadline) when there are none, so it doubles as a check between steps."""
        left = self.end_s - time.monotonic()
        if left <= 0:
            raise Failure(Reason.DEADLINE, f"no answer within {self.timeout_s:g} s")
        return left


@dataclass(frozen=True, slots=True)
class Push:
    """One call of a heartbeat URL."""

    at_ms: int
    kind: Literal["start", "success", "fail"]
    exit_code: int | None = None
    text: str = ""


@value(frozen=True, slots=True)
class Ask:
    """One question to a target: what a probe is given when it runs.

    `last` is the newest reading of this check by this worker that had a `carry` (None at first), which is how counters
    become rates;
    `pushes` are the newest calls of its heartbeat URL, newest last (heartbeat kind only).
    """

    deadline: Deadline
    now_ms: int
    interval_s: float
    last: Reading | None = None
    pushes: Sequence[Push] = ()
    first_seen_ms: int = 0


_NOT_SHAPE = frozenset({"url", "timeout_s", "shape", "route"})


@lru_cache(maxsize=1024)
def _shape(_values: tuple[object, ...]) -> object:
    return object()


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request of a conversation. `timeout_s` None: what is left of the check's deadline."""

    url: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    timeout_s: float | None = None
    max_redirects: int = 0
    max_body_bytes: int = 1 << 20
    http_version: Literal["1.1", "2", "3", "auto"] = "auto"
    family: Literal["any", "ipv4", "ipv6"] = "any"
    verify: bool = True
    ca_file: str | None = None
    client_cert_file: str | None = None
    client_key_file: str | None = None
    username: str | None = None
    password: str | None = None
    auth: Literal["none", "basic", "digest", "bearer"] = "none"
    proxy: str | None = None
    unix_socket: str | None = None
    connect_to: str | None = None  # "address:port" instead of the URL's own, Host and SNI kept (fan-out)
    allow_addresses: tuple[str, ...] = ()  # metadata or link-local ones that are meant, each named exactly
    ocsp_staple: bool = False  # insist on a stapled OCSP answer that says "good"
    shape: object | None = field(default=None, init=False, compare=False, repr=False)
    route: object | None = field(default=None, init=False, compare=False, repr=False)
    """What the engine remembers of the way there (`probes.route`)."""

    def shaped(self) -> "Request":
        """The same request for asking again and again: its `shape` is one object for all that differ in the URL alone.

        None for one with credentials, body, proxy or client certificate: these leave state in libcurl beyond options.
        A copy by `replace` has no shape, for it may differ.
        """
        leaves_state = (self.username, self.password, self.body, self.proxy, self.unix_socket, self.client_cert_file)
        if self.auth == "none" and not any(part is not None for part in leaves_state):
            values = tuple(getattr(self, name.name) for name in fields(self) if name.name not in _NOT_SHAPE)
            object.__setattr__(self, "shape", _shape(values))
        return self


@dataclass(frozen=True, slots=True)
class Certificate:
    """The leaf certificate a server showed, read even when verification failed. Times in UTC epoch seconds."""

    subject: str
    issuer: str
    not_before_s: float
    not_after_s: float
    fingerprint_sha256: str
    names: tuple[str, ...] = ()

    @property
    def fact(self) -> str:
        """What tells one certificate from another, for people: `a1b2c3d4e5f60718 by CN=R11,O=Let's Encrypt`."""
        return f"{self.fingerprint_sha256[:16]} by {self.issuer}"


@dataclass(frozen=True, slots=True)
class Hop:
    """One of the requests that redirects made of one: where it went, what answered, and its own share of the time.

    The URL bears no credentials; code and address are None where nothing answered.
    """

    url: str
    code: int | None
    address: str | None
    duration_s: float | None
    phases: Phases


@value(frozen=True, slots=True)
class Response:
    """The answer to a Request, or why there was none (`failure`); phases are by libcurl's clock, or the loop's.

    `duration_s` and `phases` are of all `hops` together; these are every request in its order, the last one included,
    and none where no redirect was followed.
    """

    url: str
    code: int | None = None
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    phases: Phases = NO_PHASES
    duration_s: float | None = None
    address: str | None = None
    http_version: str | None = None
    hops: tuple[Hop, ...] = ()
    certificate: Certificate | None = None
    failure: Failure | None = None

    def header(self, name: str) -> str | None:
        """The last value of a header, its name in any case; None where it is absent."""
        if isinstance(self.headers, HeaderLines):
            return self.headers.last(name)
        wanted = name.lower()
        return next((value for key, value in reversed(self.headers) if key.lower() == wanted), None)


OptionsT = TypeVar("OptionsT", bound=Options)


class Probe:
    """A configured way to ask; one subclass a kind. A kind is blocking (`run`) or a conversation (`converse`)."""

    kind: ClassVar[str]
    Options: ClassVar[type[Options]]
    Expect: ClassVar[type[Expect]] = Expect
    metrics: ClassVar[Mapping[str, Metric]] = {}
    """Names this kind may report. A name ending in `*` stands for all names with that beginning."""
    extra: ClassVar[str | None] = None
    """Extra of our distribution that installs the driver, and `driver`, the module to look for."""
    driver: ClassVar[str | None] = None
    measures: ClassVar[bool] = False
    """Whether its worth lies in numbers over time: under overload such kinds stand back first (`probes.schedule`)."""
    account: ClassVar[str] = "none"
    """For the README: the least-privileged account that the kind needs, as a statement to run."""

    def __init__(self, options: Any, expect: Any) -> None:
        self.options = options
        self.expect = expect

    def describe(self) -> str:
        """One line that says what is asked, without secrets: `GET https://shop.example.org/`."""
        return self.kind


class BlockingProbe(Probe):
    """A kind whose driver blocks; it runs in the worker's thread pool."""

    def run(self, ask: Ask) -> Reading:
        """Ask once. Raises Failure when the target failed; anything else raised is our own fault (unknown)."""
        raise NotImplementedError


Conversation = Generator[Request | Sequence[Request], Any, Reading]
"""Yields a Request (receives its Response) or a sequence of them (receives a tuple of Responses), returns a Reading."""


class ConversationProbe(Probe):
    """A kind shaped like HTTP: a generator that does no I/O itself; the engine runs thousands of them on one loop.

    One that asks a single request that never changes may leave out the generator: it has `only_request` and
    `conclude`. Most runs of such a probe are much cheaper.
    """

    @property
    def only_request(self) -> Request | None:
        """The one request of every run, always the same object; None for a probe that converses."""
        return None

    def conclude(self, ask: Ask, response: Response) -> Reading:
        """What the answer to `only_request` means. Raises Failure like `BlockingProbe.run`."""
        raise NotImplementedError

    def converse(self, ask: Ask) -> Conversation:
        """See `Conversation`. Raises Failure like `BlockingProbe.run`."""
        request = self.only_request
        if request is None:
            raise NotImplementedError
        return self.conclude(ask, (yield request))


_KINDS: dict[str, type[Probe]] = {}
ProbeT = TypeVar("ProbeT", bound=type[Probe])


def probe(kind: str) -> Callable[[ProbeT], ProbeT]:
    """Class decorator that registers a kind under the word users write as `kind:`."""

    def register(cls: ProbeT) -> ProbeT:
        cls.kind = kind
        _KINDS[kind] = cls
        return cls

    return register


@cache
def kinds() -> Mapping[str, type[Probe]]:
    """Every kind by name; modules of `probes.kinds` are imported on first call."""
    import probes.kinds

    for module in pkgutil.iter_modules(probes.kinds.__path__):
        importlib.import_module(f"probes.kinds.{module.name}")
    return dict(sorted(_KINDS.items()))


def kind_named(word: str) -> type[Probe] | None:
    """The kind of a word, None where there is none. A worker imports the kinds in use, and so their drivers alone."""
    if word not in _KINDS and word.isidentifier() and importlib.util.find_spec(f"probes.kinds.{word}"):
        importlib.import_module(f"probes.kinds.{word}")
    return _KINDS.get(word) or kinds().get(word)
