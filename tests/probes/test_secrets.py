"""A secret in any field of a check, whatever its target does with it: never in a log, the store or what is printed."""

import base64
import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from click.testing import CliRunner

from probes.commands import commands
from probes.config import load_config
from probes.result import Status
from probes.store.database import StoreError, open_database
from probes.store.evidence import load_evidence
from probes.store.results import load_results

RUN = """
import logging
import sys
from probes import logs
from probes.commands.working import worker
logs.set_up(level=logging.DEBUG)
worker(["-c", sys.argv[1]])
"""
NOW = 10**15
HEAD = "S3cr3t"


class Canaries:
    """Secrets from the environment, each of a field of its own; `name("redis password")` is how it is written."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.of_field: dict[str, str] = {}
        self._patch = patch

    def __call__(self, field: str) -> str:
        if field not in self.of_field:
            # What stands in a URL is written encoded by the user; a slash in it would end the host.
            kind = "-Canary." if "url" in field or field == "proxy password" else "+Canary/"
            self.of_field[field] = f"{HEAD}{kind}{len(self.of_field):02}"
            self._patch.setenv(f"CANARY_{len(self.of_field)}", self.of_field[field])
        number = list(self.of_field).index(field) + 1
        return f"${{env:CANARY_{number}}}"

    def found_in(self, text: str) -> list[str]:
        """Fields whose secret stands in a text, in any spelling; beginnings, where a text was cut amid a secret."""
        cut = ["a part of one"] if HEAD in text else []
        return cut + [
            field for field, secret in self.of_field.items() if any(spelling in text for spelling in spellings(secret))
        ]


def spellings(secret: str) -> tuple[str, ...]:
    packed = base64.b64encode(secret.encode()).decode().rstrip("=")
    return (secret, quote(secret, safe=""), quote_plus(secret), packed[:-1])


def checks_of(port: int, way: str, secret: Canaries) -> list[dict[str, Any]]:
    """Every kind that asks a server, with a secret in every field that takes one."""
    site = f"http://127.0.0.1:{port}"
    steps = [
        {
            "name": "log_in",
            "request": {
                "url": f"/in/{secret('journey path')}?key={secret('journey query')}",
                "headers": {"X-Step": secret("journey header")},
                "form": {"user": "{{who}}", "word": secret("journey form")},
            },
            "expect": {"status": "5xx", "body": {"not_contains": secret("journey expectation")}},
        },
        {"name": "again", "request": {"url": "/again", "json": {"word": secret("journey json")}}},
    ]
    return [
        {
            "kind": "http",
            "name": f"http-{way}",
            "url": f"{site}/{secret('http path')}?visit={secret('http query')}",
            "method": "POST",
            "headers": {"X-Key": secret("http header"), "Cookie": f"a={secret('http cookie')}"},
            "body": f"word={secret('http body')}",
            "auth": {"scheme": "bearer", "token": secret("http token")},
            "expect": {"status": "5xx", "body": {"contains": secret("http expectation")}},
        },
        {
            "kind": "http",
            "name": f"basic-{way}",
            "url": site,
            "auth": {"username": secret("basic user"), "password": secret("basic password")},
            "expect": {"headers": {"Server": secret("http expected header")}},
        },
        {
            "kind": "http",
            "name": f"digest-{way}",
            "url": site,
            "auth": {"scheme": "digest", "username": "ann", "password": secret("digest password")},
            "expect": {"body": {"regex": f"^{secret('http pattern')}$"}},
        },
        {"kind": "http", "name": f"url-{way}", "url": site.replace("//", f"//ann:{secret('url password')}@")},
        {
            "kind": "http",
            "name": f"proxy-{way}",
            "url": "http://shop.example/",
            "proxy": f"http://ann:{secret('proxy password')}@127.0.0.1:{port}",
        },
        {
            "kind": "metrics",
            "name": f"metrics-{way}",
            "url": f"{site}/metrics?key={secret('metrics query')}",
            "headers": {"X-Key": secret("metrics header")},
            "values": {"queue": "queue_length"},
        },
        {
            "kind": "journey",
            "name": f"journey-{way}",
            "url": site,
            "variables": {"who": secret("journey variable")},
            "headers": {"X-All": secret("journey headers")},
            "steps": steps,
        },
        {
            "kind": "tcp",
            "name": f"tcp-{way}",
            "url": f"tcp://127.0.0.1:{port}",
            "send": f"AUTH {secret('tcp send')}\r\n",
            "expect": {"answer": secret("tcp answer")},
        },
        {"kind": "redis", "name": f"redis-{way}", "url": f"redis://ann:{secret('redis url')}@127.0.0.1:{port}"},
        {
            "kind": "redis",
            "name": f"redis2-{way}",
            "url": f"redis://127.0.0.1:{port}",
            "password": secret("redis password"),
        },
        {"kind": "mysql", "name": f"mysql-{way}", "url": f"mysql://ann:{secret('mysql url')}@127.0.0.1:{port}/shop"},
        {
            "kind": "mysql",
            "name": f"mysql2-{way}",
            "url": f"mysql://ann@127.0.0.1:{port}/shop",
            "password": secret("mysql password"),
        },
        {
            "kind": "postgresql",
            "name": f"postgresql-{way}",
            "url": f"postgresql://ann:{secret('postgresql url')}@127.0.0.1:{port}/shop",
        },
        {
            "kind": "postgresql",
            "name": f"postgresql2-{way}",
            "url": f"postgresql://ann@127.0.0.1:{port}/shop",
            "password": secret("postgresql password"),
        },
        {"kind": "heartbeat", "name": f"job-{way}", "token": secret("heartbeat token") + "-long-enough", "period": "1s",
         "grace": 0},
    ]  # fmt: skip


def hear(connection: socket.socket) -> bytes:
    connection.settimeout(0.2)
    heard = b""
    with contextlib.suppress(TimeoutError):
        while piece := connection.recv(65536):
            heard += piece
    return heard


def tell_all(connection: socket.socket) -> None:
    """An application in debug mode: 500, and in body, header and reason whatever it was told."""
    heard = hear(connection)
    line = heard.partition(b"\r\n")[0]
    told = heard + base64.b64encode(heard)
    head = b"HTTP/1.1 500 Oh no, %s\r\nX-Heard: %s\r\nWWW-Authenticate: Digest realm=\"%s\", nonce=\"a\"\r\n" % (
        line, heard.replace(b"\r\n", b" ")[:3000], line,
    )  # fmt: skip
    connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(told) + told)


def echo(connection: socket.socket) -> None:
    """No protocol at all: back comes what went there."""
    connection.sendall(hear(connection) or b"-ERR\r\n")


def send_on(connection: socket.socket) -> None:
    """Redirects without end, the secret parts of the request in the target."""
    heard = hear(connection)
    path = heard.split(b" ")[1] if heard.count(b" ") > 1 else b"/"
    key = heard.partition(b"X-Key: ")[2].partition(b"\r\n")[0]
    where = b"/on%s%skey=%s" % (path, b"&" if b"?" in path else b"?", key)
    connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % where)


WAYS: dict[str, Callable[[socket.socket], None] | None] = {
    "refused": None,
    "silent": lambda connection: time.sleep(5),
    "telling": tell_all,
    "echo": echo,
    "redirect": send_on,
}


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str, int]]:
    listeners: list[socket.socket] = []

    def attempt(handle: Callable[[socket.socket], None], connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            handle(connection)

    def serve(listener: socket.socket, handle: Callable[[socket.socket], None]) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=attempt, args=(handle, connection), daemon=True).start()

    found = {"refused": 1}
    for way, handle in WAYS.items():
        if handle is not None:
            listeners.append(socket.create_server(("127.0.0.1", 0), backlog=200))
            found[way] = int(listeners[-1].getsockname()[1])
            threading.Thread(target=serve, args=(listeners[-1], handle), daemon=True).start()
    yield found
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


class Ran:
    """What a worker left behind after every check had failed once: its folder, its log, the canaries to look for."""

    def __init__(self, config: Path, log: str, secret: Canaries) -> None:
        self.config, self.log, self.secret = config, log, secret


@pytest.fixture(scope="module")
def ran(ports: dict[str, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    folder = tmp_path_factory.mktemp("secrets")
    patch = pytest.MonkeyPatch()
    secret = Canaries(patch)
    checks = [check for way, port in ports.items() for check in checks_of(port, way, secret)]
    config = folder / "backwatch.yaml"
    defaults = {"interval": "2s", "timeout": "600ms", "retry_interval": "1s", "fail_after": 2}
    targets = {"web": {"tier": "web", "checks": checks}}
    config.write_text(json.dumps({"defaults": defaults, "sites": {"shop": {"targets": targets}}}))
    command = [sys.executable, "-c", RUN, str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as worker:
        try:
            wait_until_all_failed(config, len(checks))
        finally:
            worker.send_signal(signal.SIGTERM)
            log, _ = worker.communicate(timeout=20)
    yield Ran(config, log, secret)
    patch.undo()


def wait_until_all_failed(config: Path, count: int) -> None:
    loaded = load_config(config)
    until = time.monotonic() + 60
    missing = {"all"}
    while missing:
        assert time.monotonic() < until, missing
        time.sleep(0.5)
        with contextlib.suppress(StoreError):
            store = open_database(loaded.database)
            missing = {
                check_id
                for check_id in loaded.estate.checks
                if not any(one.status is not Status.UP for one in load_results(store, check_id, 0, NOW))
            }
            store.dispose()
    assert len(loaded.estate.checks) == count


def test_thirty_fields_hold_a_secret(ran: Ran) -> None:
    assert len(ran.secret.of_field) >= 30


def test_no_secret_is_in_what_the_worker_logs(ran: Ran) -> None:
    assert "results stored" in ran.log
    assert ran.secret.found_in(ran.log) == []


def test_no_secret_is_in_the_store(ran: Ran) -> None:
    loaded = load_config(ran.config)
    for file in ran.config.parent.rglob("*"):
        if file.is_file() and file != ran.config:
            assert ran.secret.found_in(file.read_bytes().decode("latin-1")) == [], file
    store = open_database(loaded.database)
    seen = load_evidence(store, loaded.estate.checks, 0, NOW, limit=1000)
    assert len({one.check_id for one in seen}) > 40
    for one in seen:
        assert ran.secret.found_in(json.dumps(one.content)) == [], (one.check_id, one.content)
    store.dispose()


@pytest.mark.parametrize("words", [["probe"], ["probe", "--json"], ["config", "show"]], ids=" ".join)
def test_no_secret_is_printed(ran: Ran, words: list[str]) -> None:
    command = {one.name: one for one in commands}[words[0]]
    result = CliRunner().invoke(command, [*words[1:], "-c", str(ran.config)])
    assert result.output.count("\n") > 50
    assert ran.secret.found_in(result.output) == []
