"""Targets for benchmarks, on loopback and in a process of their own: some answer, some accept and hang, one refuses.

python tests/bench/loopback.py     prints the addresses as JSON and serves until its standard input ends
"""

import asyncio
import json
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HANGING_ADDRESSES = 4  # more than one, so that neither a backlog nor the range of local ports is what is measured
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 27\r\nContent-Type: text/plain\r\n\r\nhello world, all is well.\r\n"


@dataclass(frozen=True, slots=True)
class Targets:
    """Where they listen, each `host:port`."""

    healthy: str
    hanging: tuple[str, ...]
    refusing: str


@contextmanager
def serving() -> Iterator[Targets]:
    """Start the process, and end it."""
    command = (sys.executable, str(Path(__file__)))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            said = json.loads(server.stdout.readline())
            yield Targets(said["healthy"], tuple(said["hanging"]), said["refusing"])
        finally:
            server.terminate()


class Healthy(asyncio.Protocol):
    """Answers every request and closes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if isinstance(self.transport, asyncio.Transport):
            self.transport.write(ANSWER)
            self.transport.close()


async def serve() -> None:
    loop = asyncio.get_running_loop()
    healthy = await loop.create_server(Healthy, "127.0.0.1", 0, backlog=4096)
    hanging = [
        await loop.create_server(asyncio.Protocol, f"127.0.0.{n + 2}", 0, backlog=4096)
        for n in range(HANGING_ADDRESSES)
    ]
    with socket.socket() as refusing:
        refusing.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port
        said = {
            "healthy": place(healthy.sockets[0]),
            "hanging": [place(one.sockets[0]) for one in hanging],
            "refusing": place(refusing),
        }
        print(json.dumps(said), flush=True)
        await loop.run_in_executor(None, sys.stdin.read)


def place(one: socket.socket) -> str:
    host, port = one.getsockname()[:2]
    return f"{host}:{port}"


if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(serve())
