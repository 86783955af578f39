"""An empty store on SQLite and on PostgreSQL: each test runs on both."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from probes.store.database import Store, open_database, open_store
from probes.store.schema import upgrade

POSTGRESQL = os.environ.get("BACKWATCH_TEST_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432/postgres")


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'backwatch.db'}"


@pytest.fixture
def postgresql_url() -> Iterator[str]:
    url = make_url(POSTGRESQL).set(drivername="postgresql+psycopg")
    server = create_engine(url, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 5})
    name = f"backwatch_test_{uuid.uuid4().hex[:12]}"
    try:
        with server.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
    except OperationalError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no PostgreSQL at {url.render_as_string()}: {error.orig}")
    try:
        yield url.set(database=name).render_as_string(hide_password=False)
    finally:
        with server.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        server.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """An empty database, without tables."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """A store of this version."""
    upgrade(url)
    engine = open_database(url)
    yield engine
    engine.dispose()


@pytest.fixture
def sqlite_engine(sqlite_url: str) -> Iterator[Engine]:
    """A store of this version in a file."""
    upgrade(sqlite_url)
    engine = open_database(sqlite_url)
    yield engine
    engine.dispose()


@pytest.fixture(params=["by the driver", "by SQLAlchemy", "on a server"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """A store as a worker opens it, a file as everybody else does, and PostgreSQL."""
    url = request.getfixturevalue("postgresql_url" if request.param == "on a server" else "sqlite_url")
    upgrade(url)
    store = open_store(url) if request.param == "by the driver" else open_database(url)
    yield store
    store.dispose()
