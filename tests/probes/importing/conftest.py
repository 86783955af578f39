"""A database like one of Uptime Kuma 2.5, made by code from the facts of its tables; and the commands to call."""

import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from alerts.config import load_all
from probes.commands.importing import bring_over

COLUMNS = {
    "monitor": "id INTEGER PRIMARY KEY, name, active DEFAULT 1, interval DEFAULT 60, url, type, hostname, port,"
    " keyword, maxretries DEFAULT 0, ignore_tls DEFAULT 0, upside_down DEFAULT 0, maxredirects DEFAULT 10,"
    " accepted_statuscodes_json DEFAULT '[\"200-299\"]', dns_resolve_type, dns_resolve_server,"
    " retry_interval DEFAULT 0,"
    " push_token, method DEFAULT 'GET', body, headers, basic_auth_user, basic_auth_pass, auth_method, proxy_id,"
    " expiry_notification DEFAULT 0, database_connection_string, database_query, radius_password, parent,"
    " invert_keyword DEFAULT 0, json_path, expected_value, json_path_operator, timeout DEFAULT 48,"
    " http_body_encoding, conditions DEFAULT '[]', bearer_token, tls_cert, tls_key, tls_ca, resend_interval DEFAULT 0,"
    " rabbitmq_nodes, rabbitmq_username, rabbitmq_password, grpc_url, kafka_producer_brokers, docker_container,"
    " smtp_security, ip_family, cache_bust DEFAULT 0, domain_expiry_notification DEFAULT 0",
    "heartbeat": "id INTEGER PRIMARY KEY, important DEFAULT 0, monitor_id, status, msg, time, ping, duration DEFAULT 0",
    "stat_minutely": "id INTEGER PRIMARY KEY, monitor_id, timestamp, ping, up, down, ping_min, ping_max, extras",
    "stat_hourly": "id INTEGER PRIMARY KEY, monitor_id, timestamp, ping, up, down, ping_min, ping_max, extras",
    "stat_daily": "id INTEGER PRIMARY KEY, monitor_id, timestamp, ping, up, down, ping_min, ping_max, extras",
    "notification": "id INTEGER PRIMARY KEY, name, active DEFAULT 1, user_id, is_default DEFAULT 0, config",
    "monitor_notification": "id INTEGER PRIMARY KEY, monitor_id, notification_id",
    "tag": "id INTEGER PRIMARY KEY, name, color",
    "monitor_tag": "id INTEGER PRIMARY KEY, monitor_id, tag_id, value",
    "maintenance": "id INTEGER PRIMARY KEY, title, active DEFAULT 1, strategy, start_date, end_date, start_time,"
    " end_time, weekdays DEFAULT '[]', days_of_month DEFAULT '[]', interval_day, cron, timezone, duration",
    "monitor_maintenance": "id INTEGER PRIMARY KEY, monitor_id, maintenance_id",
    "proxy": "id INTEGER PRIMARY KEY, protocol, host, port, auth, username, password, active DEFAULT 1",
    "status_page": "id INTEGER PRIMARY KEY, title",
    "setting": "id INTEGER PRIMARY KEY, key, value, type",
    "user": "id INTEGER PRIMARY KEY, username",
}


class Kuma:
    """A database to fill."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with closing(sqlite3.connect(path)) as connection, connection:
            for table, columns in COLUMNS.items():
                connection.execute(f"CREATE TABLE {table} ({columns})")

    def add(self, table: str, **values: Any) -> int:
        plain = {key: json.dumps(value) if isinstance(value, dict | list) else value for key, value in values.items()}
        names, marks = ", ".join(plain), ", ".join("?" * len(plain))
        with closing(sqlite3.connect(self.path)) as connection, connection:
            return connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(plain.values())).lastrowid

    def beat(self, monitor: int, at_ms: int, status: int = 1, msg: str = "200 - OK", ping: float | None = 12) -> None:
        text = datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
        self.add("heartbeat", monitor_id=monitor, status=status, msg=msg, time=text, ping=ping)

    def beats(self, rows: list[tuple[int, int, int, str, float | None]]) -> None:
        """Many at once: monitor, time, status, message, latency in ms."""
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.executemany(
                "INSERT INTO heartbeat (monitor_id, time, status, msg, ping) VALUES "
                "(?, strftime('%Y-%m-%d %H:%M:%f', ? / 1000.0, 'unixepoch'), ?, ?, ?)",
                rows,
            )


@pytest.fixture
def kuma(tmp_path: Path) -> Kuma:
    return Kuma(tmp_path / "kuma.db")


@pytest.fixture(autouse=True)
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("BACKWATCH_CONFIG", "BACKWATCH_DATA"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def bring() -> Callable[..., Result]:
    """`backwatch import …`, with the loader that the front door uses: what is written has passed `config check`."""

    def run(*words: str | Path, env: Mapping[str, str] | None = None) -> Result:
        return CliRunner().invoke(bring_over, [str(word) for word in words], obj=load_all, env=env)

    return run
