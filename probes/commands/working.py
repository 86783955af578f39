"""The commands that run a worker and look after the store."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from probes.commands.finding import Refusal, config_options, load_apart, load_with, with_config
from probes.commands.progress import Progress

if TYPE_CHECKING:
    from probes.config import Config


@click.command()
@config_options
def worker(config_path: Path | None, data_dir: Path | None) -> None:
    """Run a worker: ask every target when it is due and store the answers."""
    from probes.store.database import StoreError
    from probes.store.lock import WorkerLocked
    from probes.worker import run_worker

    config, _ = load_with(load_apart, config_path, data_dir)
    try:
        run_worker(config)
    except (WorkerLocked, StoreError) as error:
        raise Refusal(str(error)) from error


@click.group()
def db() -> None:
    """Look after the store: upgrade, backup, check, vacuum, export, salvage."""


@db.command("upgrade")
@click.option("--no-backup", is_flag=True, help="do not copy an embedded store first")
@with_config
def upgrade_store(config: "Config", no_backup: bool) -> None:
    """Bring the store's tables to this version; an embedded store is copied first."""
    from probes.store.database import StoreError, say_where
    from probes.store.schema import SchemaError, upgrade

    progress = Progress()
    try:
        done = upgrade(config.database, backup=not no_backup, progress=progress)
    except (SchemaError, StoreError) as error:
        raise Refusal(str(error)) from error
    finally:
        progress.close()
    where = say_where(config.database)
    if done.before == done.after:
        click.echo(f"{where} is at schema {done.after} already")
        return
    click.echo(f"{where}: schema {done.before or 'none'} → {done.after}")
    if done.backup:
        click.echo(f"the store as it was before: {done.backup}")


@db.command("backup")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@with_config
def backup_store(config: "Config", file: Path | None) -> None:
    """Copy an embedded store into FILE while everything runs (default: beside the store, with the time)."""
    from probes.store.database import StoreError, database_file, open_database
    from probes.store.maintenance import db_backup

    source = database_file(config.database)
    if file is None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        file = (source or Path("backwatch.db")).with_suffix(f".{stamp}.backup")
    if source is not None and not source.exists():
        raise Refusal(f"there is no store at {source} yet")
    engine, progress = open_database(config.database), Progress()
    try:
        db_backup(engine, file, progress)
    except (StoreError, OSError) as error:
        raise Refusal(str(error)) from error
    finally:
        progress.close()
        engine.dispose()
    click.echo(f"{file} ({file.stat().st_size / 1e6:.1f} MB)")


@db.command("check")
@with_config
def check_store(config: "Config") -> None:
    """Read the whole store and say what is wrong with it; exit 1 if something is."""
    from probes.store.database import StoreError, database_file, open_database, say_where
    from probes.store.integrity import db_check
    from probes.store.schema import SchemaError, check_schema

    source = database_file(config.database)
    if source is not None and not source.exists():
        raise Refusal(f"there is no store at {source} yet")
    engine, progress = open_database(config.database), Progress()
    try:
        check_schema(engine)
        problems = db_check(engine, progress)
    except (SchemaError, StoreError) as error:
        raise Refusal(str(error)) from error
    finally:
        progress.close()
        engine.dispose()
    for problem in problems:
        click.echo(problem)
    if problems:
        raise SystemExit(1)
    click.echo(f"{say_where(config.database)} is in order")
