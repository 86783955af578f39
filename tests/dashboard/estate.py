"""Estates for the dashboard's tests: configurations with history in a real store, written the way a worker writes."""

import json
import math
import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from alerts.incident import Incident, IncidentEvent, IncidentState, Member, Severity, new_id
from alerts.store.incidents import write_incidents
from probes.config import load_config
from probes.result import Phases, Reason, Result, Status
from probes.store.database import open_database, writing
from probes.store.processes import Process, beat
from probes.store.results import ResultWriter, load_results
from probes.store.rollups import roll_up
from probes.store.schema import upgrade
from probes.store.summary import write_summaries
from probes.target import Check

HOUR_MS = 3_600_000
TIERS = ("web", "load_balancer", "app", "auth", "database", "cache", "queue", "third_party", "host")
TOKEN = "nightly-backup-0123456789"
PAYLOADS = (
    "<script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=1>",
    "![x](https://evil.example/x.png) [click](javascript:window.pwned=1)",
    '"><svg onload=window.pwned=1>',
    ":material/home: **bold** $x^2$ :red[red]",
)


@dataclass(frozen=True)
class Made:
    """A configuration file with its data folder and store."""

    config: Path
    data: Path
    engine: Engine


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def http_check(name: str, port: int = 9) -> dict[str, Any]:
    return {"kind": "http", "name": name, "url": f"http://127.0.0.1:{port}/{name}", "interval": "30s"}


def large(n: int) -> dict[str, Any]:
    """`n` checks on `n / 2` targets of all tiers in four sites."""
    sites: dict[str, Any] = {}
    for index in range(n // 2):
        site = ("shop", "bank", "news", "games")[index % 4]
        tier = TIERS[(index // 4) % len(TIERS)]
        target = {
            "tier": tier,
            "tags": ["eu" if index % 3 else "us"],
            "checks": [http_check("answers", 1 + index), http_check("deep", 1 + index)],
        }
        sites.setdefault(site, {"title": site.capitalize(), "targets": {}})["targets"][f"{tier[:5]}-{index:04d}"] = (
            target
        )
    return {"sites": sites}


def shop() -> dict[str, Any]:
    """A small real back end, every tier of it."""
    return {
        "sites": {
            "shop": {
                "title": "Web shop",
                "targets": {
                    "web-1": {"tier": "web", "needs": ["balancer"], "checks": [http_check("front")]},
                    "web-2": {"tier": "web", "needs": ["balancer"], "checks": [http_check("front")]},
                    "balancer": {"tier": "load_balancer", "needs": ["app-1", "app-2"], "checks": [http_check("route")]},
                    "app-1": {"tier": "app", "needs": ["db", "cache", "login"], "checks": [http_check("health")]},
                    "app-2": {"tier": "app", "needs": ["db", "cache", "login"], "checks": [http_check("health")]},
                    "login": {"tier": "auth", "needs": ["db"], "checks": [http_check("sign-in")]},
                    "db": {
                        "tier": "database",
                        "title": "Orders database",
                        "checks": [
                            {
                                "kind": "postgresql",
                                "url": "postgresql://watch@127.0.0.1:5432/postgres",
                                "expect": {"connections_used_ratio": {"degraded": 0.8, "down": 0.95}},
                            }
                        ],
                    },
                    "db-replica": {"tier": "database", "needs": ["db"], "checks": [http_check("lag")]},
                    "cache": {
                        "tier": "cache",
                        "checks": [
                            {
                                "kind": "redis",
                                "url": "redis://127.0.0.1:6379/9",
                                "expect": {"hit_ratio": {"degraded": {"below": 0.85}}},
                            }
                        ],
                    },
                    "mail-queue": {"tier": "queue", "checks": [http_check("depth")]},
                    "payments": {"tier": "third_party", "checks": [http_check("ping")]},
                    "backup": {"tier": "host", "checks": [{"kind": "heartbeat", "token": TOKEN, "period": "1d"}]},
                },
            }
        },
        "notifiers": {"ops": {"kind": "log"}},
    }


def hostile() -> dict[str, Any]:
    """A site whose titles are markup."""
    targets = {
        f"t{index}": {"tier": TIERS[index], "title": payload, "tags": ["x"], "checks": [http_check("answers")]}
        for index, payload in enumerate(PAYLOADS)
    }
    return {"sites": {"evil": {"title": PAYLOADS[1], "targets": targets}}}


def write_config(folder: Path, document: Mapping[str, Any]) -> Path:
    """JSON is YAML."""
    path = folder / "backwatch.yaml"
    path.write_text(json.dumps(document, indent=1))
    return path


def make(folder: Path, document: Mapping[str, Any]) -> Made:
    """The configuration with an empty store of the newest schema."""
    path, data = write_config(folder, document), folder / "data"
    engine = open_database(load_config(path, data_dir=data).database)
    upgrade(engine)
    return Made(path, data, engine)


def checks_of(made: Made) -> dict[str, Check]:
    return dict(load_config(made.config, data_dir=made.data).estate.checks)


def beat_all(made: Made, at_ms: int | None = None) -> None:
    """Worker and alert engine say that they are at work."""
    seen = at_ms or now_ms()
    figures = {"lateness_p99_s": 0.012, "queue": 3.0, "results_per_s": 33.4}
    for role, own in (("worker", figures), ("alerts", {"judged_per_s": 33.4})):
        beat(
            made.engine, Process(f"{role}/default@host", role, "default", 4711, "0.1.0", seen - 7 * HOUR_MS, seen, own)
        )


def result_of(check: Check, slot_ms: int, rng: random.Random, *, trouble: float = 0.002) -> Result:
    """One plausible answer."""
    day = math.sin(slot_ms / 86_400_000 * 2 * math.pi)
    base = 0.02 + (hash_of(check.id) % 100) / 1000
    total = base * (1 + 0.3 * day) * rng.lognormvariate(0, 0.25)
    shares = (0.04, 0.08, 0.12, 0.66, 0.10)
    phases = Phases(*(total * share for share in shares))
    metrics = {}
    if check.kind == "redis":
        metrics = {"hit_ratio": min(1, 0.95 + 0.02 * day + rng.gauss(0, 0.005)), "used_memory_bytes": 4.1e8}
    elif check.kind == "postgresql":
        metrics = {"connections_used_ratio": 0.41 + 0.1 * day, "connections": 41 + 10 * day}
    code = 200 if check.kind == "http" else None
    common = {"check_id": check.id, "location": "default", "slot_ms": slot_ms, "started_ms": slot_ms + 4}
    if rng.random() < trouble:
        bad = {"status": Status.DOWN, "reason": Reason.HTTP_STATUS, "message": "503 Service Unavailable", "code": 503}
        return Result(**common, **bad, duration_s=total, phases=phases)
    return Result(**common, status=Status.UP, duration_s=total, code=code, phases=phases, metrics=metrics)


def hash_of(text: str) -> int:
    return sum(ord(letter) * (index + 7) for index, letter in enumerate(text))


def history(made: Made, hours: float, every_s: float = 30.0, *, until_ms: int | None = None) -> None:
    """Results of every check up to now, rolled up and summarised."""
    rng = random.Random(7)
    writer = ResultWriter(made.engine)
    end_ms = until_ms or now_ms()
    checks = list(checks_of(made).values())
    for batch in batches(checks, end_ms - int(hours * HOUR_MS), end_ms, int(every_s * 1000), rng):
        writer.save(batch)
    roll_up(made.engine, end_ms)
    write_summaries(made.engine, end_ms)


def batches(checks: list[Check], from_ms: int, to_ms: int, step_ms: int, rng: random.Random) -> Iterator[list[Result]]:
    checks = [check for check in checks if check.kind != "heartbeat"]
    batch: list[Result] = []
    slot_ms = from_ms - from_ms % step_ms
    while slot_ms + step_ms <= to_ms:
        slot_ms += step_ms
        batch += [result_of(check, min(slot_ms - hash_of(check.id) % step_ms, to_ms), rng) for check in checks]
        if len(batch) > 5000:
            yield batch
            batch = []
    yield batch


def fail(
    made: Made, messages: Mapping[str, tuple[Status, Reason, str]], *, minutes: float = 22, every_s: float = 30.0
) -> None:
    """From `minutes` ago on these checks answer badly, all the others well."""
    rng = random.Random(11)
    writer = ResultWriter(made.engine)
    end_ms = now_ms()
    step_ms = int(every_s * 1000)
    slots = range(end_ms - int(minutes * 60_000), end_ms, step_ms)
    results = []
    asked = [check for check in checks_of(made).values() if check.kind != "heartbeat"]
    for index, check in enumerate(asked):
        for slot_ms in [*(slot - 40 * index for slot in slots), end_ms - 500]:
            result = result_of(check, slot_ms, rng, trouble=0)
            if check.id in messages:
                status, reason, message = messages[check.id]
                code = 503 if check.kind == "http" and status is Status.DOWN else result.code
                result = replace(result, status=status, reason=reason, message=message, code=code)
            results.append(result)
    writer.save(sorted(results, key=lambda one: one.slot_ms))


def break_database(made: Made) -> None:
    """The shop's database refuses; who needs it fails with it."""
    refused = (Status.DOWN, Reason.TCP_REFUSED, "connection refused by 127.0.0.1:5432")
    upstream = (Status.DOWN, Reason.HTTP_STATUS, "503 Service Unavailable: cannot reach the database")
    slow = (Status.DEGRADED, Reason.VALUE_LIMIT, "latency 2.1 s above 0.8 s")
    fail(
        made,
        {
            "shop/db/postgresql": refused,
            "shop/db-replica/lag": (Status.DOWN, Reason.VALUE_LIMIT, "lag 1300 s above 60 s"),
            "shop/app-1/health": upstream,
            "shop/app-2/health": upstream,
            "shop/login/sign-in": upstream,
            "shop/balancer/route": slow,
            "shop/web-1/front": slow,
        },
    )


@contextmanager
def going_on(made: Made, every_s: float = 10.0) -> Iterator[None]:
    """Meanwhile every check answers again as it did last: results must not grow stale while a page is looked at."""
    stop = threading.Event()

    def go_on() -> None:
        writer = ResultWriter(made.engine)
        while not stop.wait(every_s):
            at_ms = now_ms()
            newest = [load_results(made.engine, check_id, 0, at_ms + 1, limit=1) for check_id in checks_of(made)]
            writer.save([replace(one, slot_ms=at_ms, started_ms=at_ms) for found in newest for one in found])
            beat_all(made)

    thread = threading.Thread(target=go_on, name="going-on")
    thread.start()
    yield
    stop.set()
    thread.join()


def open_incident(made: Made, root: str = "shop/db", said: str = "connection refused by 127.0.0.1:5432") -> str:
    """An open incident, as the alert engine writes it."""
    at_ms = now_ms() - 21 * 60_000
    waiting = ("shop/app-1", "shop/app-2", "shop/login", "shop/db-replica") if root == "shop/db" else ()
    incident = Incident(
        id=new_id(at_ms),
        key=root,
        state=IncidentState.OPEN,
        severity=Severity.PAGE,
        root=root,
        members=tuple(Member(target, at_ms) for target in (root, *waiting)),
        title=f"{root} is down: {said}",
        cause=said,
        reason="tcp_refused",
        opened_ms=at_ms,
        seq=2,
    )
    events = [
        IncidentEvent(incident.id, 1, at_ms, "opened", said),
        IncidentEvent(incident.id, 2, at_ms + 30_000, "joined", ", ".join(waiting)),
    ]
    with writing(made.engine) as connection:
        write_incidents(connection, [incident], events)
    return incident.id
