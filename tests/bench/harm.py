"""What happens to the store, at its full length: `python tests/bench/harm.py`, about a quarter of an hour.

Runs the tests of tests/e2e that harm the store with real processes (a full disk, which needs the right to mount one; a
reader's snapshot for five minutes; a foreign lock for a minute; a truncated log; flipped pages) and prints a line for
each: what was done, how long probing paused, results lost, what was told.
"""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1] / "e2e"
FULL = {
    "BACKWATCH_HARM_LOCK_S": "60",
    "BACKWATCH_HARM_READER_S": "300",
    "BACKWATCH_HARM_DISK_S": "60",
    "BACKWATCH_HARM_CHECKS": "40",
}


def main() -> int:
    command = [sys.executable, "-m", "pytest", "-n", "0", "-s", "-q", TESTS / "test_harm.py", TESTS / "test_damage.py"]
    with subprocess.Popen(command, env={**os.environ, **FULL}, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if "harm: " in line:
                print(line.partition("harm: ")[2], end="", flush=True)
    if process.returncode:
        print("".join(said))
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
