"""Which cookies has one run of a journey been given, and which go with its next request?"""

from email.message import Message
from http.cookiejar import Cookie, CookieJar, DefaultCookiePolicy
from typing import Literal
from urllib.request import Request as UrlRequest

from pydantic import BaseModel, ConfigDict, Field

from probes.probe import Response

_SAME_SITE = ("strict", "lax", "none")


class _Answer:
    """What http.cookiejar wants to know of a response."""

    def __init__(self, response: Response) -> None:
        self._message = Message()
        for name, value in response.headers:
            if name.lower() == "set-cookie":
                self._message.add_header("Set-Cookie", value)

    def info(self) -> Message:
        """The headers."""
        return self._message


class RunCookies:
    """The cookies of one run: domain, path, Secure and age are kept as browsers keep them; gone with the run."""

    def __init__(self) -> None:
        self._jar = CookieJar(DefaultCookiePolicy(netscape=True, rfc2965=False, strict_domain=True))
        self.seen: set[str] = set()
        """Every value that was ever set: none of them may be shown."""

    def take(self, response: Response) -> None:
        """Keep what a response sets for the URL it came from."""
        if response.header("set-cookie") is None:
            return
        self._jar.extract_cookies(_Answer(response), UrlRequest(response.url))  # type: ignore[arg-type]  # noqa: S310
        for name, value in response.headers:
            if name.lower() == "set-cookie":
                self.seen.add(value.partition(";")[0].partition("=")[2].strip().strip('"'))

    def header_for(self, url: str) -> str | None:
        """The Cookie header of a request to that URL; None where no cookie goes there."""
        request = UrlRequest(url)  # noqa: S310
        self._jar.add_cookie_header(request)
        return request.get_header("Cookie")

    def find(self, name: str) -> Cookie | None:
        """The cookie of that name that was set last for any path and domain."""
        found = [cookie for cookie in self._jar if cookie.name == name]
        return found[-1] if found else None


class CookieExpect(BaseModel):
    """What a cookie must be after a step."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    exists: bool = Field(True, description="false: there must be no such cookie (any more)")
    secure: bool | None = Field(None, description="whether it is for HTTPS only")
    http_only: bool | None = Field(None, description="whether it is hidden from scripts")
    same_site: Literal["strict", "lax", "none"] | None = Field(None, description="its SameSite flag")
    path: str | None = Field(None, description="the path it is for")

    def mismatch_of(self, name: str, cookie: Cookie | None) -> str | None:
        """What does not fit, for people and without the value; None if all does."""
        if cookie is None:
            return f"cookie {name} is missing" if self.exists else None
        if not self.exists:
            return f"cookie {name} is still there"
        flags = {
            "Secure": (self.secure, cookie.secure),
            "HttpOnly": (self.http_only, _attribute(cookie, "httponly") is not None),
        }
        for flag, (wanted, found) in flags.items():
            if wanted is not None and wanted is not bool(found):
                return f"cookie {name} is {'not ' if wanted else ''}{flag}"
        same_site = (_attribute(cookie, "samesite") or "").lower()
        if self.same_site is not None and same_site != self.same_site:
            shown = same_site if same_site in _SAME_SITE else "missing"
            return f"SameSite of cookie {name} is {shown} instead of {self.same_site}"
        if self.path is not None and cookie.path != self.path:
            return f"cookie {name} is for path {cookie.path} instead of {self.path}"
        return None


def _attribute(cookie: Cookie, wanted: str) -> str | None:
    """An attribute that http.cookiejar only keeps: its name is in the case the server chose."""
    attributes: dict[str, str | None] = vars(cookie).get("_rest", {})
    return next((value or "" for name, value in attributes.items() if name.lower() == wanted), None)
