"""A process of the shop: takes its part, logs to its file, and does not outlive its supervisor."""

import argparse
import importlib
import logging
import logging.handlers
import os
import threading
from collections.abc import Callable
from pathlib import Path

from sample_targets.layout import Layout

LOG_BYTES = 1024 * 1024


# Imported on demand: a cache server has no use for a web framework, nor a visitor for a cache server.
PARTS = {
    "dns": ("sample_targets.names", "run_names"),
    "cache": ("sample_targets.cache", "run_cache"),
    "payments": ("sample_targets.payments", "run_payments"),
    "app-1": ("sample_targets.app", "run_app_1"),
    "app-2": ("sample_targets.app", "run_app_2"),
    "lb": ("sample_targets.balancer", "run_balancer"),
    "web": ("sample_targets.web", "run_web"),
    "invoices": ("sample_targets.invoices", "run_invoices"),
    "visitors": ("sample_targets.visitors", "run_visitors"),
    "locker": ("sample_targets.locker", "run_locker"),
}


def main() -> None:
    """Run the part named on the command line until it is told to stop."""
    parser = argparse.ArgumentParser(prog="python -m sample_targets.child")
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--port-base", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    given = parser.parse_args()
    threading.Thread(target=_die_with_supervisor, daemon=True).start()
    _log_to(given.data / "log" / f"{given.part}.log")
    module, function = PARTS[given.part]
    run: Callable[[Layout], None] = getattr(importlib.import_module(module), function)
    try:
        run(Layout(given.data, given.port_base, given.rate))
    except KeyboardInterrupt:
        return


def _die_with_supervisor() -> None:
    """End with the other side of standard input: the kernel closes it however the supervisor dies."""
    while os.read(0, 1):
        pass
    os._exit(1)


def _log_to(path: Path) -> None:
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=1)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


if __name__ == "__main__":
    main()
