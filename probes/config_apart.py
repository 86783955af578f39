"""How does a process that lasts get its configuration? From one that ends, so that nothing stays of the reading.

Text, lines, YAML and validation of 5,000 checks leave 9 MiB of holes in the memory of who reads them, and hold up all
its threads meanwhile. What is handed over is whole and compact.
"""

import pickle
import subprocess
import sys
from pathlib import Path

from probes.config import Config

_READ = """
import pickle, sys
from probes.config import ConfigError, load_config
source, data_dir = pickle.load(sys.stdin.buffer)
try:
    found = load_config(source, data_dir=data_dir).slim()
except (ConfigError, OSError) as error:
    found = error
pickle.dump(found, sys.stdout.buffer, pickle.HIGHEST_PROTOCOL)
"""


def load_config_apart(source: Path, *, data_dir: Path | None = None) -> Config:
    """What `load_config` gives and raises, slim. Raises OSError as well when the other process ends without a word."""
    # In a group of its own, so that Ctrl-C is ours to answer; -P: what lies in the working directory is no module.
    done = subprocess.run(
        [sys.executable, "-P", "-c", _READ],
        input=pickle.dumps((source, data_dir)),
        stdout=subprocess.PIPE,
        check=False,
        process_group=0,
    )
    if done.returncode:
        raise OSError(f"the process that reads the configuration ended with status {done.returncode}")
    found: Config | Exception = pickle.loads(done.stdout)  # noqa: S301  (our own process wrote it)
    if isinstance(found, Exception):
        raise found
    return found
