"""The shop's HTML: every page from values, escaped here and nowhere else."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from sample_targets.purchase import Purchase


def render_page(title: str, menu: Iterable[str], content: str) -> str:
    """A whole page around its content."""
    links = "".join(f'<a href="/products?category={escape(name)}">{escape(name.title())}</a>' for name in menu)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)} - Sample Shop</title>"
        '<link rel="stylesheet" href="/static/shop.css"></head>\n<body><header><nav><a href="/">Sample Shop</a>'
        f'<a href="/products">All products</a>{links}<a href="/cart">Cart</a><a href="/account">Account</a></nav>'
        f"</header>\n<main><h1>{escape(title)}</h1>\n{content}\n</main></body></html>\n"
    )


def render_products(products: Iterable[Mapping[str, Any]], stock: Mapping[int, int] | None = None) -> str:
    """A list of products, with what is left of each where that is known."""
    items = []
    for product in products:
        left = "" if stock is None else f' <span class="stock">{stock.get(product["id"], 0)} left</span>'
        items.append(
            f'<li class="product"><a href="/products/{product["id"]}">{escape(product["name"])}</a> '
            f'<span class="price">{format_price(product["price_cents"])}</span>{left}</li>'
        )
    return f"<ul>{''.join(items)}</ul>"


def render_product(product: Mapping[str, Any], stock: int) -> str:
    """One product with its button."""
    return (
        f'<p>{escape(product["description"])}</p><p class="price">{format_price(product["price_cents"])}</p>'
        f'<p class="stock">{stock} left</p><form method="post" action="/cart">'
        f'<input type="hidden" name="product" value="{product["id"]}"><button>Add to cart</button></form>'
    )


def render_login(csrf: str, notice: str = "") -> str:
    """The login form."""
    told = f'<p class="notice">{escape(notice)}</p>' if notice else ""
    return (
        f'{told}<form method="post" action="/login"><input type="hidden" name="csrf" value="{escape(csrf)}">'
        '<label>E-mail <input name="email" type="email" autocomplete="username"></label>'
        '<label>Password <input name="password" type="password" autocomplete="current-password"></label>'
        "<button>Log in</button></form>"
    )


def render_cart(lines: Iterable[tuple[Mapping[str, Any], int]], csrf: str) -> str:
    """The cart with the form that pays it."""
    rows = [
        (f"<li>{count} x {escape(product['name'])}</li>", product["price_cents"] * count) for product, count in lines
    ]
    if not rows:
        return "<p>Your cart is empty.</p>"
    return (
        f"<ul>{''.join(row for row, _ in rows)}</ul><p class='price'>Total {format_price(sum(p for _, p in rows))}</p>"
        f'<form method="post" action="/checkout"><input type="hidden" name="csrf" value="{escape(csrf)}">'
        '<label>Card <input name="card" value="tok_visa"></label><button>Pay</button></form>'
    )


def render_account(name: str, orders: Iterable[Purchase], csrf: str) -> str:
    """The account with its orders."""
    items = "".join(f"<li>Order {order.id}: {format_price(order.amount_cents)}, {order.state}</li>" for order in orders)
    return (
        f"<p>Welcome, {escape(name)}.</p><ul>{items}</ul><form method='post' action='/logout'>"
        f'<input type="hidden" name="csrf" value="{escape(csrf)}"><button>Log out</button></form>'
    )


def render_notice(text: str) -> str:
    """A message that takes the place of a page's content."""
    return f'<p class="notice">{escape(text)}</p>'


def format_price(cents: int) -> str:
    """Cents as people read them."""
    return f"{cents / 100:.2f} EUR"
