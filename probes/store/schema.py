"""Does the database have the tables this version needs? Brings it there, or says in words why not."""

import fcntl
import glob
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect, text

from probes.store.database import database_file, is_sqlite, open_database, reading, say_where, writing
from probes.store.maintenance import Progress, db_backup

log = logging.getLogger(__name__)

_UPGRADE = 7_301_446  # number of an advisory lock


class SchemaError(Exception):
    """The database's schema is older, newer or foreign; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What an upgrade did: revisions before and after (None: no tables), and where the backup lies."""

    before: str | None
    after: str
    backup: Path | None = None


def upgrade(database: Engine | str, backup: bool = True, progress: Progress = lambda *_: None) -> Upgrade:
    """Bring the database to this version's schema in one transaction; any number of processes may call it at once.

    A file that holds results is copied first, beside itself: nearly all the time it takes, which `progress` is told
    of. Raises SchemaError for a newer schema, StoreError.
    """
    engine = open_database(database) if isinstance(database, str) else database
    try:
        with _one_at_a_time(engine):
            return _upgrade(engine, backup, progress)
    finally:
        if isinstance(database, str):
            engine.dispose()


def check_schema(engine: Engine) -> None:
    """Raise SchemaError where the schema is not this version's."""
    revision = current_revision(engine)
    if revision is None:
        raise SchemaError(f"{say_where(engine)} has no tables yet: run `backwatch db upgrade`.")
    if revision != newest_revision():
        _refuse_newer(engine, revision)
        raise SchemaError(
            f"{say_where(engine)} has schema {revision}, this version needs {newest_revision()}: "
            "stop the other processes and run `backwatch db upgrade`."
        )


def current_revision(engine: Engine) -> str | None:
    """The database's revision; None where there are no tables."""
    with reading(engine) as connection:
        return MigrationContext.configure(connection).get_current_revision()


def newest_revision() -> str:
    """The revision this version was written for."""
    return _script().get_current_head() or ""


def _upgrade(engine: Engine, backup: bool, progress: Progress) -> Upgrade:
    before, after = current_revision(engine), newest_revision()
    if before == after:
        return Upgrade(before, after)
    if before is not None:
        _refuse_newer(engine, before)
    else:
        _refuse_foreign(engine)
    copy = _back_up(engine, before, progress) if backup and before is not None else None
    with writing(engine) as connection:
        _run(connection)
    log.info("schema upgraded", extra={"before": before, "after": after, "backup": str(copy or "")})
    return Upgrade(before, after, copy)


def _run(connection: Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _back_up(engine: Engine, revision: str, progress: Progress) -> Path | None:
    file = database_file(engine)
    if file is None:
        log.warning("no automatic backup on a server: use pg_dump before an upgrade (%s)", say_where(engine))
        return None
    for part in file.parent.glob(f"{glob.escape(file.name)}.*.backup.part*"):
        part.unlink(missing_ok=True)  # of an upgrade that was killed: we are alone here
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    copy = file.with_name(f"{file.name}.{revision}.{stamp}.backup")
    db_backup(engine, copy, progress)
    return copy


def _refuse_newer(engine: Engine, revision: str) -> None:
    known = {script.revision for script in _script().walk_revisions()}
    if revision not in known:
        raise SchemaError(
            f"{say_where(engine)} was written by a newer Backwatch (schema {revision}; this one knows up to "
            f"{newest_revision()}). Install that version again, or restore the backup made before its upgrade."
        )


def _refuse_foreign(engine: Engine) -> None:
    with reading(engine) as connection:
        tables = set(inspect(connection).get_table_names()) - {"alembic_version"}
    if tables:
        raise SchemaError(
            f"{say_where(engine)} holds tables of another program ({', '.join(sorted(tables)[:3])} …): "
            "give Backwatch a database of its own."
        )


@contextmanager
def _one_at_a_time(engine: Engine) -> Iterator[None]:
    if not is_sqlite(engine):
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("SET lock_timeout = '60s'"))
            connection.execute(text("SELECT pg_advisory_lock(:number)"), {"number": _UPGRADE})
            try:
                yield
            finally:
                connection.execute(text("SELECT pg_advisory_unlock(:number)"), {"number": _UPGRADE})
                connection.execute(text("RESET lock_timeout"))
        return
    file = database_file(engine)
    if file is None:
        yield
        return
    with file.with_name(f"{file.name}.upgrade.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _config() -> Config:
    config = Config()
    folder = Path(__file__).with_name("migrations")
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _script() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())
