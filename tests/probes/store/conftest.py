"""An empty store on SQLite and on PostgreSQL: each test runs on both."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from probes.store.database import Store, open_database, open_store
from probes.store.schema import upgrade

POSTGRESQL = os.environ.get("BACKWATCH_TEST_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432/postgres")


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'backwatch.db'}"


@pytest.fixture
def sqlite_store(sqlite_url: str, sqlite_template: Path) -> str:
    shutil.copy(sqlite_template, str(make_url(sqlite_url).database))
    return sqlite_url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of this version to copy: to make its tables takes longer than most tests."""
    file = tmp_path_factory.mktemp("template") / "backwatch.db"
    upgrade(f"sqlite:///{file}")
    assert not Path(f"{file}-wal").exists()  # everything is in the file
    return file


class Server:
    """A PostgreSQL server on which databases are made and dropped."""

    def __init__(self) -> None:
        self.url = make_url(POSTGRESQL).set(drivername="postgresql+psycopg")
        self.engine = create_engine(self.url, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 5})

    @contextlib.contextmanager
    def database(self, template: str = "template1") -> Iterator[URL]:
        name = f"backwatch_test_{uuid.uuid4().hex[:12]}"
        self._run(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield self.url.set(database=name)
        finally:
            self._run(f"DROP DATABASE {name} WITH (FORCE)")

    def _run(self, statement: str) -> None:
        with self.engine.connect() as connection:
            connection.execute(text(statement))


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    made = Server()
    try:
        made.engine.connect().close()
    except OperationalError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no PostgreSQL at {made.url.render_as_string()}: {error.orig}")
    yield made
    made.engine.dispose()


@pytest.fixture
def postgresql_url(server: Server) -> Iterator[str]:
    with server.database() as url:
        yield url.render_as_string(hide_password=False)


@pytest.fixture
def postgresql_store(server: Server, postgresql_template: str) -> Iterator[str]:
    with server.database(postgresql_template) as url:
        yield url.render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def postgresql_template(server: Server) -> Iterator[str]:
    """The name of a database with the tables of this version."""
    with server.database() as url:
        upgrade(url.render_as_string(hide_password=False))
        yield str(url.database)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """An empty database, without tables."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """A store of this version."""
    engine = open_database(str(request.getfixturevalue(f"{request.param}_store")))
    yield engine
    engine.dispose()


@pytest.fixture
def sqlite_engine(sqlite_store: str) -> Iterator[Engine]:
    """A store of this version in a file."""
    engine = open_database(sqlite_store)
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
