"""The commands that make the store smaller, take results out of it, and save what is left of a damaged one."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from probes.commands.finding import Refusal, with_config
from probes.commands.progress import Progress
from probes.commands.working import db

if TYPE_CHECKING:
    from probes.config import Config

__all__ = ["db", "read_time"]


@db.command("vacuum")
@click.option("--full", is_flag=True, help="write the whole file anew: smallest, but writers wait meanwhile")
@with_config
def vacuum_store(config: "Config", full: bool) -> None:
    """Give the room of deleted rows back to the disk; a worker may go on beside it."""
    from probes.store.database import StoreError, open_database, say_where
    from probes.store.maintenance import vacuum

    _refuse_without_store(config)
    engine, progress = open_database(config.database), Progress()
    try:
        done = vacuum(engine, full=full, progress=progress)
    except StoreError as error:
        raise Refusal(str(error)) from error
    finally:
        progress.close()
        engine.dispose()
    sizes = f": {done.before_bytes / 1e6:.1f} MB → {done.after_bytes / 1e6:.1f} MB" if done.before_bytes else ""
    click.echo(f"{say_where(config.database)}{sizes}")
    if done.warning:
        click.echo(f"warning: {done.warning}")


@db.command("export")
@click.argument("file", type=click.Path(path_type=Path), metavar="OUT")
@click.option("--parquet", "form", flag_value="parquet", help="columns for pandas, DuckDB, Spark")
@click.option("--csv", "form", flag_value="csv", help="text")
@click.option("--from", "begin", metavar="TIME", help="2026-03-01 or 2026-03-01T02:00, UTC  [the oldest result]")
@click.option("--to", "end", metavar="TIME", help="the same; up to, and without it  [now]")
@with_config
def export_store(config: "Config", file: Path, form: str | None, begin: str | None, end: str | None) -> None:
    """Write single results to OUT; never overwrites. A worker may go on beside it."""
    from probes.prober import now_ms
    from probes.store.database import StoreError, open_database
    from probes.store.export import ExportError, export_results
    from probes.store.schema import SchemaError, check_schema

    from_ms, to_ms = read_time(begin) if begin else None, read_time(end) if end else now_ms() + 1
    if from_ms is not None and from_ms >= to_ms:
        raise Refusal("--from lies before --to")
    _refuse_without_store(config)
    chosen = form or ("parquet" if file.suffix == ".parquet" else "csv" if file.suffix == ".csv" else None)
    if chosen is None:
        raise Refusal("say --parquet or --csv")
    engine, progress = open_database(config.database), Progress()
    try:
        check_schema(engine)
        written = export_results(
            engine, file, "csv" if chosen == "csv" else "parquet", from_ms, to_ms, progress=progress
        )
    except (StoreError, SchemaError, ExportError) as error:
        raise Refusal(str(error)) from error
    finally:
        progress.close()
        engine.dispose()
    click.echo(f"{file}: {written:,} results, {file.stat().st_size / 1e6:.1f} MB")


@db.command("salvage")
@click.argument("file", type=click.Path(path_type=Path), metavar="NEW")
@with_config
def salvage_store(config: "Config", file: Path) -> None:
    """Copy what can be read of a damaged embedded store into NEW; the damaged one is not touched.

    Exit 1 where something is lost; open incidents that came over are listed.
    """
    from probes.store.database import StoreError, database_file, say_where
    from probes.store.lock import WorkerLock, WorkerLocked
    from probes.store.salvage import salvage

    source = database_file(config.database)
    if source is None:
        raise Refusal(f"{say_where(config.database)} is no file: a server repairs its own")
    _refuse_without_store(config)
    lock, progress = WorkerLock(config.database), Progress()
    try:
        lock.acquire()
        found = salvage(source, file.absolute(), progress)
    except (StoreError, WorkerLocked, OSError) as error:
        raise Refusal(str(error)) from error
    finally:
        lock.release()
        progress.close()
    for one in found.tables:
        if one.rows or one.broken:
            said = (
                f", could not be read in {one.broken} {'place' if one.broken == 1 else 'places'}" if one.broken else ""
            )
            click.echo(f"{one.table:<16} {one.rows:>12,} rows{said}")
    if found.orphans:
        click.echo(f"{found.orphans:,} rows belonged to checks whose names are lost: left out")
    click.echo(f"open incidents that came over: {len(found.open_incidents)}")
    for incident, title in found.open_incidents:
        click.echo(f"  {incident}  {title}")
    if found.lost_incidents:
        click.secho("incidents were lost, open ones may be among them: look at what was sent last", fg="red")
    click.echo(f"next: stop Backwatch, move {source} (and {source.name}-wal) away, and {file} in its place")
    if not found.is_whole:
        raise SystemExit(1)


def read_time(text: str) -> int:
    """Epoch milliseconds of a date or time, UTC where it names no zone. Raises Refusal."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Refusal(f"{text!r} is no time: write 2026-03-01 or 2026-03-01T02:00") from None
    if re.fullmatch(r"[0-9]+", text):
        raise Refusal(f"{text!r} is no time: write 2026-03-01 or 2026-03-01T02:00")
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)


def _refuse_without_store(config: "Config") -> None:
    from probes.store.database import database_file

    source = database_file(config.database)
    if source is not None and not source.exists():
        raise Refusal(f"there is no store at {source} yet")
