"""Has the wall clock jumped, or did the machine sleep? Compared with the monotonic clock, which does neither."""

import time

JUMP_S = 2.0


class ClockWatch:
    """Notices jumps between two looks; slow correction by the time service passes unnoticed."""

    def __init__(self) -> None:
        self._wall, self._mono = time.time(), time.monotonic()

    def look(self) -> float:
        """Seconds the wall clock has jumped since the last look (negative: back); 0 for less than two."""
        wall, mono = time.time(), time.monotonic()
        jump = (wall - self._wall) - (mono - self._mono)
        self._wall, self._mono = wall, mono
        return jump if abs(jump) >= JUMP_S else 0.0
