"""Killed at any step, the store has every result it said it has, each once, and goes on at once."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from sqlalchemy import Engine

from probes.store.integrity import db_check
from probes.store.results import load_results
from probes.store.rollups import roll_up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

KILLS = int(os.environ.get("BACKWATCH_TEST_KILLS", "40"))
T0, MINUTE = 1_760_000_400_000, 60_000
CHECKS = 12
STEPS = ("results", "due", "packing", "rollups", "retention", "summary")
PLACES = ("before", "within", "after")

# Writes a minute of results a batch, some of them late, and keeps up now and then; dies in a transaction of a module,
# or is killed from outside.
WRITER = """
import os, random, signal, sys
from contextlib import contextmanager
from probes.result import Reason, Result, Status
from probes.store import due, packing, results, retention, rollups, summary
from probes.store.database import open_database
from probes.store.session import Session
from probes.store.upkeep import Ages, keep_up

url, first, step, place, after = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5])
packing.PIECE, packing.SLICE, packing.ROWS = 50, 5, 200

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def fatal(begin):
    @contextmanager
    def write(of):
        global after
        after -= 1
        if after < 0 and place == "before":
            die()
        with begin(of) as connection:
            yield connection
            if after < 0 and place == "within":
                die()
        if after < 0 and place == "after":
            die()
    return write

if step:
    room = Session if step == "results" else sys.modules[f"probes.store.{step}"]
    room.writing = fatal(room.writing)
engine = open_database(url)
writer, rnd = results.ResultWriter(engine), random.Random(first)
for batch in range(first, 10**9):
    slot = 1_760_000_400_000 + batch * 60_000
    late = slot - 60_000 * rnd.randrange(1, 300)
    given = [Result(f"shop/t{n}/tcp", "default", slot, slot + 1, rnd.choice(list(Status)), Reason.DEADLINE,
             f"answer {rnd.randrange(40)}", 0.1, metrics={"n": n}) for n in range(12)]
    given += [Result(f"shop/t{n}/tcp", "default", late + 7, late + 7, Status.DOWN) for n in range(3)]
    writer.save(given + given[:2])
    print(batch, late + 7, flush=True)
    if batch % 20 == 0:
        keep_up(engine, Ages(10 * 3600, 90 * 86400, 730 * 86400), slot)
"""


@dataclass
class Book:
    """What the writer was told is kept."""

    next: int = 0
    late: set[int] = field(default_factory=set)
    slowest_start_s: float = 0.0
    slowest_after: str = "the beginning"
    """What killed the writer before the one that was slowest to start."""
    last_death: str = "the beginning"

    def run(self, url: str, step: str, place: str, after: int, seconds: float) -> None:
        """Let a writer work until it dies in a step, or kill it after some seconds."""
        command = [sys.executable, "-c", WRITER, url, str(self.next), step, place, str(after)]
        began = time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            said = [process.stdout.readline()]
            took_s = time.monotonic() - began
            if said[0] and took_s > self.slowest_start_s:
                self.slowest_start_s, self.slowest_after = took_s, self.last_death
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
            said += process.stdout
        self.last_death = f"{place} {step} {after}".strip() if step else "any moment"
        for line in said:
            if line.endswith("\n"):
                batch, late = map(int, line.split())
                self.next = batch + 1
                self.late.add(late)


def plan(rnd: random.Random, kills: int) -> Sequence[tuple[str, str, int]]:
    """Every named point at least once, as far as the number goes; the other half at random times."""
    named = [(step, place, rnd.randrange(6 if step == "results" else 4)) for step in STEPS for place in PLACES]
    rnd.shuffle(named)
    while len(named) < kills // 2:
        named.append((rnd.choice(STEPS), rnd.choice(PLACES), rnd.randrange(40)))
    wild = [("", "", 0)] * (kills - len(named))
    return [*named, *wild][:kills]


def test_killed_at_any_step_it_has_lost_and_doubled_nothing(engine: Engine) -> None:
    rnd, book = random.Random(), Book()
    url = engine.url.render_as_string(hide_password=False)
    kills = KILLS if engine.dialect.name == "sqlite" else max(18, KILLS // 4)
    for number, (step, place, after) in enumerate(plan(rnd, kills)):
        book.run(url, step, place, after, 4.0 if step else rnd.uniform(0.6, 1.6))
        assert db_check(engine) == [], f"kill {number}: {place} {step} {after}"
        held = [one.slot_ms for one in load_results(engine, "shop/t1/tcp", 0, 2**53)]
        assert len(held) == len(set(held))
        since = T0 + book.next * MINUTE - 9 * 3_600_000
        told = {T0 + batch * MINUTE for batch in range(book.next)} | book.late
        lost = {slot for slot in told if slot >= since} - set(held)
        assert not lost, f"kill {number}: {place} {step} {after}"
    roll_up(engine, T0 + book.next * MINUTE + 5 * MINUTE)
    assert db_check(engine) == []
    assert book.next > kills
    assert book.slowest_start_s < 5, f"after {book.slowest_after}"
    print(f"{kills} kills, {book.next} batches, slowest start {book.slowest_start_s:.1f} s after {book.slowest_after}")
