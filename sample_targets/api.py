"""The shop for programs: token, account, health and metrics."""

from starlette.responses import JSONResponse, PlainTextResponse, Response

from sample_targets import health, meter
from sample_targets.pages import authenticate, name_of
from sample_targets.session import LIFE_S
from sample_targets.visit import Visit


def api_login(visit: Visit) -> Response:
    """A bearer token for e-mail and password."""
    asked = visit.json
    session = authenticate(visit, str(asked.get("email", "")), str(asked.get("password", "")), None)
    if session is None:
        return JSONResponse({"error": "e-mail or password is wrong"}, 401)
    return JSONResponse({"token": session.token, "token_type": "Bearer", "expires_in": LIFE_S})


def api_account(visit: Visit) -> Response:
    """Who the bearer is."""
    session = visit.find_bearer()
    if session is None or session.user_id is None:
        return JSONResponse({"error": "unauthorized"}, 401, {"www-authenticate": "Bearer"})
    orders = visit.shop.till.orders_of(session.user_id)
    return JSONResponse(
        {
            "id": session.user_id,
            "name": name_of(visit, session.user_id),
            "orders": [{"id": order.id, "amount_cents": order.amount_cents, "state": order.state} for order in orders],
        }
    )


def show_health(visit: Visit) -> Response:
    """All components; 503 when DOWN, as Actuator does."""
    found = health.check_health(visit.shop.database, visit.shop.cache, visit.shop.till)
    return JSONResponse(found, 503 if found["status"] == "DOWN" else 200)


def show_readiness(visit: Visit) -> Response:
    """May the balancer send requests here?"""
    found = health.check_database(visit.shop.database)
    return JSONResponse(found, 503 if found["status"] == "DOWN" else 200)


def show_metrics(visit: Visit) -> Response:
    """All counters."""
    shop = visit.shop
    return PlainTextResponse(shop.meter.render(shop.database, shop.cache), media_type=meter.CONTENT_TYPE)
