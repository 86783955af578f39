"""Ask now: runs checks at once, outside any schedule, and hands over each result as it comes."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from probes.loop import Loop
from probes.prober import Prober, now_ms
from probes.redact import clean
from probes.result import Result
from probes.target import Check

_MOST_AT_ONCE = 200


def ask_now(
    checks: Sequence[Check],
    location: str = "here",
    mask: Callable[[str], str] = str,
    threads: int = 16,
) -> Iterator[Result]:
    """Every check's result, in the order of the answers; `mask` hides secrets in messages.

    Never raises for what a target does. A single run has no earlier reading: rates and windowed ratios are missing.
    """
    loop = Loop()
    prober = Prober(loop, location, lambda text: clean(mask(text)), threads)
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
