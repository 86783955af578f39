"""How does a process that lasts get its configuration? From one that ends, so that nothing stays of the reading.

Text, lines, YAML and validation of 5,000 checks leave 9 MiB of holes in the memory of who reads them, and hold up all
its threads meanwhile. What is handed over is compact and comes in pieces; of one that is read again, only what is
different now is kept of each piece.
"""

import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import IO, TypeVar

from probes.config import Config, ConfigError, load_config
from probes.target import Check, Estate, Site, Target

_READ = "from probes.config_apart import tell; tell()"
_PIECE = 100
"""Checks that are handed over at once."""

NounT = TypeVar("NounT", Site, Target)


def load_config_apart(source: Path, *, data_dir: Path | None = None, before: Config | None = None) -> Config:
    """What `load_config` gives and raises, slim. Raises OSError as well when the other process ends without a word.

    Sites, targets and checks that stand alike in the configuration before are those of before: what is known of them
    stays with them, and a process that lasts does not lay out its checks anew with each small change.
    """
    # In a group of its own, so that Ctrl-C is ours to answer; -P: what lies in the working directory is no module.
    with subprocess.Popen(
        [sys.executable, "-P", "-c", _READ], stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
    ) as process:
        found = _hear(process, (source, data_dir), before.estate if before else Estate())
    if process.returncode or found is None:
        raise OSError(f"the process that reads the configuration ended with status {process.returncode}")
    if isinstance(found, Exception):
        raise found
    return found


def tell() -> None:
    """The other process: reads what to load from its standard input, and writes the pieces of it to its output."""
    source, data_dir = pickle.load(sys.stdin.buffer)  # noqa: S301  (from the process that started this one)
    try:
        config = load_config(source, data_dir=data_dir).slim()
    except (ConfigError, OSError) as error:
        pickle.dump(error, sys.stdout.buffer)
        return
    checks = iter(config.estate.checks.values())
    pickle.dump(replace(config, estate=replace(config.estate, checks={})), sys.stdout.buffer, pickle.HIGHEST_PROTOCOL)
    while piece := list(islice(checks, _PIECE)):
        pickle.dump(piece, sys.stdout.buffer, pickle.HIGHEST_PROTOCOL)
    pickle.dump([], sys.stdout.buffer)


def _hear(process: subprocess.Popen[bytes], order: object, before: Estate) -> Config | Exception | None:
    """None where it ended before all was said."""
    assert process.stdin is not None  # noqa: S101  (for the type checker: both are pipes)
    assert process.stdout is not None  # noqa: S101
    with suppress(BrokenPipeError, EOFError, pickle.UnpicklingError):
        with process.stdin as orders:
            pickle.dump(order, orders)
        found: Config | Exception = pickle.load(process.stdout)  # noqa: S301  (our own process wrote it)
        if isinstance(found, Exception):
            return found
        return replace(found, estate=_hear_estate(process.stdout, found.estate, before))
    return None


def _hear_estate(told: IO[bytes], estate: Estate, before: Estate) -> Estate:
    """The whole of an estate of which no checks have been told yet."""
    sites = [_older(before.sites.get(name), site) for name, site in estate.sites.items()]
    targets = [_older(before.targets.get(target_id), target) for target_id, target in estate.targets.items()]
    # The keys, too, are those of before: a text here and there would hold whole arenas of memory.
    return Estate(
        {site.name: site for site in sites},
        {target.id: target for target in targets},
        {check.id: check for check in _hear_checks(told, before)},
    )


def _hear_checks(told: IO[bytes], before: Estate) -> Iterator[Check]:
    while piece := pickle.load(told):  # noqa: S301
        for check in piece:
            old = before.checks.get(check.id)
            yield old if old is not None and old.says_the_same(check) else check


def _older(old: NounT | None, new: NounT) -> NounT:
    return old if old is not None and old == new else new
