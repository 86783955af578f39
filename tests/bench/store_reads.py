"""How fast are the reads of the results store? Prints them as multiples of a trivial SELECT, as `store_table.py` does.

python tests/bench/store_reads.py [--slow 998] [--every 600] [--rounds 3]

Two checks at 10 s and `slow` ones every `every` seconds over a day, packed and rolled up here; older rollups copies.
Building takes a minute instead of the hour of the whole table; what is read of one check is as much as there.
"""

import argparse
import tempfile
from itertools import islice
from pathlib import Path

from sqlalchemy import Engine
from store_gauge import reads_ms
from store_site import DAY, HOUR, T0, Site, copy_rollups, open_hour

from probes.store.database import open_database
from probes.store.results import ResultWriter
from probes.store.rollups import roll_up
from probes.store.schema import upgrade
from probes.store.summary import write_summaries

FAST = 600
"""Checks that came every 10 s in the open hour."""


def build(engine: Engine, slow: int, every_s: int) -> str:
    """Write a day of results and roll it up; returns the check at 10 s that is read."""
    site = Site(2, slow)
    site.checks[2:] = [(check_id, every_s * 1000) for check_id, _ in site.checks[2:]]
    writer, stream = ResultWriter(engine), site.results(T0 + DAY)
    while batch := list(islice(stream, 2000)):
        writer.save(batch)
    roll_up(engine, T0 + DAY + 130_000)
    copy_rollups(engine, T0)
    write_summaries(engine, T0 + DAY)
    # The open hour: what is looked at every few seconds has results that no summary counts yet.
    for batch in open_hour(site, FAST, T0 + DAY):
        writer.save(batch)
    return site.checks[1][0]


def main(slow: int, every_s: int, rounds: int) -> None:
    """Build, read, print."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'bench.db'}"
        upgrade(url)
        engine = open_database(url)
        check_id = build(engine, slow, every_s)
        for _ in range(rounds):
            trivial_ms, reads = reads_ms(engine, check_id, T0 + DAY + HOUR // 2)
            said = ", ".join(f"{label} {ms / trivial_ms:.1f} × ({ms:.1f} ms)" for label, ms in reads.items())
            print(f"trivial {trivial_ms:.2f} ms of CPU; {said}", flush=True)
        engine.dispose()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slow", type=int, default=998)
    parser.add_argument("--every", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    main(given.slow, given.every, given.rounds)
