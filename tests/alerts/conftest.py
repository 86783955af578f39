"""A small shop to be judged, and a store to judge it in."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from sqlalchemy import Engine

from alerts.check_state import CheckState, State
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
def database(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'backwatch.db'}"
    upgrade(url)
    return url


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    engine = open_database(database, durable=True)
    yield engine
    engine.dispose()
