"""What would a first configuration of this machine be? Finds what listens here, and writes it down with comments."""

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from probes.target import Tier

_PATIENCE_S = 0.3


@dataclass(frozen=True, slots=True)
class Service:
    """Something that listens on this machine, and the check that suits it."""

    name: str
    title: str
    tier: Tier
    port: int
    check: str
    driver: str | None = None
    extra: str | None = None
    hint: str = ""


KNOWN = (
    Service("web", "Web server", Tier.WEB, 80, "{kind: http, url: 'http://127.0.0.1/', expect: {status: 200}}"),
    Service("web-https", "Web server, HTTPS", Tier.WEB, 443, "{kind: tls, url: 'tls://127.0.0.1:443'}"),
    Service("app-3000", "Application", Tier.APP, 3000, "{kind: tcp, url: 'tcp://127.0.0.1:3000'}"),
    Service("app-5000", "Application", Tier.APP, 5000, "{kind: tcp, url: 'tcp://127.0.0.1:5000'}"),
    Service("app-8000", "Application", Tier.APP, 8000, "{kind: tcp, url: 'tcp://127.0.0.1:8000'}"),
    Service("app-8080", "Application", Tier.APP, 8080, "{kind: tcp, url: 'tcp://127.0.0.1:8080'}"),
    Service(
        "postgresql", "PostgreSQL", Tier.DATABASE, 5432,
        "{kind: postgresql, url: 'postgresql://probe@127.0.0.1:5432/postgres', "
        "expect: {connections_used_ratio: {degraded: 0.8, down: 0.95}}}",
        "psycopg", "postgresql", "CREATE ROLE probe LOGIN CONNECTION LIMIT 3; GRANT pg_monitor TO probe;",
    ),
    Service(
        "mysql", "MySQL or MariaDB", Tier.DATABASE, 3306,
        "{kind: mysql, url: 'mysql://probe@127.0.0.1:3306/', "
        "expect: {connections_used_ratio: {degraded: 0.8, down: 0.95}}}",
        "pymysql", "mysql", "CREATE USER probe@localhost WITH MAX_USER_CONNECTIONS 3; GRANT PROCESS ON *.* TO …",
    ),
    Service(
        "redis", "Redis", Tier.CACHE, 6379,
        "{kind: redis, url: 'redis://127.0.0.1:6379', expect: {hit_ratio: {degraded: {below: 0.8, for: 3 of 5}}}}",
        hint="ACL SETUSER probe on >password -@all +ping +info +client +hello",
    ),
    Service(
        "memcached", "Memcached", Tier.CACHE, 11211,
        "{kind: memcached, url: 'memcached://127.0.0.1:11211', "
        "expect: {hit_ratio: {degraded: {below: 0.8, for: 3 of 5}}}}",
    ),
    Service("rabbitmq", "RabbitMQ", Tier.QUEUE, 5672, "{kind: tcp, url: 'tcp://127.0.0.1:5672'}"),
)  # fmt: skip

_HEAD = """\
# Backwatch watches what stands here. Check this file:   backwatch config check
# Ask everything now:                                    backwatch probe
# Watch, alert and show it on http://127.0.0.1:8501:     backwatch up
#
# Durations: 250ms 10s 5m 2h 7d. Passwords do not belong in this file: write ${env:NAME} or ${file:/run/secrets/name}.
# What each kind of check can be told: `backwatch config schema` (editors can use it).

# The store is a file in backwatch-data/ beside this one. For more than one worker, a PostgreSQL database:
# database: postgresql://backwatch@db.example.org/backwatch

defaults: {interval: 30s, timeout: 10s, fail_after: 3, recover_after: 2}

sites:
  # One entry for each site that people call by name.
  main:
    title: This machine
    targets:
"""

_EXAMPLE = """\
      # Something that users meet. `needs` says what it stands on: when both fail, the deeper one takes the blame.
      # shop:
      #   tier: web          # web load_balancer app auth database cache queue third_party host
      #   needs: [{needs}]
      #   checks:
      #     - kind: http
      #       url: https://shop.example.org/
      #       expect:
      #         status: 200
      #         body: {{contains: "Add to cart"}}
      #         latency: {{degraded: 800ms, down: 5s}}
      #         certificate: {{days_left: {{degraded: 21, down: 3}}}}
      # A job that reports to http://127.0.0.1:8501/push/TOKEN when it is done:
      # backup:
      #   tier: queue
      #   checks: [{{kind: heartbeat, period: 1d, grace: 1h, token: "${{env:BACKUP_TOKEN}}"}}]

# Who is told. Without notifiers, incidents are shown on the dashboard only.
# notifiers:
#   ops:  {{kind: email, to: [ops@example.org], from: backwatch@example.org,
#          smtp: {{host: mail.example.org, port: 587, security: starttls, username: x, password: "${{file:smtp}}"}}}}
#   hook: {{kind: webhook, url: "https://hooks.example.org/bw", secret: "${{env:HOOK_SECRET}}"}}
# routes: [{{match: {{severity: page}}, notify: [ops, hook]}}, {{match: {{severity: warning}}, notify: [ops]}}]
"""


def listens(port: int) -> bool:
    """Whether something takes connections on a port of this machine."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_S):
            return True
    except OSError:
        return False


def find_services(listening: Callable[[int], bool] = listens) -> list[Service]:
    """The services known here that listen on this machine, from the users' side inwards."""
    return [service for service in KNOWN if listening(service.port)]


def write_starter(services: Sequence[Service]) -> str:
    """The text of a configuration that watches these services and this machine."""
    entries = [_entry(service, find_spec(service.driver) is None if service.driver else False) for service in services]
    machine = "      machine:\n        tier: host\n        checks:\n          - {kind: host}\n"
    needs = ", ".join(service.name for service in services if service.tier in (Tier.DATABASE, Tier.CACHE)) or "db"
    return _HEAD + "".join(entries) + machine + _EXAMPLE.format(needs=needs)


def _entry(service: Service, driver_missing: bool) -> str:
    lines = [
        f"{service.name}:",
        f"  title: {service.title}",
        f"  tier: {service.tier}",
        "  checks:",
        f"    - {service.check}",
    ]
    comment = f"# An account that may look and nothing else: {service.hint}\n" if service.hint else ""
    mark = ""
    if driver_missing:
        comment += f"# Found, but its driver is not installed: pip install 'backwatch[{service.extra}]'\n"
        mark = "# "
    text = comment + "".join(f"{mark}{line}\n" for line in lines)
    return "".join(f"      {line}\n" for line in text.splitlines())
