"""Garbage is collected by the clock, the youngest often."""

import gc
import subprocess
import sys
import weakref
from collections.abc import Iterator

import pytest

from probes.loop import Loop
from probes.memory import Sweeper


@pytest.fixture
def sweeping() -> Iterator[Loop]:
    before, loop = gc.get_threshold(), Loop()
    Sweeper(loop).start()
    yield loop
    gc.set_threshold(*before)
    gc.unfreeze()
    loop.close()


class Knot:
    """Refers to itself, so that only the collector can take it away."""

    def __init__(self) -> None:
        self.own = self


def turn_for(loop: Loop, seconds: float) -> None:
    until_s = loop.time() + seconds
    while loop.time() < until_s:
        loop.turn(0.05)


def test_young_garbage_is_gone_within_a_second(sweeping: Loop) -> None:
    knot = weakref.ref(Knot())
    assert knot() is not None
    turn_for(sweeping, 0.8)
    assert knot() is None


def test_what_survived_a_first_look_is_gone_after_the_next_seconds(sweeping: Loop) -> None:
    keep = Knot()
    knot = weakref.ref(keep)
    turn_for(sweeping, 0.6)
    del keep
    turn_for(sweeping, 1.2)
    assert knot() is None


def test_a_worker_of_http_checks_imports_nothing_that_only_others_need() -> None:
    """Each of these is 1 to 13 MiB for as long as the worker lives."""
    script = (
        "import sys, probes.commands, probes.worker, probes.config_apart, probes.kinds.http;"
        "heavy = {'alembic', 'aioquic', 'cryptography', 'dns.resolver', 'jsonpath', 're2', 'requests', 'yaml'};"
        "print(*sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", script], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "\n"
