"""Which target is at fault, and who only waits."""

import pytest

from dashboard.path import site_path
from dashboard.standing import CheckNow
from dashboard.theme import Look
from probes.probe import Options, Probe
from probes.result import Status
from probes.target import Check, Estate, Site, Target, Tier

TIERS = {"web": Tier.WEB, "app": Tier.APP, "login": Tier.AUTH, "db": Tier.DATABASE, "cache": Tier.CACHE}
NEEDS = {"web": ("app",), "app": ("db", "cache", "login"), "login": ("db",)}
DOWN, DEGRADED, UP, UNKNOWN = Look.DOWN, Look.DEGRADED, Look.UP, Look.UNKNOWN


def path_of(incidents=(), **looks):
    targets, checks, now = {}, {}, {}
    for name, tier in TIERS.items():
        one, check_id = f"s/{name}", f"s/{name}/http"
        needs = tuple(f"s/{needed}" for needed in NEEDS.get(name, ()))
        targets[one] = Target(one, "s", name, name, tier, needs=needs, checks=(check_id,))
        check = Check(check_id, "s", one, "http", tier, Probe(Options(), None), 30.0, 10.0, 10.0, 3, 2)
        checks[check_id] = check
        look = looks.get(name, UP)
        now[check_id] = CheckNow(check, Status(look.value), look, 1, 1, None, "", None, None, "", False)
    estate = Estate({"s": Site("s", "S", tuple(targets))}, targets, checks)
    return site_path(estate, "s", now, incidents)


@pytest.mark.parametrize(
    ("looks", "roots", "waiting"),
    [
        ({}, (), set()),
        ({"db": DOWN}, ("s/db",), set()),
        ({"db": DOWN, "app": DOWN, "login": DOWN, "web": DOWN}, ("s/db",), {"s/app", "s/login", "s/web"}),
        ({"db": DOWN, "web": DEGRADED}, ("s/db",), {"s/web"}),
        ({"db": DEGRADED, "app": DOWN}, ("s/app", "s/db"), set()),
        ({"cache": DEGRADED, "app": DEGRADED}, ("s/cache",), {"s/app"}),
        ({"cache": DEGRADED, "db": DOWN, "app": DOWN}, ("s/db", "s/cache"), {"s/app"}),
        ({"web": DOWN}, ("s/web",), set()),
        ({"db": UNKNOWN, "app": DOWN}, ("s/app",), set()),
    ],
    ids=[
        "all well",
        "database alone",
        "everything above the database",
        "degraded above down",
        "degraded does not explain down",
        "degraded explains degraded",
        "two roots",
        "web alone",
        "unknown explains nothing",
    ],
)
def test_roots_and_who_waits(looks, roots, waiting):
    path = path_of(**looks)
    assert path.roots == roots
    assert {node.target for node in path.waiting} == waiting


def test_nobody_is_a_root_and_waits_at_once():
    path = path_of(db=DOWN, app=DOWN, web=DEGRADED, cache=DEGRADED)
    assert all(not (node.is_root and node.waits_for) for node in path.nodes.values())


def test_tiers_come_in_the_order_of_a_request():
    assert [tier for tier, _ in path_of().tiers] == [Tier.WEB, Tier.APP, Tier.AUTH, Tier.DATABASE, Tier.CACHE]
