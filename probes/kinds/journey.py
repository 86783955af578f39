"""Kind `journey`: can a visitor do what the site is for? Steps in turn, with cookies and values carried along."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, ClassVar

from pydantic import Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from probes.certificate import days_left
from probes.cookie_jar import RunCookies
from probes.document import suggest
from probes.evidence import MOST_EXCHANGES, each_text, exchange
from probes.extract import NotFound
from probes.http_options import HttpOptions
from probes.journey_step import Name, Step, StepRequest
from probes.placeholder import MissingValue, names_in
from probes.probe import Ask, Conversation, ConversationProbe, Failure, Metric, Reading, Request, Response, probe
from probes.redact import MASK, mask_of_few
from probes.redirect import REDIRECTS, follow, without_credentials
from probes.result import NO_PHASES, Phases, Reason, Status
from probes.url import Url, read_url

_SHORTEST_HIDDEN = 4
_HEAD = 12
"""So much of a secret gives it away, where a message was cut in the middle of it."""
_LAST_STEPS_SHARE = 0.2
"""Of the check's time so much is kept for the steps that are always done."""


class Options(HttpOptions):
    """Where it begins, and its steps."""

    method: str = Field("GET", description="method of steps that name none and send nothing", pattern=r"^[A-Z]{1,20}$")
    variables: dict[Name, str] = Field(default_factory=dict, description="values known beforehand, for {{name}}")
    steps: tuple[Step, ...] = Field(description="what is done, in turn", max_length=50)

    @model_validator(mode="after")
    def _knows_its_names(self) -> "Options":
        """Names that nothing before a step provides are mistakes, told where they stand."""
        if not self.steps:
            raise ValueError("a journey has at least one step")
        wrong = list(_mistakes(self.variables, self.steps))
        if wrong:
            raise ValidationError.from_exception_data("journey", wrong)
        return self


@probe("journey")
class JourneyProbe(ConversationProbe):
    """Does steps in turn as a visitor would: forms, cookies and tokens carried along, the step that fails is named."""

    Options = Options
    account = "an account of its own at the site, that may do no more than the journey does"
    metrics: ClassVar = {
        "step_*": Metric("step_<name>_s: seconds that one step took, its redirects included"),
        "steps_done": Metric("steps that went well", worse="below"),
        "certificate_days_left": Metric("days until the first of the certificates met expires", worse="below"),
    }

    def describe(self) -> str:
        """`journey form → login → account at https://shop.example.org/`."""
        return f"journey {' → '.join(step.name for step in self.options.steps)} at {read_url(self.options.url)}"

    def converse(self, ask: Ask) -> Conversation:
        """All steps until one fails, then only those that are always done. The reading names the first that failed."""
        run = _Run(self.options, ask)
        for step in self.options.steps:
            if run.failure is None or step.always:
                yield from run.take(step)
        return run.reading()


class _Run:
    """One run: its cookies, its values, what was measured. Gone when it ends, and with it every secret it came by."""

    def __init__(self, options: Options, ask: Ask) -> None:
        self.failure: Failure | None = None
        self._options, self._ask = options, ask
        self._cookies = RunCookies()
        self._values = dict(options.variables)
        self._secrets: set[str] = set()
        self._metrics: dict[str, float] = {"steps_done": 0.0}
        self._phases = NO_PHASES
        self._duration_s = 0.0
        self._code: int | None = None
        self._failed = ""
        self._trace: deque[tuple[str, Request, Response]] = deque(maxlen=MOST_EXCHANGES)
        last = any(step.always for step in options.steps)
        self._reserve_s = ask.deadline.timeout_s * _LAST_STEPS_SHARE if last else 0.0

    def take(self, step: Step) -> Generator[Request, Response, None]:
        """Do a step; a failure is kept, unless another came first."""
        try:
            response = yield from self._ask_step(step)
            self._judge(step, response)
            self._metrics["steps_done"] += 1
        except MissingValue as missing:
            # Without what an earlier step should have brought, a step that is always done has nothing to undo.
            if self.failure is None:
                self._fail(step, Failure(Reason.STEP_FAILED, f"variable {missing.args[0]} is not known"))
        except ValueError as error:  # a URL or a request that cannot be used with these values
            self._fail(step, Failure(Reason.STEP_FAILED, str(error)))
        except Failure as failure:
            self._fail(step, failure)

    def reading(self) -> Reading:
        """How it went."""
        failure = self.failure
        if failure is None:
            return Reading(
                duration_s=self._duration_s,
                code=self._code,
                phases=self._phases,
                metrics=self._metrics,
                evidence=self._evidence,
            )
        return Reading(
            status=Status.UNKNOWN if failure.reason.is_ours else Status.DOWN,
            reason=failure.reason,
            message=failure.message,
            code=failure.code,
            phases=self._phases,
            metrics=self._metrics,
            evidence=self._evidence,
        )

    def _ask_step(self, step: Step) -> Generator[Request, Response, Response]:
        """The answer at the end of the step's redirects. Raises Failure, and what `_request` raises."""
        request = self._request(step)
        url = read_url(request.url)
        until = None if step.timeout is None else time.monotonic() + step.timeout
        hops = 0
        while True:
            sent = self._with_cookies(request, str(url) if hops else request.url)
            sent = replace(sent, max_redirects=0, timeout_s=self._left_s(step, until))
            response = yield sent
            self._note(step, sent, response)
            if response.failure is not None:
                raise response.failure
            self._cookies.take(response)
            location = response.header("location") if response.code in REDIRECTS else None
            if response.code is None or not location or not request.max_redirects:
                return response
            request, url = follow(request, response.code, url, location, hops)
            hops += 1

    def _request(self, step: Step) -> Request:
        """The step's request with all values in place. Raises MissingValue, ValueError, Failure(ssrf_blocked)."""
        options, asked = self._options, step.request
        base = options.request()
        url = asked.url_with(options.url, self._values)
        target, home = read_url(url), read_url(options.url)
        if target.origin != home.origin:
            base = without_credentials(base)
            if asked.is_chosen_by_answer:
                _check_foreign(asked, target, home)
        most = step.max_redirects if step.max_redirects is not None else options.max_redirects
        return replace(
            base,
            url=url,
            method=asked.method or (asked.verb if asked.verb != "GET" else options.method),
            headers=_merge(base.headers, asked.headers_with(self._values)),
            body=asked.body_with(self._values),
            max_redirects=0 if step.expect.wants_redirect else most,
        )

    def _with_cookies(self, request: Request, url: str) -> Request:
        kept = self._cookies.header_for(url)
        if kept is None:
            return replace(request, url=url)
        own = [value for name, value in request.headers if name.lower() == "cookie"]
        others = tuple(header for header in request.headers if header[0].lower() != "cookie")
        return replace(request, url=url, headers=(*others, ("Cookie", "; ".join([*own, kept]))))

    def _left_s(self, step: Step, until: float | None) -> float:
        """Seconds for the next request. Raises Failure(deadline)."""
        left = self._ask.deadline.remaining_s() - (0.0 if step.always else self._reserve_s)
        if until is not None:
            left = min(left, until - time.monotonic())
        if left <= 0:
            raise Failure(Reason.DEADLINE, "no time is left for it")
        return left

    def _note(self, step: Step, request: Request, response: Response) -> None:
        self._trace.append((step.name, request, response))
        self._phases = _add(self._phases, response.phases)
        self._code = response.code if self.failure is None else self._code
        if response.duration_s is not None:
            self._duration_s += response.duration_s
            key = f"step_{step.name}_s"
            self._metrics[key] = self._metrics.get(key, 0.0) + response.duration_s
        if response.certificate is not None:
            left = round(days_left(response.certificate, self._ask.now_ms / 1000), 3)
            self._metrics["certificate_days_left"] = min(self._metrics.get("certificate_days_left", left), left)

    def _judge(self, step: Step, response: Response) -> None:
        """Raises Failure(step_failed); takes what later steps need."""
        values, missing = self._extract(step, response)
        self._secrets.update(values.values())
        words = step.expect.mismatch_of(response, self._cookies) or missing
        if words is not None:
            raise Failure(Reason.STEP_FAILED, words, code=response.code)
        self._values.update(values)

    def _extract(self, step: Step, response: Response) -> tuple[dict[str, str], str | None]:
        values: dict[str, str] = {}
        missing: str | None = None
        for name, extract in step.extract.items():
            try:
                values[name] = extract.value_from(response, self._cookies)
            except NotFound as not_found:
                missing = missing or f"no {name}: {not_found}"
        return values, missing

    def _fail(self, step: Step, failure: Failure) -> None:
        if self.failure is None:
            self._failed = step.name
            words = f"step '{step.name}': {self._mask()(failure.message)}"
            self.failure = Failure(failure.reason, words, code=failure.code)

    def _mask(self) -> Callable[[str], str]:
        """Takes out of a text what this run came by, be the text cut in the middle of it."""
        secrets = self._secrets | self._cookies.seen
        mask_whole = mask_of_few(secrets, _SHORTEST_HIDDEN)
        heads = [secret[:_HEAD] for secret in secrets if len(secret) > _HEAD]

        def mask(text: str) -> str:
            text = mask_whole(text)
            for head in heads:
                text = f"{text.partition(head)[0]}{MASK}" if head in text else text
            return text

        return mask

    def _evidence(self) -> Mapping[str, Any]:
        content = {
            "failed_step": self._failed or None,
            "steps": {name: value for name, value in self._metrics.items() if name.startswith("step_")},
            "exchanges": [{"step": name, **exchange(request, response)} for name, request, response in self._trace],
        }
        found = each_text(content, self._mask())
        return found if isinstance(found, dict) else {}


def _check_foreign(asked: StepRequest, target: Url, home: Url) -> None:
    """Where an answer chose the host, it must not choose who gets the password. Raises Failure(ssrf_blocked)."""
    if asked.verb != "GET" or asked.headers:
        text = f"a variable leads to another host ({target.host}), where only a plain GET may go"
        raise Failure(Reason.SSRF_BLOCKED, text)
    if home.is_tls and not target.is_tls:
        raise Failure(Reason.SSRF_BLOCKED, f"a variable leads from https to http ({target.host})")


def _mistakes(variables: Mapping[str, str], steps: Sequence[Step]) -> Iterator[InitErrorDetails]:
    known, names = set(variables), set[str]()
    for number, step in enumerate(steps):
        if step.name in names:
            yield _mistake(("steps", number, "name"), f"two steps are called '{step.name}'")
        for name in dict.fromkeys(step.request.names()):
            if name not in known:
                hint = suggest(name, known)
                words = f"variable '{name}' is not known before this step"
                yield _mistake(("steps", number, "request"), f"{words} ({hint})" if hint else words)
        if any(names_in(step.expect.model_dump())):
            yield _mistake(("steps", number, "expect"), "variables stand in requests, not in what is expected")
        names.add(step.name)
        known.update(step.extract)


def _mistake(at: tuple[str | int, ...], words: str) -> InitErrorDetails:
    # A message is a template: braces in it would be taken for names.
    message = words.replace("{", "(").replace("}", ")")
    return InitErrorDetails(type=PydanticCustomError("journey", message), loc=at, input=None)


def _merge(base: Sequence[tuple[str, str]], own: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    given = {name.lower() for name in own}
    return (*(header for header in base if header[0].lower() not in given), *own.items())


def _add(one: Phases, other: Phases) -> Phases:
    """Each step's seconds together."""
    sums: dict[str, float | None] = {}
    for phase in fields(Phases):
        both = [value for value in (getattr(one, phase.name), getattr(other, phase.name)) if value is not None]
        sums[phase.name] = sum(both) if both else None
    return Phases(**sums)
