"""Has the configuration changed on disk? A broken one leaves the running one in force and says so."""

import logging
from collections.abc import Callable
from pathlib import Path

from probes.config import Config, ConfigError
from probes.config_apart import load_config_apart

log = logging.getLogger(__name__)

Stamp = tuple[tuple[str, int, int], ...]


class ConfigWatch:
    """`look` is called every second from a thread of its own; a new configuration goes to `on_change`."""

    def __init__(self, config: Config, on_change: Callable[[Config], object]) -> None:
        self._config = config
        self._on_change = on_change
        self._stamp = stamp_of(config.source)
        self._forced = False
        self.trouble = ""
        """Sentence for people while the file on disk is broken."""

    def force(self) -> None:
        """Read again at the next look, changed or not (SIGHUP)."""
        self._forced = True

    def look(self) -> None:
        """Compare, and load what is different."""
        stamp = stamp_of(self._config.source)
        if stamp == self._stamp and not self._forced:
            return
        forced, self._forced, self._stamp = self._forced, False, stamp
        try:
            config = load_config_apart(self._config.source, data_dir=self._config.data_dir, before=self._config)
        except (ConfigError, OSError) as error:
            self.trouble = f"The configuration was not reloaded, the old one stays in force: {error}"
            log.error("%s", self.trouble)
            return
        self.trouble = ""
        if forced or config.digest != self._config.digest:
            self._config = config
            self._on_change(config)


def stamp_of(source: Path) -> Stamp:
    """What of a file, or of a directory of files, shows that it was changed: name, modification time, size."""
    files = sorted(source.iterdir()) if source.is_dir() else [source]
    stamp = []
    for file in files:
        try:
            seen = file.stat()
        except OSError:
            continue
        stamp.append((file.name, seen.st_mtime_ns, seen.st_size))
    return tuple(stamp)
