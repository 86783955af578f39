"""What this server works with: the configuration in force, which follows its file, and the store."""

import logging
import threading
from pathlib import Path

from sqlalchemy import Engine

from alerts.config import Alerting, load_all
from probes.config import Config
from probes.document import ConfigError
from probes.store.database import open_database
from probes.target import Estate

log = logging.getLogger(__name__)


class Context:
    """Configuration and store of a running dashboard; one a process."""

    def __init__(self, config_path: Path, data_dir: Path | None) -> None:
        """Raises ConfigError when the configuration does not load."""
        self.config_path = config_path
        self.data_dir = data_dir
        self.config: Config
        self.alerting: Alerting
        self.problem = ""
        self._stamp = _stamp(config_path)
        self.config, self.alerting = load_all(config_path, data_dir)
        # Acknowledgements are promises to people: they are synced to the disk.
        self.engine: Engine = open_database(self.config.database, durable=True)

    @property
    def estate(self) -> Estate:
        """Everything that is watched."""
        return self.config.estate

    def follow(self) -> bool:
        """Load the configuration again if its files changed; a broken one is kept out and said in `problem`."""
        stamp = _stamp(self.config_path)
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            self.config, self.alerting = load_all(self.config_path, self.data_dir)
        except (ConfigError, OSError) as error:
            self.problem = f"The changed configuration is broken, the one before stays in force: {error}"
            log.warning("configuration not taken over: %s", error)
            return False
        self.problem = ""
        log.info("configuration taken over", extra={"digest": self.config.digest})
        return True


def _stamp(path: Path) -> tuple[tuple[str, int, int], ...]:
    files = sorted(path.glob("*.y*ml")) if path.is_dir() else [path]
    found = []
    for file in files:
        try:
            facts = file.stat()
        except OSError:
            continue
        found.append((str(file), facts.st_mtime_ns, facts.st_size))
    return tuple(found)


_lock = threading.Lock()
_current: list[Context] = []


def install(context: Context) -> None:
    """Make this the context of the process; pages find it with `current`."""
    with _lock:
        _current[:] = [context]


def current() -> Context:
    """The context of the process. Raises RuntimeError before the server has installed one."""
    if not _current:
        raise RuntimeError("the dashboard's pages run inside its server: start it with `backwatch dashboard`")
    return _current[0]
