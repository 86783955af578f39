"""The web front: HTTP and HTTPS for visitors, static files, everything else from the load balancer."""

import asyncio
import logging
import ssl

from sample_targets.certificate import Certificates
from sample_targets.exchange import (
    BodyTooBig,
    Message,
    Receive,
    Request,
    Response,
    Send,
    UpstreamError,
    UpstreamTimeout,
    fetch,
    receive_request,
    send_response,
)
from sample_targets.fault import Fault
from sample_targets.layout import Layout
from sample_targets.serving import listen, serve

log = logging.getLogger(__name__)

UPSTREAM_TIMEOUT_S = 10.0
STYLE = b"""body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem; color: #222 }
nav a { margin-right: 1rem } .product { border-bottom: 1px solid #ddd; padding: .5rem 0 } .price { font-weight: 600 }
form { margin: 1rem 0 } label { display: block } .notice { background: #fee; padding: .5rem }
"""
STATIC = {
    "/static/shop.css": ("text/css; charset=utf-8", STYLE),
    "/robots.txt": ("text/plain; charset=utf-8", b"User-agent: *\nDisallow: /cart\nDisallow: /login\n"),
}
SECURITY_HEADERS = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("content-security-policy", "default-src 'self'"),
    ("server", "shop-front"),
]


class WebFront:
    """The ASGI application of the front."""

    def __init__(self, balancer_port: int) -> None:
        self._balancer_port = balancer_port

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        try:
            request = await receive_request(scope, receive)
        except BodyTooBig:
            await send_response(send, _plain(413, "request body too big"))
            return
        response = _static(request) or await self._forward(scope, request)
        kept = [(name, value) for name, value in response.headers if name != "server"]
        await send_response(send, Response(response.status, kept + SECURITY_HEADERS, response.body))

    async def _forward(self, scope: Message, request: Request) -> Response:
        client = (scope.get("client") or ("unknown", 0))[0]
        told = [("x-forwarded-for", client), ("x-forwarded-proto", scope["scheme"])]
        names = {name for name, _ in told}
        headers = [(name, value) for name, value in request.headers if name not in names]
        passed = Request(request.method, request.target, headers + told, request.body)
        try:
            return await fetch(self._balancer_port, passed, UPSTREAM_TIMEOUT_S)
        except UpstreamTimeout as error:
            return _plain(504, f"load balancer: {error}")
        except UpstreamError as error:
            return _plain(502, f"load balancer: {error}")


def _static(request: Request) -> Response | None:
    found = STATIC.get(request.target.partition("?")[0])
    if found is None or request.method not in ("GET", "HEAD"):
        return None
    media_type, content = found
    headers = [("content-type", media_type), ("content-length", str(len(content))), ("cache-control", "max-age=3600")]
    return Response(200, headers, b"" if request.method == "HEAD" else content)


def _plain(status: int, text: str) -> Response:
    body = f"{text}\n".encode()
    headers = [("content-type", "text/plain; charset=utf-8"), ("content-length", str(len(body)))]
    return Response(status, headers, body)


async def keep_certificate(context: ssl.SSLContext, certificates: Certificates, layout: Layout) -> None:
    """Present the expired certificate while that fault is on: a context takes a new chain for its next handshakes."""
    presented = certificates.good
    while True:
        wanted = certificates.expired if layout.faults.is_on(Fault.BAD_CERT) else certificates.good
        if wanted != presented:
            context.load_cert_chain(wanted, certificates.key)
            presented = wanted
            log.info("certificate presented: %s", wanted.name)
        await asyncio.sleep(0.1)


def run_web(layout: Layout) -> None:
    """The process of the web front."""
    app = WebFront(layout.port("lb"))
    certificates = Certificates(layout.data)
    plain = listen(app, layout.port("web"))
    secure = listen(app, layout.port("https"), ssl_certfile=str(certificates.good), ssl_keyfile=str(certificates.key))
    context = secure.config.ssl
    assert context is not None, "uvicorn makes a context when given a certificate"  # noqa: S101
    serve(plain, secure, background=lambda: keep_certificate(context, certificates, layout))
