"""An HTTP server of known slowness: answers each request after so many seconds, or never, and knows how late it was.

python tests/bench/delayed_server.py PORT SECONDS     SECONDS `never`: accepts, reads and says nothing
On SIGTERM it prints one line of JSON: its own delay from request to answer, p50 and p99 in milliseconds.
"""

import asyncio
import contextlib
import json
import resource
import signal
import sys

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: close\r\n\r\nall is well\n"


class Slow(asyncio.Protocol):
    """One connection, one request."""

    delay_s: float | None = None
    took_s: list[float] = []  # noqa: RUF012  (of all connections)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """The request is there, all of it: ours are short."""
        if self.delay_s is not None:
            loop = asyncio.get_running_loop()
            loop.call_later(self.delay_s, self.answer, loop.time())

    def answer(self, asked_s: float) -> None:
        """Say it and hang up."""
        self.took_s.append(asyncio.get_running_loop().time() - asked_s)
        self.transport.write(ANSWER)  # type: ignore[attr-defined]
        self.transport.close()


async def main() -> None:
    """Serve until SIGTERM."""
    port, delay = int(sys.argv[1]), sys.argv[2]
    Slow.delay_s = None if delay == "never" else float(delay)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    await loop.create_server(Slow, "127.0.0.1", port, backlog=4096)
    await ended.wait()
    took = sorted(Slow.took_s)
    if took:
        print(json.dumps({"p50_ms": took[len(took) // 2] * 1e3, "p99_ms": took[int(len(took) * 0.99)] * 1e3}))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
