"""Which configuration does a command work with? Where it is looked for, and what is said when it is broken."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from probes import logs

if TYPE_CHECKING:
    from probes.config import Config

NAME = "backwatch.yaml"
PLACES = (Path(NAME), Path("backwatch-demo") / NAME)

CommandT = TypeVar("CommandT", bound=Callable[..., Any])
Loader = Callable[[Path, Path | None], "tuple[Config, tuple[str, ...]]"]
"""Reads a configuration as a whole: the Config and warnings for people. Raises ConfigError."""


class Refusal(click.ClickException):
    """A command cannot do what was asked; the text says why and what to do. Exit code 2."""

    exit_code = 2


def find_config(given: Path | None) -> Path:
    """The configuration as given, else $BACKWATCH_CONFIG, else in the working directory. Raises Refusal."""
    if given is not None:
        return given
    if named := os.environ.get("BACKWATCH_CONFIG"):
        return Path(named)
    for place in PLACES:
        if place.exists():
            if place != PLACES[0]:
                click.echo(f"using {place}", err=True)
            return place
    raise Refusal(
        f"no configuration found: there is no {NAME} here, and neither -c nor $BACKWATCH_CONFIG names one.\n"
        "`backwatch init` writes a first one, `backwatch demo` shows everything on a sample shop."
    )


def find_data(given: Path | None) -> Path | None:
    """The data folder as given, else $BACKWATCH_DATA; None: beside the configuration."""
    if given is None and os.environ.get("BACKWATCH_DATA"):
        return Path(os.environ["BACKWATCH_DATA"])
    return given


def config_options(command: CommandT) -> CommandT:
    """Adds `-c` and `--data`, as parameters `config_path` and `data_dir`."""
    path = click.Path(path_type=Path)
    command = click.option("--data", "data_dir", type=path, metavar="DIR", help="folder of the store")(command)
    return click.option(
        "-c", "--config", "config_path", type=path, metavar="FILE", help=f"configuration, or folder of them [{NAME}]"
    )(command)


def load(config_path: Path | None, data_dir: Path | None) -> "Config":
    """The configuration that the options mean; its secrets are masked in the log from here on. Raises Refusal."""
    config, _ = load_with(_load_probes, config_path, data_dir)
    return config


def load_with(loader: Loader, config_path: Path | None, data_dir: Path | None) -> "tuple[Config, tuple[str, ...]]":
    """The same with a loader that reads more of it; returns warnings too."""
    from probes.document import ConfigError

    source = find_config(config_path)
    try:
        config, warnings = loader(source, find_data(data_dir))
    except ConfigError as error:
        raise Refusal(f"the configuration {source} is broken:\n{error}") from error
    logs.mask(config.document.secrets)
    return config, warnings


def with_config(command: Callable[..., Any]) -> Callable[..., Any]:
    """Click decorator: the command gets a loaded `config`, from `-c` or wherever one is found."""

    @functools.wraps(command)
    def run(*args: Any, config_path: Path | None, data_dir: Path | None, **kwargs: Any) -> Any:
        return command(*args, config=load(config_path, data_dir), **kwargs)

    return config_options(run)


def _load_probes(source: Path, data_dir: Path | None) -> "tuple[Config, tuple[str, ...]]":
    from probes.config import load_config

    return load_config(source, data_dir=data_dir), ()


def load_apart(source: Path, data_dir: Path | None) -> "tuple[Config, tuple[str, ...]]":
    """The loader of a process that lasts and wants to stay small."""
    from probes.config_apart import load_config_apart

    return load_config_apart(source, data_dir=data_dir), ()


def whole_loader() -> Loader:
    """The loader of the front door, which reads the alerts' sections too; else what probes knows."""
    found = click.get_current_context().find_root().obj
    return found if callable(found) else _load_probes
