"""How well is a Redis or Valkey server: memory, clients, replication, and how often a key was there?"""

import ssl
import time
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, SecretStr, field_validator

from probes.address import Account, Address, Counted, parse_address, safe
from probes.counters import Sample, known, window_of
from probes.dial import CutOff, after_reset, dial
from probes.handshake import shake, trusting, trusting_all
from probes.probe import Ask, BlockingProbe, Expect, Failure, Metric, Reading, probe
from probes.redis_link import Link, failure_of, log_in
from probes.result import NO_PHASES, Phases, Reason, Status

GAUGES = {
    "uptime_in_seconds": "uptime_s",
    "connected_clients": "connections_used",
    "maxclients": "connections_max",
    "blocked_clients": "clients_blocked",
    "used_memory": "used_memory_bytes",
    "maxmemory": "max_memory_bytes",
    "mem_fragmentation_ratio": "fragmentation_ratio",
    "rdb_changes_since_last_save": "unsaved_changes",
    "connected_slaves": "replicas",
}
COUNTERS = (
    "keyspace_hits",
    "keyspace_misses",
    "evicted_keys",
    "expired_keys",
    "rejected_connections",
    "total_commands_processed",
)
RATES = {
    "evicted_keys": "evicted_per_s",
    "expired_keys": "expired_per_s",
    "rejected_connections": "rejected_per_s",
    "total_commands_processed": "commands_per_s",
}


class RedisOptions(Counted, Account):
    """Which server to ask, as whom."""

    schemes: ClassVar = {"redis": 6379, "rediss": 6379, "valkey": 6379, "valkeys": 6379}

    url: SecretStr = Field(description="`redis://user@host:6379/0`; `rediss://` for TLS; `valkey://` is the same")
    ca_file: str | None = Field(None, description="PEM file of the authorities to trust, with rediss://")
    verify: bool = Field(True, description="Verify authority and host name, with rediss://")

    @field_validator("url")
    @classmethod
    def _is_redis(cls, url: SecretStr) -> SecretStr:
        where = parse_address(url.get_secret_value(), cls.schemes)
        if where.path and not where.path.isdigit():
            raise ValueError("what follows the port must be the number of a database, as in redis://host:6379/0")
        return url


class RedisExpect(Expect):
    """What the server must be."""

    role: Literal["master", "replica"] | None = Field(
        None, description="The role it must have; the other one is down (reason read_only or value_limit)"
    )


@probe("redis")
class RedisProbe(BlockingProbe):
    """Connects afresh, logs in, sends PING, then reads INFO (and CLUSTER INFO where clustered)."""

    Options = RedisOptions
    Expect = RedisExpect
    driver = "redis"
    account = "ACL SETUSER backwatch on >… -@all +ping +info +cluster|info"
    measures = True
    metrics: ClassVar = {
        "auth_s": Metric("Seconds for AUTH; absent where none is asked for"),
        "ping_s": Metric("Seconds for PING"),
        "query_s": Metric("Seconds for INFO"),
        "uptime_s": Metric("Seconds since the server started", "below"),
        "hit_ratio": Metric("Share of key lookups that found one, over the window", "below"),
        "evicted_per_s": Metric("Keys a second thrown out for want of memory"),
        "expired_per_s": Metric("Keys a second whose time was over"),
        "rejected_per_s": Metric("Connections a second refused at maxclients"),
        "commands_per_s": Metric("Commands a second"),
        "used_memory_bytes": Metric("Memory in use"),
        "max_memory_bytes": Metric("Memory it may use; absent where there is no limit", "below"),
        "memory_used_ratio": Metric("used_memory_bytes / max_memory_bytes; absent where there is no limit"),
        "fragmentation_ratio": Metric("Resident memory / memory in use"),
        "connections_used": Metric("Clients connected"),
        "connections_max": Metric("Clients that may be connected", "below"),
        "connections_used_ratio": Metric("connections_used / connections_max"),
        "clients_blocked": Metric("Clients waiting in a blocking call"),
        "unsaved_changes": Metric("Changes since the last snapshot"),
        "persistence_ok": Metric("1 while the last snapshot and the last write of the log succeeded", "below"),
        "is_replica": Metric("1 on a replica, 0 on a master"),
        "replicas": Metric("On a master: replicas connected", "below"),
        "replica_lag_s": Metric("On a master: seconds since the slowest replica was heard of"),
        "replication_link_up": Metric("On a replica: 1 while the link to its master is up", "below"),
        "replication_idle_s": Metric("On a replica: seconds since its master was heard of"),
        "replication_lag_bytes": Metric("On a replica: stream of its master not yet applied"),
        "cluster_ok": Metric("1 while the cluster serves all slots", "below"),
        "cluster_slots_failed": Metric("Slots of nodes that are down"),
        "keys": Metric("Keys in all databases", "below"),
    }

    options: RedisOptions
    expect: RedisExpect

    def describe(self) -> str:
        """`redis host:port`."""
        return f"redis {self.options.where().place}"

    def run(self, ask: Ask) -> Reading:
        """Fails for connecting, AUTH and PING; an account that may not read INFO is noted and stays up."""
        import redis

        where = self.options.where()
        password = where.password
        context = self._context(where)
        line = dial(where.host, where.port, ask.deadline)
        sock, phases = line.sock, line.phases
        if context is not None:
            sock, phases = shake(sock, context, where.host, ask.deadline, phases)
        metrics: dict[str, float] = {}
        with sock, CutOff(ask.deadline, sock.fileno(), f"waiting for {where.place}"):
            try:
                link = log_in(sock, where, ask.deadline, metrics)
                return self._look(link, ask, phases, metrics, password)
            except (redis.exceptions.RedisError, OSError, ValueError) as error:
                failure = failure_of(error, where.place, password, phases, metrics)
                raise after_reset(failure, where.host, where.port, ask.deadline) from error
            except Failure as failure:
                raise Failure(
                    failure.reason, failure.message, phases=phases, metrics={**metrics, **failure.metrics}
                ) from failure

    def _context(self, where: Address) -> ssl.SSLContext | None:
        if where.scheme not in {"rediss", "valkeys"}:
            return None
        return trusting(self.options.ca_file) if self.options.verify else trusting_all()

    def _look(self, link: Link, ask: Ask, phases: Phases, metrics: dict[str, float], password: str | None) -> Reading:
        import redis

        link.ping()
        timed = (phases.dns_s, phases.connect_s, phases.tls_s, metrics.get("auth_s"), metrics["ping_s"])
        liveness_s = sum(filter(None, timed))
        notes: list[str] = []
        carry = ask.last.carry if ask.last else None
        troubles: list[str] = []
        try:
            info = link.info()
        except redis.exceptions.ResponseError as error:
            notes.append(f"statistics left out: {safe(str(error), password)}")
        else:
            if str(info.get("loading", "0")) == "1":
                raise Failure(Reason.LOADING, "the server is loading its data from disk", phases=NO_PHASES)
            carry = window_of(carry).then(_sample(info), ask.interval_s, self.options.window)
            metrics |= _gauges(info)
            hit_ratio = carry.ratio("keyspace_hits", "keyspace_misses", min_operations=self.options.min_operations)
            metrics |= known({"hit_ratio": hit_ratio, **{name: carry.per_s(key) for key, name in RATES.items()}})
            metrics |= _replication(info, troubles)
            _persistence(info, metrics, troubles)
            if str(info.get("cluster_enabled")) == "1":
                _cluster(link, metrics, troubles, notes)
            self._check_role(info)
        return Reading(
            status=Status.DEGRADED if troubles else Status.UP,
            reason=Reason.VALUE_LIMIT if troubles else None,
            message="; ".join(troubles + notes),
            duration_s=liveness_s,
            phases=phases,
            metrics=metrics,
            carry=carry,
        )

    def _check_role(self, info: Mapping[str, Any]) -> None:
        role = "replica" if info.get("role") == "slave" else "master"
        if self.expect.role and role != self.expect.role:
            raise Failure(
                Reason.READ_ONLY if role == "replica" else Reason.VALUE_LIMIT,
                f"the server is a {role}, expected a {self.expect.role}",
            )


def _sample(info: Mapping[str, Any]) -> Sample:
    counters = {name: float(info[name]) for name in COUNTERS if name in info}
    return Sample(time.monotonic(), (info.get("run_id"),), counters)


def _gauges(info: Mapping[str, Any]) -> dict[str, float]:
    metrics = {metric: float(info[name]) for name, metric in GAUGES.items() if name in info}
    if not metrics.get("max_memory_bytes"):
        metrics.pop("max_memory_bytes", None)  # 0 means no limit
    for ratio, part, whole in (
        ("memory_used_ratio", "used_memory_bytes", "max_memory_bytes"),
        ("connections_used_ratio", "connections_used", "connections_max"),
    ):
        if part in metrics and metrics.get(whole):
            metrics[ratio] = metrics[part] / metrics[whole]
    databases = [value for name, value in info.items() if name.startswith("db") and isinstance(value, dict)]
    metrics["keys"] = float(sum(database.get("keys", 0) for database in databases))
    return metrics


def _replication(info: Mapping[str, Any], troubles: list[str]) -> dict[str, float]:
    if "role" not in info:
        return {}
    if info["role"] != "slave":
        replicas = [value for name, value in info.items() if name.startswith("slave") and isinstance(value, dict)]
        lags = [float(replica["lag"]) for replica in replicas if "lag" in replica]
        return {"is_replica": 0.0, **({"replica_lag_s": max(lags)} if lags else {})}
    is_up = info.get("master_link_status") == "up"
    metrics = {"is_replica": 1.0, "replication_link_up": float(is_up)}
    if not is_up:
        troubles.append("replication is broken: the link to the master is down")
        return metrics
    metrics["replication_idle_s"] = float(info.get("master_last_io_seconds_ago", 0))
    if {"slave_read_repl_offset", "slave_repl_offset"} <= info.keys():
        metrics["replication_lag_bytes"] = float(info["slave_read_repl_offset"]) - float(info["slave_repl_offset"])
    return metrics


def _persistence(info: Mapping[str, Any], metrics: dict[str, float], troubles: list[str]) -> None:
    words = {
        "rdb_last_bgsave_status": "the last snapshot failed; writes may be refused (MISCONF)",
        "aof_last_write_status": "the last write to the append-only file failed; writes are refused (MISCONF)",
        "aof_last_bgrewrite_status": "the last rewrite of the append-only file failed",
    }
    told = [name for name in words if name in info]
    if told:
        broken = [words[name] for name in told if info[name] != "ok"]
        metrics["persistence_ok"] = float(not broken)
        troubles.extend(broken)


def _cluster(link: Link, metrics: dict[str, float], troubles: list[str], notes: list[str]) -> None:
    import redis

    try:
        told = link.cluster_info()
    except redis.exceptions.ResponseError:
        notes.append("no cluster metrics: the account needs +cluster|info")
        return
    metrics["cluster_ok"] = float(told.get("cluster_state") == "ok")
    metrics["cluster_slots_failed"] = float(told.get("cluster_slots_fail", 0))
    if told.get("cluster_state") != "ok":
        troubles.append("the cluster does not serve all slots")
