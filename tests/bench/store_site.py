"""What the benches of the store write: a site whose checks answer as real ones do, and older sums of the same."""

import math
import random
from collections.abc import Iterator
from heapq import merge

from sqlalchemy import Engine, text

from probes.result import Phases, Reason, Result, Status
from probes.store.tables import rollup_h
from probes.store.upkeep import Ages

HOUR, DAY = 3_600_000, 86_400_000
T0 = 1_760_000_000_000 // DAY * DAY
AGES = Ages(14 * 86400, 90 * 86400, 730 * 86400)
POOL = 8192


class Site:
    """Checks that answer as real ones do: five phases, each with its own noise, one answer in 200 an error."""

    def __init__(self, fast: int, slow: int) -> None:
        self._chance = random.Random(1)
        self.checks = [
            (f"shop/target-{number}/http", 10_000 if number < fast else 60_000) for number in range(fast + slow)
        ]
        self._pools = [self._pool(0.02 * 1.15**number) for number in range(20)]
        self._picks = [random.Random(number).getrandbits for number in range(fast + slow)]

    def results(self, until_ms: int) -> Iterator[Result]:
        """Every result in order of arrival."""
        return merge(*(self._of(number, until_ms) for number in range(len(self.checks))), key=lambda one: one.slot_ms)

    def answer(self, number: int, slot_ms: int) -> Result:
        """The next result of a check."""
        check_id, pick = self.checks[number][0], self._picks[number]
        duration_s, phases, late_ms = self._pools[number % len(self._pools)][pick(13)]
        if pick(9) < 3:
            return Result(check_id, "default", slot_ms, slot_ms + late_ms, Status.DOWN, Reason.HTTP_STATUS,
                          "status 503, expected 200", duration_s, 503, phases)  # fmt: skip
        return Result(check_id, "default", slot_ms, slot_ms + late_ms, Status.UP, None, "", duration_s, 200, phases)

    def offset_ms(self, number: int) -> int:
        """Where in its interval a check runs."""
        return random.Random(number).randrange(self.checks[number][1])

    def _of(self, number: int, until_ms: int) -> Iterator[Result]:
        for slot_ms in range(T0 + self.offset_ms(number), until_ms, self.checks[number][1]):
            yield self.answer(number, slot_ms)

    def _pool(self, ttfb_s: float) -> list[tuple[float, Phases, int]]:
        noise = self._chance.lognormvariate
        made = []
        for _ in range(POOL):
            middles = ((0.0009, 0.25), (0.0018, 0.15), (0.006, 0.15), (ttfb_s, 0.3), (0.0003, 0.4))
            phases = [noise(math.log(middle), spread) for middle, spread in middles]
            made.append((sum(phases) + noise(-8.8, 0.3), Phases(*phases), int(noise(1, 0.8))))
        return made


def open_hour(site: Site, fast: int, from_ms: int) -> Iterator[list[Result]]:
    """Half an hour that is not over, in batches: `fast` checks at 10 s, the others at 60 s."""
    for second in range(0, HOUR // 2, 10_000):
        due = site.checks if second % 60_000 == 0 else site.checks[:fast]
        yield [
            Result(check_id, "default", at_ms, at_ms, Status.UP, None, "", 0.05, 200)
            for at_ms, (check_id, _) in enumerate(due, from_ms + second + 3)
        ]


def copy_rollups(engine: Engine, last_day_ms: int) -> None:
    """Make 90 days of hours for ten checks and a year of days for all, of what was measured."""
    few = "SELECT id FROM series WHERE check_id LIKE 'shop/target-_/http'"
    hours = ", ".join(column.name for column in rollup_h.c if column.name != "bucket_ms")
    with engine.begin() as connection:
        for table, width, count, where in (
            ("rollup_h", DAY, 90, f"AND series_id IN ({few})"),
            ("rollup_d", DAY, 365, ""),
        ):
            for age in range(1, count):
                connection.execute(
                    text(
                        f"INSERT OR IGNORE INTO {table} (bucket_ms, {hours}) "
                        f"SELECT bucket_ms - {age * width}, {hours} FROM {table} "
                        f"WHERE bucket_ms >= {last_day_ms} AND bucket_ms < {last_day_ms + DAY} {where}"
                    )
                )
