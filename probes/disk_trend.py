"""How full are the disks, and when will they be full if they go on filling as they do now?"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from probes.probe import Failure
from probes.result import Reason

# Images that are full by nature.
_READ_ONLY_KINDS = {"squashfs", "iso9660", "udf", "erofs", "cramfs"}
MIN_SAMPLES = 5
LONGEST_S = 365 * 86400.0


@dataclass(frozen=True, slots=True)
class Usage:
    """One disk now, counted as an ordinary user meets it: room reserved for root is not free."""

    mount: str
    used_ratio: float
    free_bytes: float
    inodes_used_ratio: float | None


@dataclass(frozen=True, slots=True)
class Trend:
    """Free bytes of one disk over time: pairs of (monotonic seconds, bytes), oldest first."""

    samples: tuple[tuple[float, float], ...] = ()

    def then(self, at_s: float, free_bytes: float, window_s: float) -> "Trend":
        """The trend with another sample, what is older than the window dropped."""
        kept = tuple(sample for sample in self.samples if at_s - sample[0] <= window_s)
        return Trend((*kept, (at_s, free_bytes)))

    def full_s(self) -> float | None:
        """Seconds until nothing is free, by the least-squares slope; None where it does not fill or is not known."""
        if len(self.samples) < MIN_SAMPLES:
            return None
        n = len(self.samples)
        mean_t = sum(t for t, _ in self.samples) / n
        mean_free = sum(free for _, free in self.samples) / n
        spread = sum((t - mean_t) ** 2 for t, _ in self.samples)
        if spread <= 0:
            return None
        slope = sum((t - mean_t) * (free - mean_free) for t, free in self.samples) / spread
        if slope >= 0:
            return None
        left_s = self.samples[-1][1] / -slope
        return left_s if left_s <= LONGEST_S else None


def disks(mounts: Sequence[str]) -> tuple[Usage, ...]:
    """The disks at these mount points, or all local ones. Raises Failure for one that cannot be read."""
    return tuple(_usage(mount) for mount in (mounts or _local_mounts()))


def _local_mounts() -> list[str]:
    found: dict[str, str] = {}
    for partition in psutil.disk_partitions(all=False):
        if partition.fstype not in _READ_ONLY_KINDS and "ro" not in partition.opts.split(","):
            found.setdefault(partition.device, partition.mountpoint)  # bind mounts show the same disk again
    return list(found.values()) or ["/"]


def _usage(mount: str) -> Usage:
    try:
        told = os.statvfs(mount)
    except OSError as error:
        raise Failure(Reason.VALUE_LIMIT, f"disk {mount}: {error.strerror}") from error
    used = (told.f_blocks - told.f_bfree) * told.f_frsize
    free = told.f_bavail * told.f_frsize
    return Usage(
        mount=mount,
        used_ratio=used / (used + free) if used + free else 0.0,
        free_bytes=float(free),
        inodes_used_ratio=1 - told.f_favail / told.f_files if told.f_files else None,
    )
