"""What pages show of products: descriptions from the cache, stock always from the database."""

from typing import Any

from sample_targets.database import Database
from sample_targets.near_cache import NearCache

LIST_CACHE_S = 20
PRODUCT_CACHE_S = 40
MENU_CACHE_S = 60
# What SQLite can compare an identifier with.
LARGEST_ID = 2**63 - 1
Row = dict[str, Any]


class Shelf:
    """Products as visitors see them."""

    def __init__(self, database: Database, cache: NearCache) -> None:
        self._database = database
        self._cache = cache

    def menu(self) -> list[str]:
        """The names of all categories."""
        found: list[str] = self._cache.read("menu", MENU_CACHE_S, self._load_menu)
        return found

    def featured(self) -> list[Row]:
        """The products of the home page."""
        sql = "SELECT id, name, price_cents FROM product WHERE id % 6 = 1 ORDER BY id"
        found: list[Row] = self._cache.read("featured", LIST_CACHE_S, lambda: self._load(sql))
        return found

    def listing(self, category: str | None) -> list[Row]:
        """The products of a category, or all."""
        sql = "SELECT id, name, price_cents FROM product WHERE category = ?1 OR ?1 = '' ORDER BY name"
        name = category if category in self.menu() else ""
        found: list[Row] = self._cache.read(f"list:{name}", LIST_CACHE_S, lambda: self._load(sql, name))
        return found

    def product(self, product_id: int) -> Row | None:
        """One product, or None."""
        if product_id > LARGEST_ID:
            return None
        sql = "SELECT id, name, category, price_cents, description FROM product WHERE id = ?"
        rows = self._cache.read(f"product:{product_id}", PRODUCT_CACHE_S, lambda: self._load(sql, product_id) or None)
        return rows[0] if rows else None

    def stock(self) -> dict[int, int]:
        """What is left of every product, now."""
        return {row["id"]: row["stock"] for row in self._load("SELECT id, stock FROM product")}

    def _load_menu(self) -> list[str]:
        return [row["category"] for row in self._load("SELECT DISTINCT category FROM product ORDER BY category")]

    def _load(self, sql: str, *values: object) -> list[Row]:
        with self._database.connect() as connection:
            return [dict(row) for row in connection.execute(sql, values)]
