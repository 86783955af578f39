"""How well is a Memcached server: memory, connections, evictions, and how often a key was there?"""

import socket
import time
from collections.abc import Mapping
from typing import ClassVar

from probes.address import Counted, Endpoint
from probes.counters import Sample, known, window_of
from probes.dial import CutOff, after_reset, dial, shown, tcp_failure
from probes.probe import Ask, BlockingProbe, Deadline, Failure, Metric, Reading, probe
from probes.result import Reason

MAX_ANSWER_BYTES = 256 * 1024
GAUGES = {
    "uptime": "uptime_s",
    "curr_connections": "connections_used",
    "max_connections": "connections_max",
    "bytes": "used_memory_bytes",
    "limit_maxbytes": "max_memory_bytes",
    "curr_items": "keys",
}
# Uptime stands among the counters because a restart makes it fall, even where the process id stays (containers).
COUNTERS = ("uptime", "get_hits", "get_misses", "evictions", "listen_disabled_num", "cmd_get", "cmd_set")
RATES = {"evictions": "evicted_per_s", "listen_disabled_num": "listen_disabled_per_s"}


class MemcachedOptions(Counted, Endpoint):
    """Which server to ask."""

    ports: ClassVar = {"memcached": 11211, "memcache": 11211}


@probe("memcached")
class MemcachedProbe(BlockingProbe):
    """Connects afresh, asks for the version, then for the statistics, in the text protocol."""

    Options = MemcachedOptions
    account = "none: the text protocol has no accounts"
    measures = True
    metrics: ClassVar = {
        "ping_s": Metric("Seconds for `version`"),
        "query_s": Metric("Seconds for `stats`"),
        "uptime_s": Metric("Seconds since the server started", "below"),
        "hit_ratio": Metric("Share of gets that found a key, over the window", "below"),
        "evicted_per_s": Metric("Items a second thrown out for want of memory"),
        "listen_disabled_per_s": Metric("Times a second that the limit of connections was hit"),
        "commands_per_s": Metric("Gets and sets a second"),
        "used_memory_bytes": Metric("Memory in items"),
        "max_memory_bytes": Metric("Memory it may use for items", "below"),
        "memory_used_ratio": Metric("used_memory_bytes / max_memory_bytes"),
        "connections_used": Metric("Connections open"),
        "connections_max": Metric("Connections that may be open", "below"),
        "connections_used_ratio": Metric("connections_used / connections_max"),
        "keys": Metric("Items stored", "below"),
    }

    options: MemcachedOptions

    def describe(self) -> str:
        """`memcached host:port`."""
        return f"memcached {self.options.where().place}"

    def run(self, ask: Ask) -> Reading:
        """Fails for connecting and `version`; both commands need no rights."""
        where = self.options.where()
        line = dial(where.host, where.port, ask.deadline, self.options.allow_addresses)
        metrics: dict[str, float] = {}
        with line.sock, CutOff(ask.deadline, line.sock.fileno(), f"waiting for {where.place}"):
            try:
                metrics["ping_s"] = _version(line.sock, ask.deadline)
                started = time.monotonic()
                told = _stats(line.sock, ask.deadline)
                metrics["query_s"] = time.monotonic() - started
            except OSError as error:
                failure = tcp_failure(error, where.place, line.phases)
                raise after_reset(failure, where.host, where.port, ask.deadline) from error
            except Failure as failure:
                raise Failure(
                    failure.reason, f"{where.place}: {failure.message}", phases=line.phases, metrics=metrics
                ) from failure
        counters = {name: float(told[name]) for name in COUNTERS if name in told}
        sample = Sample(time.monotonic(), (told.get("pid"),), counters)
        window = window_of(ask.last.carry if ask.last else None).then(sample, ask.interval_s, self.options.window)
        hit_ratio = window.ratio("get_hits", "get_misses", min_operations=self.options.min_operations)
        gets, sets = window.per_s("cmd_get"), window.per_s("cmd_set")
        metrics |= _gauges(told)
        metrics |= known({"hit_ratio": hit_ratio, **{name: window.per_s(key) for key, name in RATES.items()}})
        metrics |= known({"commands_per_s": None if gets is None or sets is None else gets + sets})
        duration_s = sum(filter(None, (line.phases.dns_s, line.phases.connect_s, metrics["ping_s"])))
        return Reading(duration_s=duration_s, phases=line.phases, metrics=metrics, carry=window)


def _gauges(told: Mapping[str, str]) -> dict[str, float]:
    metrics = {metric: float(told[name]) for name, metric in GAUGES.items() if name in told}
    for ratio, part, whole in (
        ("memory_used_ratio", "used_memory_bytes", "max_memory_bytes"),
        ("connections_used_ratio", "connections_used", "connections_max"),
    ):
        if part in metrics and metrics.get(whole):
            metrics[ratio] = metrics[part] / metrics[whole]
    return metrics


def _version(sock: socket.socket, deadline: Deadline) -> float:
    started = time.monotonic()
    answer = _command(sock, b"version", b"\r\n", deadline)
    if not answer.startswith(b"VERSION "):
        raise _protocol_error(answer)
    return time.monotonic() - started


def _stats(sock: socket.socket, deadline: Deadline) -> dict[str, str]:
    answer = _command(sock, b"stats", b"END\r\n", deadline).decode(errors="replace")
    rows = [line.split(" ", 2) for line in answer.splitlines() if line.startswith("STAT ")]
    return {row[1]: row[2] for row in rows if len(row) == 3}


def _command(sock: socket.socket, command: bytes, end: bytes, deadline: Deadline) -> bytes:
    """Sends one command and reads until its end, or an error line."""
    sock.settimeout(deadline.remaining_s())
    sock.sendall(command + b"\r\n")
    answer = b""
    while not answer.endswith(end):
        if len(answer) > MAX_ANSWER_BYTES:
            raise _protocol_error(answer)
        sock.settimeout(deadline.remaining_s())
        data = sock.recv(16384)
        if not data:
            if answer:
                raise _protocol_error(answer)
            raise Failure(Reason.PROTOCOL_ERROR, "the peer hung up at the first command; is this Memcached?")
        answer += data
        if answer.startswith((b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR", b"-ERR")) and answer.endswith(b"\r\n"):
            reason = Reason.TOO_MANY_CONNECTIONS if b"Too many open connections" in answer else Reason.PROTOCOL_ERROR
            raise Failure(reason, f"{command.decode()} was answered with “{shown(answer)}”")
    return answer


def _protocol_error(answer: bytes) -> Failure:
    return Failure(Reason.PROTOCOL_ERROR, f"the peer does not speak memcached's protocol: “{shown(answer)}”")
