"""How is long work shown? On a terminal as a line that is rewritten, elsewhere as a line now and then; on stderr."""

import sys
import time

import click

_EVERY_S = 10.0


class Progress:
    """Call it as often as you like: `progress("single results", 5000, 20000)`."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._told_at = time.monotonic()
        self._open = False

    def __call__(self, what: str, done: int, total: int) -> None:
        """Tell how far it is, if it was not told just now."""
        if total and done >= total:
            self.close()
            return
        now = time.monotonic()
        every = 0.2 if self._is_terminal else _EVERY_S
        if now - self._told_at < every:
            return
        self._told_at = now
        share = f"{done / total * 100:.0f} %" if total else ""
        line = f"{what}: {done:,} of {total:,} {share}".rstrip()
        if self._is_terminal:
            click.echo(f"\r\x1b[K{line}", err=True, nl=False)
            self._open = True
        else:
            click.echo(line, err=True)

    def close(self) -> None:
        """Clear the line."""
        if self._open:
            click.echo("\r\x1b[K", err=True, nl=False)
            self._open = False
