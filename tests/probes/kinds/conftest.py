"""Real servers and ill-behaved peers for the kinds to meet."""

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from probes.probe import Ask, BlockingProbe, Deadline, Failure, Push, Reading, kinds

CANARY = "S3cr3tCanary"


class Asker:
    """Builds a probe of one kind and asks with it, each time handing on what the last run carried."""

    def __init__(self, kind: str, options: dict, expect: dict | None = None, timeout_s: float = 2.0) -> None:
        cls = kinds()[kind]
        self.probe = cls(cls.Options(**options), cls.Expect(**(expect or {})))
        assert isinstance(self.probe, BlockingProbe)
        self.last: Reading | None = None
        self.timeout_s = timeout_s
        self.took_s = 0.0

    def __call__(self, *, interval_s: float = 30.0, pushes: tuple[Push, ...] = ()) -> Reading:
        now_ms = int(time.time() * 1000)
        ask = Ask(Deadline(self.timeout_s), now_ms, interval_s, self.last, pushes, first_seen_ms=now_ms)
        started = time.monotonic()
        try:
            reading = self.probe.run(ask)
            self.last = reading
        except Failure as failure:
            reading = Reading.of_failure(failure)
        self.took_s = time.monotonic() - started
        self._keeps_its_word(reading)
        return reading

    def _keeps_its_word(self, reading: Reading) -> None:
        declared = self.probe.metrics
        prefixes = tuple(name[:-1] for name in declared if name.endswith("*"))
        undeclared = {
            name for name in reading.metrics if name not in declared and not name.startswith(prefixes or "\0")
        }
        assert not undeclared, f"reported without being declared: {undeclared}"
        assert CANARY not in repr(reading), "the password is in the reading"
        assert CANARY not in self.probe.describe()
        assert self.took_s < self.timeout_s + 0.5, f"took {self.took_s:.2f} s of {self.timeout_s} s"


@pytest.fixture
def asker() -> type[Asker]:
    return Asker


def _free_port() -> int:
    while True:
        with closing(socket.socket()) as sock:
            sock.bind(("127.0.0.1", 0))
            port: int = sock.getsockname()[1]
        if port < 55_000:  # a Redis cluster takes port + 10000 too
            return port


@pytest.fixture(scope="session")
def new_port() -> Callable[[], int]:
    """Finds ports that nobody listens on."""
    return _free_port


@pytest.fixture
def closed_port() -> int:
    return _free_port()


Talk = Callable[[socket.socket], None]


@pytest.fixture
def held_ends() -> list[socket.socket]:
    """The servers' ends of the connections that a test's peers have accepted."""
    return []


@pytest.fixture
def peer(held_ends: list[socket.socket]) -> Iterator[Callable[[Talk], int]]:
    """Starts servers that treat each connection as the test says; returns their port."""
    listeners: list[socket.socket] = []
    held = held_ends

    def start(talk: Talk) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    held.append(connection)
                    threading.Thread(target=attempt, args=(connection,), daemon=True).start()

        def attempt(connection: socket.socket) -> None:
            with suppress(OSError):
                talk(connection)

        threading.Thread(target=serve, daemon=True).start()
        return listener.getsockname()[1]

    yield start
    for sock in (*listeners, *held):
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        sock.close()


@pytest.fixture
def silent_port(peer: Callable[[Talk], int]) -> int:
    """Accepts, and never says a word."""
    return peer(lambda connection: None)


@pytest.fixture
def dripping_port(peer: Callable[[Talk], int]) -> Callable[[bytes], int]:
    """Sends a byte every tenth of a second, so that no single read ever times out."""

    def drip(data: bytes) -> int:
        def talk(connection: socket.socket) -> None:
            for number in range(200):
                connection.sendall(data[number : number + 1] or b" ")
                time.sleep(0.1)

        return peer(talk)

    return drip


@pytest.fixture
def http_port(peer: Callable[[Talk], int]) -> int:
    """Answers everything like a web server that did not understand."""

    def talk(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        connection.close()

    return peer(talk)


@pytest.fixture
def ssh_port(peer: Callable[[Talk], int]) -> int:
    """Greets first, in a protocol of its own."""

    def talk(connection: socket.socket) -> None:
        connection.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n")
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()

    return peer(talk)


def missing(what: str) -> None:
    """Skips on a developer's machine; in CI nothing may be skipped."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is needed in CI")
    pytest.skip(f"no {what}")


def _reachable(variable: str, default: str, port: int) -> str:
    url = os.environ.get(variable, default)
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname, parts.port or port), 2).close()
    except OSError:
        missing(f"server at {url} ({variable})")
    return url


@pytest.fixture(scope="session")
def postgresql_url() -> str:
    return _reachable("BACKWATCH_TEST_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432/postgres", 5432)


@pytest.fixture(scope="session")
def mysql_url() -> str:
    return _reachable("BACKWATCH_TEST_MYSQL", "mysql://root@127.0.0.1:3306/mysql", 3306)


@contextmanager
def running(*command: str, port: int) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            assert process.poll() is None, f"{command[0]} ended at once"
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="session")
def run_server() -> Callable[..., AbstractContextManager[subprocess.Popen]]:
    """Runs a command until its port answers, and ends it afterwards."""
    return running


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[Callable[..., int]]:
    """Starts redis-servers of our own; returns their port. Killed at the end."""
    program = shutil.which("redis-server") or missing("redis-server") or ""
    with _many(
        lambda port, words: (program, "--port", str(port), "--save", "", "--dir", str(tmp_path), *words)
    ) as start:
        yield start


@pytest.fixture
def memcached_server() -> Iterator[Callable[..., int]]:
    """The same for memcached."""
    program = shutil.which("memcached") or missing("memcached") or ""
    with _many(lambda port, words: (program, "-u", "nobody", "-l", "127.0.0.1", "-p", str(port), *words)) as start:
        yield start


@contextmanager
def _many(command: Callable[[int, tuple[str, ...]], tuple[str, ...]]) -> Iterator[Callable[..., int]]:
    """A function that starts a server on a free port, or restarts the one on the port it is given."""
    stack: dict[int, object] = {}

    def start(*words: str, again: int | None = None) -> int:
        port = again or _free_port()
        if again:
            stack.pop(again).__exit__(None, None, None)
        server = running(*command(port, words), port=port)
        server.__enter__()
        stack[port] = server
        return port

    yield start
    for server in stack.values():
        server.__exit__(None, None, None)
