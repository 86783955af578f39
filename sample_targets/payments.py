"""The payment third party: a small API of its own, knowing nothing of the shop."""

import json
import secrets
from collections import OrderedDict

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from sample_targets.layout import PAYMENT_KEY, Layout
from sample_targets.serving import listen, serve

DECLINED_CARD = "tok_declined"
KEPT_CHARGES = 1000


class Ledger:
    """The last charges by idempotency key: asking twice charges once."""

    def __init__(self) -> None:
        self._charges: OrderedDict[str, dict[str, object]] = OrderedDict()

    def charge(self, key: str, amount_cents: int, currency: str) -> dict[str, object]:
        """The charge of that key, made now unless it was before."""
        if key not in self._charges:
            charge_id = f"ch_{secrets.token_hex(8)}"
            self._charges[key] = {
                "id": charge_id,
                "status": "succeeded",
                "amount_cents": amount_cents,
                "currency": currency,
            }
            if len(self._charges) > KEPT_CHARGES:
                self._charges.popitem(last=False)
        return self._charges[key]


def build_payments() -> Starlette:
    """The ASGI application of the payment service."""
    ledger = Ledger()

    async def ping(_: Request) -> JSONResponse:
        return JSONResponse({"pong": True, "version": "2026-01"})

    async def charge(request: Request) -> JSONResponse:
        if request.headers.get("authorization") != f"Bearer {PAYMENT_KEY}":
            return JSONResponse({"error": "invalid API key"}, status_code=401)
        try:
            order = json.loads(await request.body())
            amount_cents, currency, card = int(order["amount_cents"]), str(order["currency"]), str(order["card"])
        except (ValueError, KeyError, TypeError, OverflowError):
            return JSONResponse({"error": "amount_cents, currency and card are needed"}, status_code=400)
        if card == DECLINED_CARD or amount_cents <= 0:
            return JSONResponse({"error": "card declined"}, status_code=402)
        key = request.headers.get("idempotency-key") or secrets.token_hex(8)
        return JSONResponse(ledger.charge(key, amount_cents, currency), status_code=201)

    return Starlette(routes=[Route("/v1/ping", ping), Route("/v1/charges", charge, methods=["POST"])])


def run_payments(layout: Layout) -> None:
    """The process of the payment service."""
    serve(listen(build_payments(), layout.port("payments")))
