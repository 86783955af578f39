"""Starts a program that must not outlive its parent: `tether.py PARENT_PID COMMAND…`. Only the standard library.

The kernel sends the signal, however the parent dies; the setting survives exec, so the program need not know of it.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent and become the program."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        # It may have died before we asked.
        if os.getppid() != parent:
            sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - no shell on purpose


if __name__ == "__main__":
    main()
