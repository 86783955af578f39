"""A storm of names whose servers say nothing: thousands of lookups hang at once, and nobody else is held up by it."""

import gc
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from probes.descriptors import most_conversations, raise_limit
from probes.engine import Engine
from probes.kinds.http import Expects, HttpProbe, Options
from probes.loop import Loop
from probes.memory import Sweeper
from probes.name_service import NameService
from probes.probe import Ask, Deadline, Reading
from probes.resolver import Resolver
from probes.result import Reason, Status
from probes.target import Check, Tier

HANGING = 4000
TIMEOUT_S = 2.5
EVERY_S = 0.02
"""Between two healthy checks, one of them by a name that has to be asked for."""
MIB = 1 << 20


class Silence:
    """A name server that answers for alive.example (127.0.0.1, to be forgotten at once), and for no other name."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = self._socket.getsockname()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                query, peer = self._socket.recvfrom(4096)
                if b"\5alive" in query:
                    self._socket.sendto(self._answer(query), peer)

    def _answer(self, query: bytes) -> bytes:
        question = query[12 : query.index(b"\0", 12) + 5]
        is_a = question[-3:-2] == b"\1"
        record = b"\xc0\x0c\0\1\0\1" + bytes(4) + b"\0\4\x7f\0\0\1" if is_a else b""
        return query[:2] + b"\x81\x80\0\1" + bytes([0, is_a]) + bytes(4) + question + record

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def silence() -> Iterator[Silence]:
    made = Silence()
    yield made
    made.close()


@pytest.fixture
def hanging() -> Iterator[int]:
    """How many names can hang at a time here."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = most_conversations(HANGING, raise_limit(), threads=0)
    if count < HANGING // 2:
        pytest.skip(f"the limit of open files bears {count} lookups")
    yield count
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


Outcome = tuple[Status, Reason | None, float]
"""The last: seconds, of a healthy check those it reports, of a hanging one those until it was heard of."""


@dataclass
class Seen:
    """What a storm came to; `late_s` is how late the healthy checks were started.

    `longest_turn_s` is the longest that nobody was heard, in CPU time, which others on the machine do not add to.
    """

    hung: list[Outcome] = field(default_factory=list)
    well: list[Outcome] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    longest_turn_s: float = 0.0
    most: int = 0
    threads: int = 0
    resident: int = 0


class Storm:
    """Starts the hanging checks as a worker does, some at a time, and healthy ones beside them until all is over."""

    def __init__(self, engine: Engine, dead: Sequence[HttpProbe], good: Sequence[HttpProbe]) -> None:
        self._engine, self._loop, self._dead, self._good = engine, engine.loop, dead, good

    def blow(self) -> Seen:
        seen, began = Seen(), self._loop.time()
        for n in range(0, len(self._dead), 16):
            batch = self._dead[n : n + 16]
            self._loop.call_at(began + n / len(self._dead) * TIMEOUT_S / 2, partial(self._begin_all, batch, seen.hung))
        healthy = int(TIMEOUT_S * 1.5 / EVERY_S)
        for n in range(healthy):
            self._loop.call_at(began + n * EVERY_S, partial(self._begin_good, n, began + n * EVERY_S, seen))
        while len(seen.hung) < len(self._dead) or len(seen.well) < healthy:
            assert self._loop.time() < began + 5 * TIMEOUT_S, "the storm does not end"
            turn_began = time.thread_time()
            self._loop.turn(0.05)
            seen.longest_turn_s = max(seen.longest_turn_s, time.thread_time() - turn_began)
            if self._engine.in_flight > seen.most:
                seen.most, seen.threads = self._engine.in_flight, threading.active_count()
        seen.resident = resident_bytes()
        return seen

    def _begin_all(self, batch: Sequence[HttpProbe], into: list[Outcome]) -> None:
        for probe in batch:
            self._begin(probe, TIMEOUT_S, into)

    def _begin_good(self, number: int, due_s: float, seen: Seen) -> None:
        seen.late_s.append(self._loop.time() - due_s)
        self._begin(self._good[number % len(self._good)], TIMEOUT_S, seen.well)

    def _begin(self, probe: HttpProbe, timeout_s: float, into: list[Outcome]) -> None:
        check = Check("shop/web/http", "shop", "web", "http", Tier.WEB, probe, 60, timeout_s, 5, 3, 2)
        began = self._loop.time()

        def note(reading: Reading) -> None:
            took_s = self._loop.time() - began
            seconds = took_s if reading.status is Status.DOWN else reading.duration_s or took_s
            into.append((reading.status, reading.reason, seconds))

        self._engine.start(check, Ask(Deadline(timeout_s), 0, 60), note)


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def share(values: Sequence[float], part: float) -> float:
    return sorted(values)[int(len(values) * part)]


@pytest.fixture
def storm(loop: Loop, silence: Silence, nginx: Any, hanging: int) -> Iterator[Callable[[], Seen]]:
    names = NameService((silence.address,))
    engine = Engine(loop, Resolver(loop, lambda: names))
    Sweeper(loop).start()
    dead = [HttpProbe(Options(url=f"http://dead{number}.example:9/"), Expects()) for number in range(hanging)]
    urls = (nginx.url("plain"), nginx.url("plain").replace("127.0.0.1", "alive.example"))
    good = [HttpProbe(Options(url=url), Expects()) for url in urls]
    yield Storm(engine, dead, good).blow
    engine.close()
    gc.unfreeze()
    gc.set_threshold(700, 10, 10)


@pytest.mark.timeout(90)
def test_thousands_of_silent_names_hold_up_nobody_and_cost_no_thread(storm: Callable[[], Seen], hanging: int) -> None:
    threads, open_before, before = threading.active_count(), descriptors(), resident_bytes()
    rounds = [storm() for _ in range(3)]
    for seen in rounds:
        assert {(status, reason) for status, reason, _ in seen.hung} == {(Status.DOWN, Reason.DNS_TIMEOUT)}
        assert {status for status, *_ in seen.well} == {Status.UP}
        assert seen.most >= 0.9 * hanging, "they did not hang at the same time"
        assert seen.threads == threads
        assert min(seconds for *_, seconds in seen.hung) > TIMEOUT_S - 0.01
    # The calmest of three: a machine that stands still for a moment is no fault of ours.
    assert min(share([seconds for *_, seconds in seen.hung], 0.99) for seen in rounds) < TIMEOUT_S + 0.2
    assert min(share([seconds for *_, seconds in seen.well], 0.5) for seen in rounds) < 0.05
    assert min(share(seen.late_s, 0.5) for seen in rounds) < 0.05
    assert min(seen.longest_turn_s for seen in rounds) < 0.15
    assert descriptors() == open_before
    assert rounds[0].resident - before < 80 * MIB
    assert rounds[2].resident - rounds[0].resident < 6 * MIB
