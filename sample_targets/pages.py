"""The pages of the shop: home, products, cart, checkout, login, account."""

import secrets

from starlette.responses import HTMLResponse, RedirectResponse, Response

from sample_targets import template
from sample_targets.fault import Fault
from sample_targets.purchase import CardDeclined, OutOfStock, PaymentFailed
from sample_targets.session import Session
from sample_targets.shelf import Shelf
from sample_targets.visit import COOKIE, BrokenRelease, Shop, Visit

MAX_CART_LINES = 20


def home(visit: Visit) -> Response:
    """Some products, from the cache alone while it is warm."""
    shelf = _shelf(visit.shop)
    return _page(shelf, "Welcome", template.render_products(shelf.featured()))


def products(visit: Visit) -> Response:
    """All products or those of a category, with their stock."""
    shelf = _shelf(visit.shop)
    listing = shelf.listing(visit.request.query_params.get("category"))
    return _page(shelf, "Products", template.render_products(listing, shelf.stock()))


def product(visit: Visit) -> Response:
    """One product."""
    shelf = _shelf(visit.shop)
    product_id = int(visit.request.path_params["product_id"])
    found = shelf.product(product_id)
    if found is None:
        return _page(shelf, "Not found", template.render_notice("There is no such product."), 404)
    return _page(shelf, found["name"], template.render_product(found, shelf.stock().get(product_id, 0)))


def cart(visit: Visit) -> Response:
    """What the visitor wants to buy."""
    shelf = _shelf(visit.shop)
    session = visit.find_session()
    wanted = session.cart if session else {}
    lines = [(found, count) for key, count in wanted.items() if (found := shelf.product(int(key)))]
    return _page(shelf, "Cart", template.render_cart(lines, session.csrf if session else ""))


def add_to_cart(visit: Visit) -> Response:
    """One more of a product."""
    key = visit.form.get("product", "")
    if not (key.isascii() and key.isdecimal() and _shelf(visit.shop).product(int(key))):
        return _page(_shelf(visit.shop), "Cart", template.render_notice("There is no such product."), 400)
    key = str(int(key))
    session = visit.find_session() or visit.shop.sessions.start()
    if key in session.cart or len(session.cart) < MAX_CART_LINES:
        visit.shop.sessions.keep_cart(session, {**session.cart, key: session.cart.get(key, 0) + 1})
    response = RedirectResponse("/cart", 303)
    visit.keep_cookie(response, session)
    return response


def checkout(visit: Visit) -> Response:
    """Order and pay the cart."""
    shelf, orders = _shelf(visit.shop), visit.shop.meter.orders
    session = visit.find_session()
    if session is None or session.user_id is None:
        return RedirectResponse("/login", 303)
    if not _is_genuine(visit, session) or not session.cart:
        return _page(shelf, "Checkout", template.render_notice("This form is no longer valid."), 400)
    try:
        order = visit.shop.till.buy(session.user_id, session.cart, visit.form.get("card", ""))
    except PaymentFailed as error:
        orders["payment_failed"] += 1
        return _page(shelf, "Checkout", template.render_notice(f"503 Service Unavailable: payments: {error}"), 503)
    except CardDeclined:
        orders["declined"] += 1
        return _page(shelf, "Checkout", template.render_notice("Your card was declined."), 402)
    except OutOfStock:
        orders["out_of_stock"] += 1
        return _page(shelf, "Checkout", template.render_notice("Somebody was faster: out of stock."), 409)
    orders["paid"] += 1
    visit.shop.sessions.keep_cart(session, {})
    price = template.format_price(order.amount_cents)
    return _page(shelf, "Thank you", f"<p>Order {order.id}: {price}, paid.</p>")


def login_form(visit: Visit) -> Response:
    """The form, in a session of its own so that its CSRF token can be checked."""
    session = visit.find_session() or visit.shop.sessions.start()
    response = _page(_shelf(visit.shop), "Log in", template.render_login(session.csrf))
    visit.keep_cookie(response, session)
    return response


def log_in(visit: Visit) -> Response:
    """Check the password and hand out a new session."""
    before = visit.find_session()
    if before is None or not _is_genuine(visit, before):
        return _page(_shelf(visit.shop), "Log in", template.render_notice("This form is no longer valid."), 403)
    session = authenticate(visit, visit.form.get("email", ""), visit.form.get("password", ""), before)
    if session is None:
        form = template.render_login(before.csrf, "E-mail or password is wrong.")
        return _page(_shelf(visit.shop), "Log in", form, 401)
    response = RedirectResponse("/account", 303)
    visit.keep_cookie(response, session)
    return response


def account(visit: Visit) -> Response:
    """Who is logged in, with the last orders."""
    session = visit.find_session()
    if session is None or session.user_id is None:
        return RedirectResponse("/login", 303)
    orders = visit.shop.till.orders_of(session.user_id)
    return _page(
        _shelf(visit.shop), "Account", template.render_account(name_of(visit, session.user_id), orders, session.csrf)
    )


def log_out(visit: Visit) -> Response:
    """End the session."""
    session = visit.find_session()
    if session is not None and _is_genuine(visit, session):
        visit.shop.sessions.end(session)
    response = RedirectResponse("/", 303)
    response.delete_cookie(COOKIE)
    return response


def authenticate(visit: Visit, email: str, password: str, before: Session | None) -> Session | None:
    """The session of that user, or None. Raises BrokenRelease while login is broken."""
    if visit.shop.faults.is_on(Fault.LOGIN_BROKEN):
        visit.shop.meter.logins["error"] += 1
        raise BrokenRelease("password hash of unknown kind")
    session = visit.shop.sessions.log_in(email, password, before)
    visit.shop.meter.logins["accepted" if session else "refused"] += 1
    return session


def name_of(visit: Visit, user_id: int) -> str:
    """The name of a user."""
    with visit.shop.database.connect() as connection:
        return str(connection.execute("SELECT name FROM user WHERE id = ?", (user_id,)).fetchone()["name"])


def _is_genuine(visit: Visit, session: Session) -> bool:
    return secrets.compare_digest(visit.form.get("csrf", "").encode(), session.csrf.encode())


def _shelf(shop: Shop) -> Shelf:
    return Shelf(shop.database, shop.cache)


def _page(shelf: Shelf, title: str, content: str, status: int = 200) -> Response:
    return HTMLResponse(template.render_page(title, shelf.menu(), content), status)
