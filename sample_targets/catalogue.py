"""What the shop sells and who its customers are: the rows a new database starts with."""

import hashlib
import hmac

PASSWORD = "correct horse"  # noqa: S105 - everybody's password in a shop made for breaking
DEMO_EMAIL = "demo@shop.example"
CUSTOMERS = 20
START_STOCK = 500
CATEGORIES = {
    "lamps": ("Reading lamp", "Desk lamp", "Floor lamp", "Lantern", "Night light", "Spot lamp"),
    "chairs": ("Office chair", "Rocking chair", "Stool", "Bar stool", "Folding chair", "Armchair"),
    "clocks": ("Wall clock", "Alarm clock", "Mantel clock", "Kitchen timer", "Hourglass", "Station clock"),
}
FINISHES = ("oak", "steel")
# Far fewer rounds than a real shop should use: the demonstration must not spend the machine on hashing.
HASH_ROUNDS = 10_000


def products() -> list[tuple[int, str, str, int, str, int]]:
    """Rows of the table product."""
    names = [
        (category, f"{name}, {finish}")
        for category, bases in CATEGORIES.items()
        for name in bases
        for finish in FINISHES
    ]
    return [
        (number, name, category, 900 + 730 * number % 19_000, _describe(name), START_STOCK)
        for number, (category, name) in enumerate(names, start=1)
    ]


def users() -> list[tuple[int, str, str, bytes, bytes]]:
    """Rows of the table user: one for demonstrations, the others for visitors."""
    emails = [DEMO_EMAIL, *(visitor_email(number) for number in range(1, CUSTOMERS + 1))]
    rows = []
    for number, email in enumerate(emails, start=1):
        salt = hashlib.sha256(email.encode()).digest()[:16]
        rows.append((number, email, email.partition("@")[0].title(), salt, hash_password(PASSWORD, salt)))
    return rows


def visitor_email(number: int) -> str:
    """The address of a customer, 1 to CUSTOMERS."""
    return f"customer{number}@shop.example"


def hash_password(password: str, salt: bytes) -> bytes:
    """What is stored of a password."""
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, HASH_ROUNDS)


def is_password(password: str, salt: bytes, stored: bytes) -> bool:
    """Does the password match, in constant time?"""
    return hmac.compare_digest(hash_password(password, salt), stored)


def _describe(name: str) -> str:
    return f"{name}. Made to be used every day, repaired when it breaks, and missed when it is gone. " * 4
