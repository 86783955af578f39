"""How our processes log: a line per event for people, or JSON on request; secrets of the configuration masked."""

import json
import logging
import sys
from collections.abc import Iterable
from datetime import UTC, datetime

from probes.redact import Redactor, SecretFilter

_PLAIN = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
# What every record has; anything else came in as `extra` and is an id that an operator searches for.
_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}

_handlers: list[logging.Handler] = []


class JsonLines(logging.Formatter):
    """A record as one JSON object a line; `extra` fields stand beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{key: value for key, value in vars(record).items() if key not in _USUAL},
        }
        if record.exc_info or record.exc_text:
            line["traceback"] = record.exc_text or self.formatException(record.exc_info or (None, None, None))
        return json.dumps(line, default=str)


class PlainLines(logging.Formatter):
    """A record as a line for people; `extra` fields follow the message as `key=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        extra = [f"{key}={value}" for key, value in vars(record).items() if key not in _USUAL and value != ""]
        if extra:
            record = logging.makeLogRecord({**vars(record), "msg": f"{record.getMessage()} ({' '.join(extra)})"})
            record.args = None
        return super().format(record)


def set_up(*, as_json: bool = False, level: int = logging.INFO) -> None:
    """Log to stderr from here on. Called once, by the front door."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if as_json else PlainLines(_PLAIN))
    root = logging.getLogger()
    for former in _handlers:
        root.removeHandler(former)
    root.addHandler(handler)
    _handlers[:] = [handler]
    root.setLevel(level)
    # Each migration's step, and each request of a driver, is of no use to an operator.
    for chatty in ("alembic", "urllib3", "mail.log", "asyncio"):
        logging.getLogger(chatty).setLevel(max(level, logging.WARNING))


def mask(secrets: Iterable[str]) -> None:
    """Mask these values in everything that is logged from here on."""
    for handler in _handlers:
        handler.filters[:] = [SecretFilter(Redactor(secrets))]
