"""Messages as lines of the process' own log: for a start, and for machines whose log is watched."""

import logging

from alerts.message import Message, lines
from alerts.notifier import Notifier, notifier

log = logging.getLogger("alerts.notifications")


@notifier("log")
class LogNotifier(Notifier):
    """Writes each message to the log, pages as errors."""

    def send(self, message: Message) -> None:
        """One line for the subject, one for the rest."""
        level = logging.ERROR if message.status == "firing" and message.severity == "page" else logging.WARNING
        log.log(level, "%s | %s", message.subject, " | ".join(line.strip() for line in lines(message)[1:] if line))
