"""A small shop to be judged, and a store to judge it in."""

import os
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from alerts.check_state import CheckState, State
from alerts.message import Affected, Message
from probes.probe import Expect, Options, Probe
from probes.store.database import open_database
from probes.store.schema import upgrade
from probes.target import Check, Estate, Limit, Site, Target, Tier

SHOP: Mapping[str, tuple[Tier, tuple[str, ...]]] = {
    "web": (Tier.WEB, ("app", "login")),
    "app": (Tier.APP, ("db", "cache")),
    "login": (Tier.AUTH, ("db",)),
    "db": (Tier.DATABASE, ()),
    "cache": (Tier.CACHE, ()),
}


def build_estate(
    targets: Mapping[str, tuple[Tier, tuple[str, ...]]] = SHOP,
    *,
    limits: Mapping[str, tuple[Limit, ...]] | None = None,
    without_checks: tuple[str, ...] = (),
    interval_s: float = 10.0,
) -> Estate:
    """An estate of one site `shop`, one check `http` a target."""
    checks = {
        f"shop/{name}/http": Check(
            id=f"shop/{name}/http",
            site="shop",
            target=f"shop/{name}",
            name="http",
            tier=tier,
            probe=Probe(Options(), Expect()),
            interval_s=interval_s,
            timeout_s=5.0,
            retry_interval_s=5.0,
            fail_after=3,
            recover_after=2,
            limits=(limits or {}).get(name, ()),
        )
        for name, (tier, _) in targets.items()
        if name not in without_checks
    }
    made = {
        f"shop/{name}": Target(
            id=f"shop/{name}",
            site="shop",
            name=name,
            title=name,
            tier=tier,
            needs=tuple(f"shop/{needed}" for needed in needs),
            checks=() if name in without_checks else (f"shop/{name}/http",),
        )
        for name, (tier, needs) in targets.items()
    }
    return Estate(sites={"shop": Site("shop", "Shop", tuple(made))}, targets=made, checks=checks)


def down(name: str, at_ms: int = 0, state: State = State.DOWN) -> CheckState:
    """A check that failed first at `at_ms`."""
    return CheckState(
        f"shop/{name}/http", state, first_fail_ms=at_ms, vote_ms=at_ms, reason="tcp_refused", message="refused"
    )


def well(name: str, at_ms: int = 0) -> CheckState:
    """A check that was answered at `at_ms`."""
    return CheckState(f"shop/{name}/http", State.OK, vote_ms=at_ms)


class Shop:
    """The functions above, for tests that cannot import a conftest."""

    estate = staticmethod(build_estate)
    down = staticmethod(down)
    well = staticmethod(well)
    targets = SHOP


@pytest.fixture(scope="session")
def shop() -> Shop:
    return Shop()


@pytest.fixture
def postgresql() -> Iterator[Engine]:
    """A store of its own on a real server."""
    server_url = os.environ.get("BACKWATCH_TEST_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432/postgres")
    url = make_url(server_url).set(drivername="postgresql+psycopg")
    server = create_engine(url, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 5})
    name = f"backwatch_alerts_{uuid.uuid4().hex[:12]}"
    try:
        with server.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
    except OperationalError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no PostgreSQL at {url.render_as_string()}: {error.orig}")
    made = url.set(database=name).render_as_string(hide_password=False)
    upgrade(made)
    engine = open_database(made, durable=True)
    yield engine
    engine.dispose()
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()


@pytest.fixture
def database(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'backwatch.db'}"
    upgrade(url)
    return url


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    engine = open_database(database, durable=True)
    yield engine
    engine.dispose()


@dataclass
class Got:
    """One request that a receiver took."""

    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """A real HTTP server that answers as it is told: each entry of `answers` once, then 200."""

    url: str
    got: list[Got] = field(default_factory=list)
    answers: list[Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=list)

    def answer(self, code: int, body: str = "", **headers: str) -> None:
        def reply(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(code)
            for name, value in headers.items():
                handler.send_header(name.replace("_", "-"), value)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body.encode())

        self.answers.append(reply)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.got.append(Got({name.lower(): value for name, value in self.headers.items()}, body))
            if made.answers:
                made.answers.pop(0)(self)
                return
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made = Receiver(f"http://127.0.0.1:{server.server_port}/hook")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def message() -> Message:
    """A page about the database, its dependents attached, with hostile text in it."""
    members = tuple(
        Affected(f"shop/{name}", name, tier, "down", "<b>refused</b>\u202e", 1_700_000_000_000)
        for name, tier in (("db", "database"), ("app", "app"), ("web", "web"))
    )
    return Message(
        id="abcdefghijklmnopqrstuvwxyz", incident_id="01HF7YAT00ABCDEFGHJKMNPQRS", seq=3, kind="fire", severity="page",
        status="firing", site="shop", root="shop/db", tier="database",
        title="database shop/db refuses connections — app and web affected", cause="<script>alert(1)</script>",
        reason="tcp_refused", members=members, opened_ms=1_700_000_000_000, resolved_ms=None, at_ms=1_700_000_010_000,
        url="http://127.0.0.1:8501/incidents?incident=01HF7YAT00ABCDEFGHJKMNPQRS", external_url="http://127.0.0.1:8501",
    )  # fmt: skip
