"""What is one step of a journey? A request with placeholders, what its answer must be, and what is taken from it."""

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any
from urllib.parse import urlencode, urljoin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from probes.body import BodyExpect, HeaderExpect, charset_of
from probes.cookie_jar import CookieExpect, RunCookies
from probes.duration import Duration
from probes.extract import Extract
from probes.http_options import Headers
from probes.http_status import Statuses, name_status, status_matches
from probes.placeholder import fill, fill_all, fill_url, is_name, names_in, spelling_for
from probes.probe import Response

_FROZEN = ConfigDict(frozen=True, extra="forbid", defer_build=True)
_FORM = "application/x-www-form-urlencoded"


def check_name(name: str) -> str:
    """The name of a step or variable. Raises ValueError."""
    if not is_name(name):
        raise ValueError(f"{name!r} is no name: small letters, digits and underscores, a letter first")
    return name


Name = Annotated[str, AfterValidator(check_name)]


class UnusableRequest(ValueError):
    """A request that cannot be sent with the values of this run; the text names the place, not the value."""


class StepRequest(BaseModel):
    """What a step asks; every text may hold `{{variables}}`, each escaped for its place."""

    model_config = _FROZEN

    url: str = Field("", description="path below the journey's url, or a URL of its own")
    method: str | None = Field(None, description="default: GET, or POST with a body", pattern=r"^[A-Z]{1,20}$")
    headers: Headers = Field(default_factory=dict, description="headers of this step, beside the journey's")
    form: dict[str, str] | None = Field(None, description="fields of a form, sent URL-encoded")
    json_: Any = Field(None, alias="json", description="value sent as JSON")
    body: str | None = Field(None, description="body as it is; say its Content-Type in headers")

    @model_validator(mode="after")
    def _has_one_body(self) -> "StepRequest":
        if len(self.model_fields_set & {"form", "json_", "body"}) > 1:
            raise ValueError("a request has one of form, json and body")
        return self

    @property
    def verb(self) -> str:
        """Its method."""
        return self.method or ("POST" if self.model_fields_set & {"form", "json_", "body"} else "GET")

    @property
    def is_chosen_by_answer(self) -> bool:
        """Whether a value decides which host is asked."""
        return self.url.lstrip().startswith("{{")

    def names(self) -> Iterator[str]:
        """The variables it needs."""
        yield from names_in([self.url, self.headers, self.form, self.json_, self.body])

    def url_with(self, base: str, values: Mapping[str, str]) -> str:
        """Where it goes. Raises MissingValue."""
        return urljoin(base, fill_url(self.url, values)) if self.url else base

    def headers_with(self, values: Mapping[str, str]) -> dict[str, str]:
        """Its headers, that of its body's type included. Raises MissingValue, UnusableRequest."""
        filled = {name: fill(value, values) for name, value in self.headers.items()}
        for name, value in filled.items():
            if any(ord(char) < 0x20 or ord(char) == 0x7F for char in value):
                raise UnusableRequest(f"a variable puts control characters into header {name}")
        if "content-type" not in {name.lower() for name in filled}:
            if self.form is not None:
                filled["Content-Type"] = _FORM
            elif "json_" in self.model_fields_set:
                filled["Content-Type"] = "application/json"
        return filled

    def body_with(self, values: Mapping[str, str]) -> bytes | None:
        """Its body. Raises MissingValue."""
        if self.form is not None:
            return urlencode({name: fill(value, values) for name, value in self.form.items()}).encode()
        if "json_" in self.model_fields_set:
            return json.dumps(fill_all(self.json_, values), ensure_ascii=False).encode()
        if self.body is None:
            return None
        content_type = next((value for name, value in self.headers.items() if name.lower() == "content-type"), "")
        return fill(self.body, values, spelling_for(content_type)).encode()


class StepExpect(BaseModel):
    """What the answer of a step must be."""

    model_config = _FROZEN

    status: Statuses = Field(("2xx",), description="status code, 2xx, or a list of these")
    body: BodyExpect | None = Field(None, description="what the body must or must not say")
    headers: dict[str, HeaderExpect] = Field(default_factory=dict, description="what response headers must say")
    cookies: dict[str, CookieExpect] = Field(default_factory=dict, description="what cookies must be after the step")

    @property
    def wants_redirect(self) -> bool:
        """Who expects a redirect wants to see it."""
        return all(status.startswith("3") for status in self.status)

    def mismatch_of(self, response: Response, cookies: RunCookies) -> str | None:
        """What does not fit, for people; None if all does."""
        if not status_matches(response.code, self.status):
            return f"status {name_status(response.code)} instead of {' or '.join(self.status)}"
        for name, header in self.headers.items():
            values = [value for key, value in response.headers if key.lower() == name.lower()]
            if (words := header.mismatch_of(name, values)) is not None:
                return words
        for name, cookie in self.cookies.items():
            if (words := cookie.mismatch_of(name, cookies.find(name))) is not None:
                return words
        if self.body is None:
            return None
        return self.body.mismatch_of(response.body, charset_of(response.header("content-type")))


class Step(BaseModel):
    """One step: asked in turn, unless an earlier one failed."""

    model_config = _FROZEN

    name: Name = Field(description="what it is called in messages, and in its metric step_<name>_s")
    request: StepRequest = Field(default_factory=StepRequest, description="what is asked")
    expect: StepExpect = Field(default_factory=StepExpect, description="what the answer must be; without: a status 2xx")
    extract: dict[Name, Extract] = Field(default_factory=dict, description="variables taken from the answer")
    always: bool = Field(False, description="true: done even after an earlier step failed, as a logout")
    timeout: Duration | None = Field(None, description="of this step; the check's own timeout covers them all", gt=0)
    max_redirects: int | None = Field(None, description="redirects this step follows", ge=0, le=20)
