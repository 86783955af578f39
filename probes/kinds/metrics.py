"""Kind `metrics`: named numbers from an endpoint in Prometheus text or JSON: pools, queues, application caches."""

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from probes.body import read_json, read_path
from probes.counters import MIN_OPERATIONS, Sample, Window, known, window_of
from probes.evidence import exchange
from probes.exposition import read_samples, read_selector
from probes.http_options import HttpOptions
from probes.http_status import name_status, status_matches
from probes.kinds.http import measure
from probes.probe import Ask, Conversation, ConversationProbe, Failure, Metric, Reading, Response, probe
from probes.result import Reason
from probes.url import read_url

Find = Callable[[str], float | None]


def _check_selector(text: str) -> str:
    if text.startswith("$"):
        read_path(text)
    else:
        read_selector(text)
    return text


Selector = Annotated[str, AfterValidator(_check_selector)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,99}$")]


class Ratio(BaseModel):
    """A share from two counters over the last five minutes, such as the hit rate of a cache."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    hits: Selector = Field(description="counter of what went well")
    misses: Selector = Field(description="counter of the rest")
    min_operations: int = Field(MIN_OPERATIONS, description="fewer operations in the window give no value", ge=1)


class Options(HttpOptions):
    """Which endpoint, and which numbers of it."""

    max_body: int = Field(4 << 20, description="largest body that is read, in bytes", ge=0, le=64 << 20)
    format: Literal["auto", "json", "prometheus"] = Field("auto", description="format of the endpoint")
    values: dict[Name, Selector] = Field(
        default_factory=dict,
        description='name → selector: a JSON path ($.pool.used) or name{label="value"}; several matches are added up',
    )
    rates: dict[Name, Selector] = Field(default_factory=dict, description="name → counter, reported per second")
    ratios: dict[Name, Ratio] = Field(default_factory=dict, description="name → {hits, misses}: windowed share")

    @model_validator(mode="after")
    def _is_whole(self) -> "Options":
        names = [*self.values, *self.rates, *self.ratios]
        if not names:
            raise ValueError("say which numbers to read: values, rates or ratios")
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{', '.join(sorted(twice))} stands in more than one of values, rates and ratios")
        for selector in self.selectors:
            if self.format != "auto" and (self.format == "json") is not selector.startswith("$"):
                raise ValueError(f"{selector!r} is no selector for format {self.format}")
        return self

    @property
    def counters(self) -> tuple[str, ...]:
        """Selectors of the counters, each once."""
        ratios = (side for ratio in self.ratios.values() for side in (ratio.hits, ratio.misses))
        return tuple(dict.fromkeys((*self.rates.values(), *ratios)))

    @property
    def selectors(self) -> tuple[str, ...]:
        """All selectors, each once."""
        return tuple(dict.fromkeys((*self.values.values(), *self.counters)))


@probe("metrics")
class MetricsProbe(ConversationProbe):
    """Reads numbers that an application publishes, and turns its counters into rates and windowed shares."""

    Options = Options
    measures = True
    metrics: ClassVar = {"*": Metric("numbers named under values, rates and ratios")}

    def describe(self) -> str:
        """`metrics of https://app.example.org/metrics`."""
        return f"metrics of {read_url(self.options.url)}"

    def converse(self, ask: Ask) -> Conversation:
        """One request. Raises Failure(query_error) naming the selector that finds nothing."""
        request = self.options.request()
        response: Response = yield request
        evidence = partial(exchange, request, response)
        try:
            numbers = self._read(response)
        except Failure as failure:
            failure.code, failure.phases = response.code, response.phases
            failure.metrics, failure.evidence = measure(response, ask.now_ms), evidence
            raise
        window = self._window(ask, numbers)
        metrics = measure(response, ask.now_ms) | known(self._name(numbers, window))
        return Reading(
            duration_s=response.duration_s,
            code=response.code,
            phases=response.phases,
            metrics=metrics,
            carry=window,
            evidence=evidence,
        )

    def _read(self, response: Response) -> dict[str, float]:
        """Selector → number; NaN where the endpoint says so."""
        if response.failure is not None:
            raise response.failure
        if response.code in (401, 403) and self.options.has_credentials:
            raise Failure(Reason.AUTH_FAILED, f"credentials refused: status {name_status(response.code)}")
        if not status_matches(response.code, ("2xx",)):
            raise Failure(Reason.HTTP_STATUS, f"status {name_status(response.code)} instead of 2xx")
        find = _reader(self.options.format, self.options.selectors, response)
        numbers: dict[str, float] = {}
        for selector in self.options.selectors:
            number = find(selector)
            if number is None:
                raise Failure(Reason.QUERY_ERROR, f"{selector} is not to be found, or is not a number")
            numbers[selector] = number
        return numbers

    def _window(self, ask: Ask, numbers: dict[str, float]) -> Window:
        counters = {selector: numbers[selector] for selector in self.options.counters}
        before = window_of(ask.last.carry if ask.last is not None else None)
        if any(math.isnan(value) for value in counters.values()):
            return Window()
        return before.then(Sample(time.monotonic(), (), counters), ask.interval_s)

    def _name(self, numbers: dict[str, float], window: Window) -> dict[str, float | None]:
        options: Options = self.options
        named: dict[str, float | None] = {
            name: numbers[selector] if math.isfinite(numbers[selector]) else None
            for name, selector in options.values.items()
        }
        named.update({name: window.per_s(selector) for name, selector in options.rates.items()})
        for name, ratio in options.ratios.items():
            named[name] = window.ratio(ratio.hits, ratio.misses, min_operations=ratio.min_operations)
        return named


def _reader(format_: str, selectors: Sequence[str], response: Response) -> Find:
    """How a selector is looked up in the answer. Raises Failure(decode_error) for a body in no known format."""
    content_type = response.header("content-type") or ""
    is_json = format_ == "json" or (
        format_ == "auto" and ("json" in content_type or response.body.lstrip()[:1] in (b"{", b"["))
    )
    if not is_json:
        return _prometheus_reader(response.body.decode("utf-8", errors="replace"), selectors)
    try:
        document = read_json(response.body)
    except ValueError as error:
        raise Failure(Reason.DECODE_ERROR, f"the body is not JSON: {error}") from None
    return lambda selector: _find_in_json(document, selector)


def _prometheus_reader(text: str, selectors: Sequence[str]) -> Find:
    names = [read_selector(selector).name for selector in selectors if not selector.startswith("$")]
    samples = list(read_samples(text, names))
    if not samples and next(read_samples(text), None) is None:
        raise Failure(Reason.DECODE_ERROR, "the body holds no numbers in Prometheus' text format")

    def find(selector: str) -> float | None:
        if selector.startswith("$"):
            return None
        wanted = read_selector(selector)
        found = [sample.value for sample in samples if wanted.fits(sample)]
        return sum(found) if found else None

    return find


def _find_in_json(document: Any, selector: str) -> float | None:
    if not selector.startswith("$"):
        return None
    found = [_number(value) for value in read_path(selector).findall(document)]
    numbers = [number for number in found if number is not None]
    return sum(numbers) if numbers and len(numbers) == len(found) else None


def _number(value: Any) -> float | None:
    if not isinstance(value, bool | int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None
