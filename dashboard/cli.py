"""The front door: `backwatch …`, with the commands of probing and of the alerts, and those that run everything."""

import importlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from probes import logs
from probes.commands.finding import Refusal, config_options, find_config, find_data, load_with

if TYPE_CHECKING:
    from probes.config import Config

# Where each command stands and what it does: `--help` imports nothing else than this file.
PLACES: Mapping[str, tuple[str, str, str]] = {
    "demo": ("dashboard.running", "demo", "Everything on a small real shop that you may break."),
    "up": ("dashboard.running", "up", "Everything for one machine."),
    "init": ("probes.commands", "init", "Write a commented starter configuration."),
    "config": ("probes.commands", "config", "Check and show the configuration."),
    "probe": ("probes.commands", "probe", "Ask now and print what is answered."),
    "status": ("dashboard.status", "status", "State of every check, open incidents, Backwatch itself."),
    "incident": ("alerts.commands", "incident", "See to incidents."),
    "silence": ("alerts.commands", "silence", "Mute by hand."),
    "notify": ("alerts.commands", "notify", "Try a notifier."),
    "worker": ("probes.commands", "worker", "Run a worker."),
    "alerts": ("alerts.commands", "alerts", "Run the alert engine."),
    "dashboard": ("dashboard.running", "dashboard", "Run the dashboard."),
    "report": ("dashboard.reporting", "report", "Uptime for those who ask for it."),
    "import": ("probes.commands", "bring_over", "Bring checks and history over from another program."),
    "db": ("probes.commands", "db", "Look after the store."),
}


class FrontDoor(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of their use."""
        del ctx
        return list(PLACES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command itself."""
        del ctx
        if cmd_name not in PLACES:
            return None
        module, name, _ = PLACES[cmd_name]
        found = getattr(importlib.import_module(module), name)
        return found if isinstance(found, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing any of them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, said) for name, (_, _, said) in PLACES.items()])


@click.group(cls=FrontDoor, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="backwatch", prog_name="backwatch", message="%(prog)s %(version)s")
@click.option("--log-json", is_flag=True, envvar="BACKWATCH_LOG_JSON", help="log lines as JSON")
@click.option("-v", "--verbose", is_flag=True, envvar="BACKWATCH_VERBOSE", help="log more")
@click.pass_context
def main(context: click.Context, log_json: bool, verbose: bool) -> None:
    """Backwatch watches the back end of web sites, tier by tier, and tells which tier is broken."""
    logs.set_up(as_json=log_json, level=logging.DEBUG if verbose else logging.INFO)
    context.obj = load_everything


def load_everything(source: Path, data_dir: Path | None) -> "tuple[Config, tuple[str, ...]]":
    """The configuration with the alerts' sections, and warnings for people. Raises ConfigError."""
    from alerts.config import load_all

    config, alerting = load_all(source, data_dir)
    return config, alerting.warnings


__all__ = ["Refusal", "config_options", "find_config", "find_data", "load_everything", "load_with", "main"]

if __name__ == "__main__":
    main(prog_name="backwatch")
