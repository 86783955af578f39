"""Where the only request of a check goes, and what is remembered of the way (`Request.route`)."""

from typing import TYPE_CHECKING

from probes.guard import check_addresses, literal_address
from probes.handle import Shape, shape_of
from probes.probe import Certificate, ConversationProbe, Failure, Request
from probes.secure import Secure
from probes.url import Url, UrlError, read_url
from probes.wire import Wire, wire_of

if TYPE_CHECKING:
    from probes.engine import Engine


class Route:
    """Where a request goes, and which addresses the guard has let through.

    Addresses are looked at again whenever the name has others than before.
    """

    __slots__ = (
        "addresses",
        "certificate",
        "certificate_until_s",
        "pinned",
        "quiet_shape",
        "secure",
        "shape",
        "url",
        "wire",
    )

    def __init__(self, request: Request) -> None:
        """Raises UrlError, and Failure for an address that is not allowed."""
        self.url: Url = read_url(request.url)
        is_name = literal_address(self.url.host) is None
        self.shape: Shape | None = shape_of(request, self.url, is_name, None)
        self.quiet_shape = shape_of(request, self.url, is_name, None, False) if self.url.is_tls else self.shape
        self.certificate: Certificate | None = None
        """What the server has shown to a run that did not fail, and which is taken for good until then."""
        self.certificate_until_s = 0.0
        self.addresses: tuple[str, ...] = ()
        self.pinned: str | None = None
        self.wire: Wire | None = None
        """How to ask without libcurl; None where it takes more than a connection of our own to the one address."""
        self.secure: Secure | None = None
        """With what to ask an https site so, once libcurl has had a look at its certificate."""
        if not is_name:
            self.allow(request, (self.url.host,))

    def allow(self, request: Request, addresses: tuple[str, ...]) -> None:
        """Take over the addresses of the host. Raises Failure where one of them is not allowed."""
        check_addresses(self.url.host, addresses, request.allow_addresses)
        self.addresses = addresses
        self.wire = wire_of(request, self.url, addresses)
        if addresses != (self.url.host,):
            self.pinned = pin(self.url.host, self.url.port, addresses)


def pin(host: str, port: int, addresses: tuple[str, ...]) -> str:
    """Addresses of a host in libcurl's words, so that it asks nobody else."""
    listed = ",".join(f"[{address}]" if ":" in address else address for address in addresses)
    return f"+{host}:{port}:{listed}"


def route_of(engine: "Engine", probe: ConversationProbe) -> Route | None:
    """The way of a probe's only request; None where it needs a conversation to find it, or more than one request."""
    request = probe.only_request
    if request is None or request.shape is None or request.connect_to is not None:
        return None
    route = request.route
    try:
        if not isinstance(route, Route):
            route = Route(request)
            object.__setattr__(request, "route", route)
        if route.shape is None:  # credentials in the URL
            return None
        if route.pinned is not None or not route.addresses:
            addresses = engine.resolver.known(route.url.host, request.family)
            if addresses is None:
                return None
            if addresses != route.addresses:
                route.allow(request, addresses)
    except (UrlError, Failure):
        return None
    return route
