"""The migrations lead to the tables that the code speaks of."""

from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine

import alerts.store.tables
from probes.store.database import reading


@pytest.mark.parametrize("store", ["engine", "postgresql"])
def test_migrations_and_tables_agree(request: pytest.FixtureRequest, store: str) -> None:
    engine: Engine = request.getfixturevalue(store)
    with reading(engine) as connection:
        context: Any = MigrationContext.configure(connection)
        assert compare_metadata(context, alerts.store.tables.metadata) == []
