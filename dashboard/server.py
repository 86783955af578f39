"""One ASGI application for people and programs: Streamlit's pages and our own routes on one port."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import streamlit as st
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route
from streamlit.runtime.pages_manager import PagesManager

from dashboard import actions, api, health, open_metrics, push
from dashboard.components import panel as draw
from dashboard.context import Context, install
from dashboard.guard import LOOPBACK, Guard
from dashboard.theme import streamlit_theme
from probes.store.schema import current_revision, upgrade

log = logging.getLogger(__name__)

_HERE = Path(__file__).parent
_ASSETS = {"inter.woff2": "font/woff2", "inter-LICENSE.txt": "text/plain; charset=utf-8", "icon.svg": "image/svg+xml"}
_FOLLOW_EVERY_S = 2.0
_WARM_AFTER_S = 3.0


class UnsafeAddress(ValueError):
    """The server would be open to others without anything that asks who they are."""


def run_server(
    config_path: Path,
    data_dir: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8501,
    *,
    behind_proxy: bool = False,
    allowed_hosts: Sequence[str] = (),
) -> None:
    """Serve until a signal ends it; wants the main thread.

    Raises ConfigError, SchemaError, and UnsafeAddress for an address that others can reach, unless `behind_proxy`
    says that something in front asks who they are; `allowed_hosts` are further names the server answers to.
    """
    if host not in LOOPBACK and not behind_proxy:
        raise UnsafeAddress(
            f"{host} can be reached by others and there are no accounts yet: keep 127.0.0.1, or put a proxy with a "
            "login in front and say so."
        )
    context = Context(config_path, data_dir)
    prepare_store(context)
    install(context)
    hosts = {*LOOPBACK, *allowed_hosts, urlsplit(context.alerting.external_url or "").hostname or "localhost"}
    log.info("dashboard at http://%s:%d", host, port)
    application(hosts).run(config=streamlit_options(host, port))


def application(hosts: set[str]) -> st.App:
    """The ASGI application; `install` a context first."""
    # Streamlit takes any folder named pages for its older kind of app until st.navigation has run once, and would run
    # the file instead of the page for the first visitor.
    PagesManager.uses_pages_directory = False
    return st.App(
        _HERE / "app.py",
        routes=routes(),
        middleware=[Middleware(Guard, hosts=hosts)],
        lifespan=_lifespan,
        on_script_error=_log_error,
    )


def routes() -> list[BaseRoute]:
    """All of our own routes."""
    assets = Route("/assets/{name}", _asset)
    return [*health.routes, *open_metrics.routes, *api.routes, *actions.routes, *push.routes, assets, *api.fallback]


def streamlit_options(host: str, port: int) -> dict[str, Any]:
    """How Streamlit is set: nothing leaves for another host, nothing is said of errors beyond words."""
    return {
        "server.address": host,
        "server.port": port,
        "server.headless": True,
        "server.fileWatcherType": "none",
        "server.enableStaticServing": False,
        "server.maxUploadSize": 1,
        "server.enableWebsocketCompression": True,
        "browser.gatherUsageStats": False,
        "browser.serverAddress": "localhost",
        "browser.serverPort": port,
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",
        "client.showErrorLinks": "false",
        "client.showSidebarNavigation": True,
        "runner.magicEnabled": False,
        **streamlit_theme(),
    }


def prepare_store(context: Context) -> None:
    """Create the tables of a new store. An older or newer store is left alone: pages say what to do."""
    if current_revision(context.engine) is None:
        upgrade(context.engine)


def _asset(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _ASSETS:
        return Response(status_code=404)
    headers = {"Cache-Control": "public, max-age=604800"}
    return FileResponse(_HERE / "assets" / name, media_type=_ASSETS[name], headers=headers)


@asynccontextmanager
async def _lifespan(_app: st.App) -> AsyncIterator[dict[str, Any]]:
    tasks = [asyncio.create_task(_follow()), asyncio.create_task(_freeze())]
    try:
        yield {}
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def _follow() -> None:
    from dashboard.context import current

    while True:
        await asyncio.sleep(_FOLLOW_EVERY_S)
        try:
            await asyncio.to_thread(current().follow)
        except Exception:  # a loop's top: whatever a changed file does to us, the server goes on
            log.exception("the configuration could not be looked at")


async def _freeze() -> None:
    # Streamlit collects fully after every rerun; what is loaded by now never becomes garbage, so it is not looked at.
    await asyncio.sleep(_WARM_AFTER_S)
    gc.collect()
    gc.freeze()


def _log_error(error: Exception) -> bool:
    log.error("a page failed", exc_info=error)
    said = "This page failed; the reason is in the dashboard's log. Nothing on it can be trusted now."
    draw.panel("failed", [draw.banner([draw.text(said)])])
    return True
