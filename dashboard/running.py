"""The commands that keep something running: the dashboard alone, everything of one machine, the demo."""

import errno
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dashboard.supervisor import Child, become_supervisor
from probes.commands.finding import Refusal, config_options, find_config, find_data, load_with, whole_loader

if TYPE_CHECKING:
    from probes.config import Config

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def listen_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--host`, `--port`, `--allowed-host` and `--i-am-behind-a-proxy`."""
    for option in (
        click.option(
            "--i-am-behind-a-proxy", "behind_proxy", is_flag=True, help="something in front asks who people are"
        ),
        click.option(
            "--allowed-host", "allowed_hosts", multiple=True, metavar="NAME", help="name the server answers to"
        ),
        click.option("--port", default=8501, show_default=True, type=click.IntRange(1, 65535)),
        click.option("--host", default="127.0.0.1", show_default=True),
    ):
        command = option(command)
    return command


@click.command()
@config_options
@listen_options
def dashboard(  # noqa: PLR0917 - click passes names
    config_path: Path | None,
    data_dir: Path | None,
    host: str,
    port: int,
    allowed_hosts: tuple[str, ...],
    behind_proxy: bool,
) -> None:
    """Run the dashboard: pages for people, the HTTP API for programs."""
    from probes.document import ConfigError
    from probes.store.database import StoreError
    from probes.store.schema import SchemaError

    refuse_open_address(host, behind_proxy)
    refuse_taken_port(host, port)
    source = find_config(config_path)
    from dashboard.server import run_server

    try:
        run_server(source, find_data(data_dir), host, port, behind_proxy=behind_proxy, allowed_hosts=allowed_hosts)
    except ConfigError as error:
        raise Refusal(f"the configuration {source} is broken:\n{error}") from error
    except (SchemaError, StoreError) as error:
        raise Refusal(str(error)) from error


@click.command()
@config_options
@listen_options
@click.pass_context
def up(  # noqa: PLR0917 - click passes names
    context: click.Context,
    config_path: Path | None,
    data_dir: Path | None,
    host: str,
    port: int,
    allowed_hosts: tuple[str, ...],
    behind_proxy: bool,
) -> None:
    """Run everything for one machine: worker, alerts and dashboard, each started again when it dies.

    SIGHUP reads the configuration anew, Ctrl-C or SIGTERM stops all.
    """
    config, warnings = load_with(whole_loader(), config_path, data_dir)
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    refuse_open_address(host, behind_proxy)
    refuse_taken_port(host, port)
    prepare_store(config)
    listening = ["--host", host, "--port", str(port)]
    listening += ["--i-am-behind-a-proxy"] if behind_proxy else []
    listening += [word for name in allowed_hosts for word in ("--allowed-host", name)]
    as_json = bool(context.find_root().params.get("log_json"))
    if not as_json:
        click.echo(f"Backwatch runs: http://{host}:{port}   (Ctrl-C stops it)", err=True)
    become_supervisor(own_children(config, listening, as_json=as_json), as_json=as_json)


@click.command()
@click.option("--port", default=8501, show_default=True, type=click.IntRange(1, 65535), help="of the dashboard")
@click.option("--data", type=click.Path(path_type=Path), default=Path("backwatch-demo"), show_default=True)
def demo(port: int, data: Path) -> None:
    """Everything on a small real shop that you may break, with two weeks of made-up history. Ctrl-C stops all."""
    refuse_taken_port("127.0.0.1", port)
    from dashboard.demo import run_demo

    run_demo(data.absolute(), port)


def own_children(
    config: "Config", listening: list[str], *, as_json: bool = False, environment: dict[str, str] | None = None
) -> list[Child]:
    """Worker, alert engine and dashboard of a configuration, as programs."""
    # -P: a folder called `alerts` where somebody happens to stand must not hide ours.
    front = (sys.executable, "-P", "-m", "dashboard.cli", *(("--log-json",) if as_json else ()))
    where = ("-c", str(config.source), "--data", str(config.data_dir))
    env = {"PYTHONUNBUFFERED": "1", **(environment or {})}
    return [
        Child("worker", (*front, "worker", *where), env, reloads=True),
        Child("alerts", (*front, "alerts", *where), env, reloads=True),
        Child("dashboard", (*front, "dashboard", *where, *listening), env),
    ]


def prepare_store(config: "Config") -> None:
    """Bring the store to this version, and see that no other worker has it. Raises Refusal."""
    from probes.commands.progress import Progress
    from probes.store.database import StoreError
    from probes.store.lock import WorkerLock, WorkerLocked
    from probes.store.schema import SchemaError, upgrade

    progress = Progress()
    try:
        with WorkerLock(config.database):
            upgrade(config.database, progress=progress)
    except (WorkerLocked, SchemaError, StoreError, OSError) as error:
        raise Refusal(str(error)) from error
    finally:
        progress.close()


def refuse_open_address(host: str, behind_proxy: bool) -> None:
    """There are no accounts yet: only this machine may come in. Raises Refusal."""
    if host not in LOOPBACK and not behind_proxy:
        raise Refusal(
            f"{host} can be reached by others, and there are no accounts yet: anybody could silence alerts.\n"
            "Keep 127.0.0.1, or put a proxy with a login in front and say --i-am-behind-a-proxy."
        )


def refuse_taken_port(host: str, port: int) -> None:
    """Raises Refusal where the port cannot be listened on."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, proto) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            # Two may bind where both reuse; only one may listen.
            listener.listen(1)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Refusal(f"port {port} on {host} is in use; choose another with --port") from error
        raise Refusal(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
