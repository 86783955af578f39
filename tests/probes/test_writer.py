"""Results wait in memory while the store refuses them, and none is lost or stored twice."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from probes.result import Evidence, EvidenceKind, Result, Status
from probes.writer import Writer, commit_in_s


def result(number: int) -> Result:
    return Result("shop/web/http", "default", number, number, Status.UP)


def wait_for(done: Callable[[], bool], within_s: float = 20) -> None:
    until = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < until, "not done in time"
        time.sleep(0.01)


def test_results_are_stored_in_batches_soon() -> None:
    batches: list[list[Result]] = []
    writer = Writer(lambda batch: batches.append(list(batch)) or len(batch))
    for number in range(100):
        writer.put(result(number))
    writer.start()
    wait_for(lambda: writer.saved == 100)
    assert writer.stop()
    assert len(batches) <= 2
    assert [one.slot_ms for batch in batches for one in batch] == list(range(100))


def test_store_that_refuses_loses_nothing_and_says_so() -> None:
    kept: list[Result] = []
    broken = threading.Event()
    broken.set()

    def save(batch: Sequence[Result]) -> int:
        if broken.is_set():
            raise OSError("disk is full")
        kept.extend(batch)
        return len(batch)

    writer = Writer(save)
    writer.start()
    for number in range(10):
        writer.put(result(number))
    wait_for(lambda: writer.errors > 0)
    assert "disk is full" in writer.trouble
    wait_for(lambda: writer.waiting == 10)
    writer.put(result(10))
    broken.clear()
    wait_for(lambda: len(kept) == 11)
    assert writer.stop()
    assert [one.slot_ms for one in kept] == list(range(11))
    assert writer.trouble == ""


def test_memory_is_bounded_and_the_newest_are_kept() -> None:
    def refuse(batch: Sequence[Result]) -> int:
        raise OSError("no")

    writer = Writer(refuse, most_waiting=50)
    for number in range(200):
        writer.put(result(number))
    writer.start()
    wait_for(lambda: writer.errors > 0)
    assert writer.waiting == 50
    assert writer.dropped == 150
    writer.stop(0.1)


def test_stop_stores_what_waits() -> None:
    kept: list[Result] = []
    writer = Writer(lambda batch: kept.extend(batch) or len(batch))
    writer.start()
    for number in range(12_000):
        writer.put(result(number))
    assert writer.stop()
    assert len(kept) == 12_000


def test_writer_that_sleeps_stores_what_comes_and_ends_at_once() -> None:
    kept: list[Result] = []
    writer = Writer(lambda batch: kept.extend(batch) or len(batch))
    writer.start()
    time.sleep(0.6)  # a whole period without a result
    writer.put(result(1))
    wait_for(lambda: writer.saved == 1, within_s=3)
    time.sleep(0.6)
    began = time.monotonic()
    assert writer.stop()
    assert time.monotonic() - began < 3
    assert len(kept) == 1


@pytest.mark.parametrize(
    ("now_s", "wait_s"), [(1000.0, 0.06), (1000.05, 0.01), (1000.0601, 0.2499), (1000.25, 0.06), (1000.2, 0.11)]
)
def test_commits_fall_a_quarter_of_a_second_apart_and_after_the_starts(now_s: float, wait_s: float) -> None:
    assert commit_in_s(now_s) == pytest.approx(wait_s)


def test_evidence_is_made_ready_while_it_waits_and_a_fault_in_it_loses_no_result() -> None:
    def broken() -> bytes:
        raise RuntimeError("no")

    made: list[bytes] = []

    def make() -> bytes:
        made.append(b"seen")
        return made[-1]

    kept: list[Result] = []
    writer = Writer(lambda batch: kept.extend(batch) or len(batch))
    for number, one in enumerate((make, broken)):
        evidence = Evidence(EvidenceKind.FIRST, 0, 1, one)
        writer.put(replace(result(number), evidence=evidence))
    writer.start()
    assert writer.stop()
    assert [one.evidence and one.evidence.data for one in kept] == [b"seen", b""]
    assert made == [b"seen"]
