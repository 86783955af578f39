"""Ask now: runs checks at once, outside any schedule, and hands over each result as it comes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from probes.evidence import each_text, hide
from probes.loop import Loop
from probes.probe import Reading
from probes.prober import Memory, Prober, now_ms
from probes.redact import clean
from probes.result import Result
from probes.runner import gather
from probes.target import Check

_MOST_AT_ONCE = 200
OnHops = Callable[[str, Sequence[Mapping[str, Any]]], object]


class _Onlooker(Prober):
    """Tells what hops a run made, a good one's too: a worker, which runs thousands, has no time for that."""

    on_hops: OnHops | None = None

    def conclude(self, check: Check, memory: Memory, slot_ms: int, started_ms: int, reading: Reading) -> Result:
        """The same, told before."""
        if self.on_hops is not None and (hops := gather(reading).get("hops")):
            self.on_hops(check.id, each_text(hops, lambda text: hide(self.mask(text))))
        return super().conclude(check, memory, slot_ms, started_ms, reading)


def ask_now(
    checks: Sequence[Check],
    location: str = "here",
    mask: Callable[[str], str] = str,
    threads: int = 16,
    on_hops: OnHops | None = None,
) -> Iterator[Result]:
    """Every check's result, in the order of the answers; `mask` hides secrets in messages.

    `on_hops` is told before, by the check's id, of the requests that redirects led to, as evidence tells of them.

    Never raises for what a target does. A single run has no earlier reading: rates and windowed ratios are missing.
    """
    loop = Loop()
    prober = _Onlooker(loop, location, lambda text: clean(mask(text)), threads)
    prober.mask, prober.on_hops = mask, on_hops
    waiting, done = list(reversed(checks)), list[Result]()
    left = len(waiting)
    try:
        while left:
            while waiting and prober.in_flight < _MOST_AT_ONCE:
                check = waiting.pop()
                loop.call_soon(partial(prober.start, check, now_ms(), done.append))
                loop.turn(0)
            if not done:
                loop.turn()
            while done:
                left -= 1
                yield done.pop(0)
    finally:
        prober.close()
        loop.close()
