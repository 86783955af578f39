"""The commands around the configuration: write a first one, check it, show it, its schema for editors."""

import json
import os
from pathlib import Path

import click

from probes.commands.finding import NAME, Refusal, config_options, load_with, whole_loader


@click.command()
@click.argument("file", type=click.Path(path_type=Path), default=Path(NAME))
def init(file: Path) -> None:
    """Write a commented starter configuration to FILE; never overwrites.

    What listens on this machine is found out and watched from the start.
    """
    from probes.starter import find_services, write_starter

    services = find_services()
    try:
        # Passwords will stand in it: the group may read, others may not.
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    except FileExistsError:
        raise Refusal(f"{file} exists already and is left as it is; name another file") from None
    except OSError as error:
        raise Refusal(f"{file} cannot be written: {error.strerror}") from error
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        out.write(write_starter(services))
    found = ", ".join(f"{one.title} on port {one.port}" for one in services) or "no service that it knows"
    option = "" if file == Path(NAME) else f" -c {file}"
    click.echo(f"wrote {file}; found on this machine: {found}")
    click.echo(f"next:  backwatch config check{option}\n       backwatch probe{option}\n       backwatch up{option}")


@click.group()
def config() -> None:
    """Check and show the configuration."""


@config.command("check")
@config_options
def check_config(config_path: Path | None, data_dir: Path | None) -> None:
    """Say everything that is wrong with the configuration; exit 2 if anything is."""
    found, warnings = load_with(whole_loader(), config_path, data_dir)
    for warning in warnings:
        click.echo(f"warning: {warning}")
    estate = found.estate
    click.echo(
        f"{found.source} is in order: {count(len(estate.sites), 'site')}, {count(len(estate.targets), 'target')}, "
        f"{count(len(estate.checks), 'check')}"
    )


@config.command("show")
@click.option("--json", "as_json", is_flag=True, help="as JSON instead of YAML")
@config_options
def show_config(config_path: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Print the configuration as in force: references filled in, secrets masked."""
    import yaml

    from probes.redact import Redactor
    from probes.store.database import say_where

    found, _ = load_with(whole_loader(), config_path, data_dir)
    value = Redactor(found.document.secrets).mask_all({**found.document.value, "database": say_where(found.database)})
    if as_json:
        click.echo(json.dumps(value, indent=2, default=str))
    else:
        click.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110), nl=False)


@config.command("schema")
def show_schema() -> None:
    """Print a JSON Schema of the configuration, for editors."""
    from probes.config_schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2))


def count(n: int, noun: str) -> str:
    """`1 site`, `3 sites`."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
