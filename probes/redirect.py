"""Where does a redirect lead, and what may the request take along? One hop, checked. Pure."""

from dataclasses import replace

from probes.probe import Failure, Request
from probes.redact import clean
from probes.result import Reason
from probes.url import Url, UrlError

REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CREDENTIAL_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})


def follow(request: Request, code: int, origin: Url, location: str, hops: int) -> tuple[Request, Url]:
    """The request after a redirect and where it goes; `request.url` stays what was asked first.

    Raises Failure: more hops than allowed, a URL that cannot be used, or a way out of encryption.
    """
    if hops >= request.max_redirects:
        text = f"more than {request.max_redirects} redirects, the last to {clean(location, 200)}"
        raise Failure(Reason.HTTP_REDIRECT_LOOP, text, code=code)
    try:
        target = origin.join(location)
    except (UrlError, ValueError) as error:
        text = f"redirect to {clean(location, 200)} refused: {error}"
        raise Failure(Reason.SSRF_BLOCKED, text, code=code) from None
    if origin.is_tls and not target.is_tls:
        text = f"redirect from https to {target} refused: it gives up encryption"
        raise Failure(Reason.SSRF_BLOCKED, text, code=code)
    return _redirected(request, code, origin, target), target


def _redirected(request: Request, code: int, origin: Url, target: Url) -> Request:
    """The request after a redirect: its method as browsers change it, without credentials on another origin."""
    if code == 303 or (code in (301, 302) and request.method == "POST"):
        kept = tuple(h for h in request.headers if h[0].lower() not in ("content-type", "content-length"))
        request = replace(request, method="HEAD" if request.method == "HEAD" else "GET", body=None, headers=kept)
    if origin.origin == target.origin:
        return request
    return without_credentials(request)


def without_credentials(request: Request) -> Request:
    """What of a request may go to another origin than the one it was meant for."""
    safe = tuple(header for header in request.headers if header[0].lower() not in _CREDENTIAL_HEADERS | {"host"})
    return replace(
        request,
        headers=safe,
        auth="none",
        username=None,
        password=None,
        client_cert_file=None,
        client_key_file=None,
        connect_to=None,
    )
