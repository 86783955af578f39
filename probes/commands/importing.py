"""The commands that bring another program's configuration and history over."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from probes.commands.finding import NAME, Refusal, find_data, whole_loader
from probes.commands.settings import count

if TYPE_CHECKING:
    from probes.config import Config
    from probes.importing.draft import Draft, Written
    from probes.importing.kuma_file import KumaFile
    from probes.importing.uptime_kuma import Brought

_FILE = click.Path(path_type=Path)
_OUT = click.option(
    "-o", "--output", "output", type=_FILE, default=Path(NAME), show_default=True, help="configuration to write"
)


@click.group("import")
def bring_over() -> None:
    """Bring checks, and where there is any history, over from another program.

    Nothing is overwritten; secrets go into files of their own (mode 0600) beside the configuration; what cannot be
    brought over is listed, here and at the end of the configuration.
    """


@bring_over.command("uptime-kuma")
@click.argument("database", type=_FILE, metavar="KUMA.DB")
@_OUT
@click.option("--data", "data_dir", type=_FILE, metavar="DIR", help="folder of the store")
@click.option("--no-history", is_flag=True, help="only write the configuration")
def bring_uptime_kuma(database: Path, output: Path, data_dir: Path | None, no_history: bool) -> None:
    """Bring monitors, notifications, maintenance and history over from Uptime Kuma (1 or 2; SQLite).

    Where OUTPUT stands already it is left as it is, and the history of the checks that it has is brought over. Call
    it again to bring what came in since.
    """
    from probes.importing.draft import DraftError
    from probes.importing.kuma_file import open_kuma
    from probes.importing.uptime_kuma import read_configuration

    try:
        with open_kuma(database) as kuma:
            brought = read_configuration(kuma, database.name, output.absolute().parent)
            try:
                _write(brought.draft, output)
            except DraftError as error:
                if no_history or not output.exists():
                    raise
                click.echo(f"{error}. Its checks are given their history.")
                _list_losses(brought.draft)
            if not no_history:
                _bring_history(kuma, brought, output, find_data(data_dir))
    except DraftError as error:
        raise Refusal(str(error)) from error


@bring_over.command("gatus")
@click.argument("source", type=_FILE, metavar="CONFIG.YAML")
@_OUT
def bring_gatus(source: Path, output: Path) -> None:
    """Write the endpoints of a Gatus configuration (a file, or a folder of them) as checks."""
    from probes.importing.gatus import read_gatus

    _bring(lambda: read_gatus(source, output.absolute().parent), output)


@bring_over.command("blackbox")
@click.argument("modules", type=_FILE, metavar="BLACKBOX.YML")
@click.argument("prometheus", type=_FILE, metavar="PROMETHEUS.YML")
@_OUT
def bring_blackbox(modules: Path, prometheus: Path, output: Path) -> None:
    """Write the targets that Prometheus probes through blackbox_exporter as checks."""
    from probes.importing.blackbox import read_blackbox

    _bring(lambda: read_blackbox(modules, prometheus, output.absolute().parent), output)


def _bring(read: "Callable[[], Draft]", output: Path) -> None:
    from probes.importing.draft import DraftError

    try:
        _write(read(), output)
    except DraftError as error:
        raise Refusal(str(error)) from error


def _write(draft: "Draft", output: Path) -> "Written":
    from probes.importing.draft import write_draft

    if not draft.checks:
        _list_losses(draft)
        raise Refusal(f"{draft.origin} holds nothing that a check could ask: {output} was not written")
    loader = whole_loader()
    written = write_draft(draft, output.absolute(), lambda path: loader(path, None))
    state = "wrote" if written.new else "unchanged:"
    told = (
        f"{count(draft.checks, 'check')}, {count(len(draft.sites), 'site')}, {count(len(draft.notifiers), 'notifier')}"
    )
    click.echo(f"{state} {output}: {told}")
    if draft.secrets:
        click.echo(f"secrets are in {output.parent / draft.secret_folder}, one file each, for your eyes only")
    _list_losses(draft)
    for warning in written.warnings:
        click.echo(f"still to do: {warning}")
    if written.new:
        option = "" if output == Path(NAME) else f" -c {output}"
        click.echo(f"next:  backwatch config check{option}\n       backwatch probe{option}")
    return written


def _list_losses(draft: "Draft") -> None:
    if draft.losses:
        click.echo(f"not brought over, or not as it was ({len(draft.losses)}):")
        for loss in draft.losses:
            click.echo(f"  {loss}")


def _bring_history(kuma: "KumaFile", brought: "Brought", output: Path, data_dir: Path | None) -> None:
    from probes.commands.progress import Progress
    from probes.importing.kuma_history import bring_history
    from probes.prober import now_ms
    from probes.store.database import StoreError, open_database, say_where
    from probes.store.schema import SchemaError, upgrade

    config = _load(output, data_dir)
    checks = {number: check for number, check in brought.checks.items() if check in config.estate.checks}
    absent = sorted(set(brought.checks.values()) - set(config.estate.checks))
    progress = Progress()
    engine = open_database(config.database)
    try:
        upgrade(engine)
        past = bring_history(kuma, engine, checks, location=config.location, now_ms=now_ms(), progress=progress)
    except (StoreError, SchemaError) as error:
        raise Refusal(f"{error}; the history so far is kept, call this again to go on") from error
    finally:
        progress.close()
        engine.dispose()
    click.echo(
        f"history in {say_where(config.database)}: {past.results:,} results, {past.hours:,} hours and {past.days:,} "
        f"days were new; {past.known:,} results were there already, {past.left:,} have no check or are maintenance"
    )
    click.echo("hours and days that Uptime Kuma has only sums of have uptime and no percentiles")
    for check in absent:
        click.echo(f"  without its history: {check} is not in {output}")


def _load(output: Path, data_dir: Path | None) -> "Config":
    from probes.document import ConfigError

    try:
        config, _ = whole_loader()(output, data_dir)
    except ConfigError as error:
        raise Refusal(f"{output} is broken, no history was brought over:\n{error}") from error
    return config
