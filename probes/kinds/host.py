"""How well is the machine that the worker runs on: CPU, memory, disks and when they will be full, a process?"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import psutil
from pydantic import Field

from probes.counters import Sample, Window, known
from probes.disk_trend import Trend, Usage, disks
from probes.duration import Duration
from probes.probe import Ask, BlockingProbe, Expect, Failure, Metric, Options, Reading, probe
from probes.result import Reason

FILE_NR = Path("/proc/sys/fs/file-nr")
_CPU_SAMPLE_S = 0.2
_MOST_PROCESSES = 8


class HostOptions(Options):
    """What to look at beside CPU, memory and network."""

    disks: tuple[str, ...] = Field((), description="Mount points to watch; without it: all local disks")
    process: str | None = Field(None, min_length=1, description="Name of a process to watch, as `nginx`")
    disk_trend: Duration = Field(3600.0, ge=60, description="Over how long the filling of disks is measured")


class HostExpect(Expect):
    """What must run."""

    min_processes: int = Field(1, ge=0, description="At least so many processes of the name in `process`")


@dataclass(frozen=True, slots=True)
class _Carry:
    window: Window = field(default_factory=Window)
    trends: Mapping[str, Trend] = field(default_factory=dict)
    process_started_s: float | None = None


@probe("host")
class HostProbe(BlockingProbe):
    """Reads the machine's own counters through psutil; on Linux from /proc."""

    Options = HostOptions
    Expect = HostExpect
    driver = "psutil"
    account = "none; open files of foreign processes only as root"
    measures = True
    metrics: ClassVar = {
        "cpu_used_ratio": Metric("Share of CPU time used since the previous run"),
        "cpu_iowait_ratio": Metric("Share of CPU time spent waiting for disks"),
        "cpu_steal_ratio": Metric("Share of CPU time that the hypervisor gave to others"),
        "load_per_core": Metric("Load average of one minute, divided by the number of cores"),
        "memory_used_ratio": Metric("Share of memory that is not available to a new program"),
        "memory_available_bytes": Metric("Memory available without swapping", "below"),
        "swap_used_ratio": Metric("Share of swap space in use"),
        "disk_used_ratio": Metric("Share in use of the fullest disk"),
        "disk_used_ratio:*": Metric("Share in use of one disk, by mount point"),
        "disk_free_bytes": Metric("Room left on the disk that has least", "below"),
        "disk_full_s": Metric("Seconds until the first disk is full at this rate; absent if none fills", "below"),
        "disk_full_s:*": Metric("The same for one disk, by mount point", "below"),
        "inodes_used_ratio": Metric("Share of inodes in use on the disk that has fewest left"),
        "network_errors_per_s": Metric("Packets a second with errors or dropped, all interfaces"),
        "network_received_bytes_per_s": Metric("Bytes a second received"),
        "network_sent_bytes_per_s": Metric("Bytes a second sent"),
        "open_files_ratio": Metric("Share of the kernel's file handles in use"),
        "temperature_c": Metric("Highest temperature of any sensor"),
        "uptime_s": Metric("Seconds since the machine started", "below"),
        "processes": Metric("Processes of the name asked for", "below"),
        "process_rss_bytes": Metric("Resident memory of those processes together"),
        "process_open_files": Metric("File handles of those processes together"),
        "process_uptime_s": Metric("Seconds since the oldest of them started", "below"),
        "process_restarted": Metric("1 when the oldest of them started after the previous run"),
    }

    options: HostOptions
    expect: HostExpect

    def describe(self) -> str:
        """`this host`, and the process where one is watched."""
        return f"this host and its process {self.options.process}" if self.options.process else "this host"

    def run(self, ask: Ask) -> Reading:
        """Reads everything; what the platform does not have is left out."""
        last = ask.last.carry if ask.last and isinstance(ask.last.carry, _Carry) else _Carry()
        now_s = time.monotonic()
        window = last.window.then(_counters(now_s), ask.interval_s)
        usages = disks(self.options.disks)
        trends = {
            usage.mount: last.trends.get(usage.mount, Trend()).then(now_s, usage.free_bytes, self.options.disk_trend)
            for usage in usages
        }
        metrics = {**_memory(), **_rates(window), **_disks(usages, trends)}
        started_s = self._processes(metrics, last.process_started_s)
        return Reading(metrics=metrics, carry=_Carry(window, trends, started_s), evidence=_top_processes)

    def _processes(self, metrics: dict[str, float], last_started_s: float | None) -> float | None:
        if self.options.process is None:
            return None
        everything = psutil.process_iter(["name", "create_time", "memory_info", "num_fds", "status"])
        found = [
            entry
            for entry in everything
            if entry.info["name"] == self.options.process and entry.info["status"] != psutil.STATUS_ZOMBIE
        ]
        metrics["processes"] = float(len(found))
        if len(found) < self.expect.min_processes:
            least = self.expect.min_processes
            text = f"{len(found)} processes named {self.options.process} run, expected at least {least}"
            raise Failure(Reason.VALUE_LIMIT, text, metrics=metrics)
        if not found:
            return None
        started_s = min(float(entry.info["create_time"]) for entry in found)
        handles = [entry.info["num_fds"] for entry in found]
        metrics["process_rss_bytes"] = float(sum(entry.info["memory_info"].rss for entry in found))
        metrics["process_uptime_s"] = max(0.0, time.time() - started_s)
        if None not in handles:
            metrics["process_open_files"] = float(sum(handles))
        if last_started_s is not None:
            # psutil works the start out from the boot time, which wobbles by less than a second.
            metrics["process_restarted"] = float(started_s - last_started_s > 1)
        return started_s


def _top_processes() -> Mapping[str, Any]:
    """Who uses CPU and memory most. Names only: command lines may hold passwords."""
    everything = list(psutil.process_iter(["pid", "name", "username", "memory_info"]))
    for entry in everything:
        _cpu(entry)
    time.sleep(_CPU_SAMPLE_S)
    shares = [(_cpu(entry), entry.info) for entry in everything]
    by_cpu = sorted(shares, key=lambda share: -share[0])[:_MOST_PROCESSES]
    by_memory = sorted(shares, key=lambda share: -_rss_bytes(share[1]))[:_MOST_PROCESSES]
    return {
        "top_cpu": [f"{_name_of(info)}: {share:.0f} % of a core" for share, info in by_cpu],
        "top_memory": [f"{_name_of(info)}: {_rss_bytes(info) / 2**20:.0f} MiB" for _, info in by_memory],
    }


def _cpu(entry: psutil.Process) -> float:
    try:
        return float(entry.cpu_percent())
    except psutil.Error:  # gone meanwhile
        return 0.0


def _rss_bytes(info: Mapping[str, Any]) -> float:
    return float(info["memory_info"].rss) if info["memory_info"] else 0.0


def _name_of(info: Mapping[str, Any]) -> str:
    return f"{info['name']} ({info['pid']}, {info['username'] or '?'})"


def _counters(now_s: float) -> Sample:
    cpu = psutil.cpu_times()
    # Linux counts guests' time within user and nice already.
    total = sum(cpu) - getattr(cpu, "guest", 0.0) - getattr(cpu, "guest_nice", 0.0)
    iowait = getattr(cpu, "iowait", 0.0)
    counters = {
        "total": total,
        "used": total - cpu.idle - iowait,
        "iowait": iowait,
        "steal": getattr(cpu, "steal", 0.0),
    }
    if network := psutil.net_io_counters():
        counters["received"] = float(network.bytes_recv)
        counters["sent"] = float(network.bytes_sent)
        counters["errors"] = float(network.errin + network.errout + network.dropin + network.dropout)
    return Sample(now_s, (psutil.boot_time() // 10,), counters)


def _rates(window: Window) -> dict[str, float]:
    total = window.since_last("total")
    shares = {f"cpu_{name}_ratio": window.since_last(name) if total else None for name in ("used", "iowait", "steal")}
    ratios = {name: None if part is None or not total else min(1.0, part / total) for name, part in shares.items()}
    return known(
        {
            **ratios,
            "network_errors_per_s": window.per_s("errors"),
            "network_received_bytes_per_s": window.per_s("received"),
            "network_sent_bytes_per_s": window.per_s("sent"),
        }
    )


def _memory() -> dict[str, float]:
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    metrics = {
        "memory_used_ratio": 1 - memory.available / memory.total,
        "memory_available_bytes": float(memory.available),
        "load_per_core": os.getloadavg()[0] / (psutil.cpu_count() or 1),
        "uptime_s": time.time() - psutil.boot_time(),
    }
    if swap.total:
        metrics["swap_used_ratio"] = swap.used / swap.total
    if FILE_NR.exists():
        used, _, most = (int(word) for word in FILE_NR.read_text().split()[:3])
        metrics["open_files_ratio"] = used / most if most else 0.0
    sensors = psutil.sensors_temperatures() if hasattr(psutil, "sensors_temperatures") else {}
    degrees = [sensor.current for group in sensors.values() for sensor in group]
    return metrics | ({"temperature_c": max(degrees)} if degrees else {})


def _disks(usages: tuple[Usage, ...], trends: Mapping[str, Trend]) -> dict[str, float]:
    metrics = {f"disk_used_ratio:{usage.mount}": usage.used_ratio for usage in usages}
    full = {usage.mount: trends[usage.mount].full_s() for usage in usages}
    metrics |= known({f"disk_full_s:{mount}": left_s for mount, left_s in full.items()})
    inodes = [usage.inodes_used_ratio for usage in usages if usage.inodes_used_ratio is not None]
    soonest = [left_s for left_s in full.values() if left_s is not None]
    return metrics | known(
        {
            "disk_used_ratio": max((usage.used_ratio for usage in usages), default=None),
            "disk_free_bytes": min((usage.free_bytes for usage in usages), default=None),
            "inodes_used_ratio": max(inodes, default=None),
            "disk_full_s": min(soonest, default=None),
        }
    )
