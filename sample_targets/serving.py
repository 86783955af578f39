"""How a process of the shop serves ASGI applications: any number of listeners on one loop until SIGTERM."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import uvicorn

from sample_targets.layout import HOST

Background = Callable[[], Awaitable[None]]


class Listener(uvicorn.Server):
    """A uvicorn server that leaves signals to its process, so that several can share a loop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Take no signals."""
        yield


def listen(app: Callable[..., Any], port: int, **options: Any) -> Listener:
    """A listener on loopback, configured and not yet started."""
    config = uvicorn.Config(
        app,
        host=HOST,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=1,
        timeout_keep_alive=5,
        **options,
    )
    config.load()
    return Listener(config)


def serve(*listeners: Listener, background: Background | None = None) -> None:
    """Run the listeners, and a task beside them, until SIGTERM or SIGINT."""
    asyncio.run(_serve(listeners, background))


async def _serve(listeners: tuple[Listener, ...], background: Background | None) -> None:
    def stop() -> None:
        for listener in listeners:
            listener.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    beside = asyncio.ensure_future(background()) if background is not None else None
    await asyncio.gather(*(listener.serve() for listener in listeners))
    if beside is not None:
        beside.cancel()
