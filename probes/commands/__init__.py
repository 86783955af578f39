"""The commands of probing: ask now, run a worker, write and check a configuration, look after the store."""

import click

from probes.commands.asking import probe
from probes.commands.finding import Refusal, config_options, find_config, find_data, load, load_with, with_config
from probes.commands.importing import bring_over
from probes.commands.settings import config, init
from probes.commands.storing import db
from probes.commands.working import worker

commands: tuple[click.Command, ...] = (init, config, probe, worker, db, bring_over)

__all__ = [
    "Refusal",
    "bring_over",
    "commands",
    "config_options",
    "find_config",
    "find_data",
    "load",
    "load_with",
    "with_config",
]
