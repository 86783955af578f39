"""How well is a MySQL or MariaDB server: connections, locks, replication, and how often InnoDB had the page?"""

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, SecretStr

from probes.address import Account, Counted, safe
from probes.counters import Sample, Window, known, window_of
from probes.dial import CutOff
from probes.mysql_link import Link, connect, failure_of
from probes.probe import Ask, BlockingProbe, Expect, Failure, Metric, Reading, probe
from probes.result import Reason, Status

if TYPE_CHECKING:
    from pymysql.connections import Connection

SERVER = "SELECT @@version, @@server_id, @@hostname, @@max_connections, @@global.read_only"
OLDEST = "SELECT coalesce(max(timestampdiff(SECOND, trx_started, now())), 0) FROM information_schema.innodb_trx"
SIZE = "SELECT coalesce(sum(data_length + index_length), 0) FROM information_schema.tables WHERE table_schema = %s"
GAUGES = {
    "Threads_connected": "connections_used",
    "Threads_running": "threads_running",
    "Max_used_connections": "connections_peak",
    "Innodb_row_lock_current_waits": "waiting_on_lock",
    "Slaves_connected": "replicas",
    "Uptime": "uptime_s",
}
# Counters by the server's name; Uptime stands among them because a restart makes it fall.
COUNTERS = (
    "Uptime",
    "Innodb_buffer_pool_reads",
    "Innodb_buffer_pool_read_requests",
    "Questions",
    "Slow_queries",
    "Aborted_connects",
    "Innodb_row_lock_waits",
)
RATES = {
    "Questions": "queries_per_s",
    "Slow_queries": "slow_queries_per_s",
    "Aborted_connects": "aborted_connects_per_s",
    "Innodb_row_lock_waits": "row_lock_waits_per_s",
}


class MysqlOptions(Counted, Account):
    """Which server to ask, as whom."""

    schemes: ClassVar = {"mysql": 3306, "mariadb": 3306}

    url: SecretStr = Field(description="`mysql://user@host:3306/database`; `mariadb://` is the same")
    tls: Literal["off", "prefer", "require", "verify"] = Field(
        "prefer", description="prefer: where the server has it; require: unverified; verify: authority and host name"
    )
    ca_file: str | None = Field(None, description="PEM file of the authorities to trust, with tls: verify")


class MysqlExpect(Expect):
    """What the server must be."""

    writable: bool | None = Field(None, description="Whether it must accept writes: true for a primary")


@probe("mysql")
class MysqlProbe(BlockingProbe):
    """Connects afresh, asks SELECT 1, then reads status and replication as far as the account may."""

    Options = MysqlOptions
    Expect = MysqlExpect
    extra = "mysql"
    driver = "pymysql"
    account = (
        "CREATE USER backwatch IDENTIFIED BY '…' WITH MAX_USER_CONNECTIONS 3; "
        "GRANT PROCESS, REPLICATION CLIENT ON *.* TO backwatch; -- MariaDB from 10.5: PROCESS, REPLICA MONITOR"
    )
    measures = True
    metrics: ClassVar = {
        "auth_s": Metric("Seconds from the open connection to being logged in, without TLS"),
        "query_s": Metric("Seconds for SELECT 1"),
        "uptime_s": Metric("Seconds since the server started", "below"),
        "read_only": Metric("1 where ordinary accounts cannot write"),
        "connections_used": Metric("Connections open"),
        "connections_max": Metric("Connections that may be open", "below"),
        "connections_used_ratio": Metric("connections_used / connections_max"),
        "connections_peak": Metric("Most connections open at once since the start"),
        "threads_running": Metric("Connections running a statement"),
        "waiting_on_lock": Metric("Transactions waiting for a row lock"),
        "row_lock_waits_per_s": Metric("Waits for a row lock begun a second"),
        "longest_transaction_s": Metric("Age of the oldest open InnoDB transaction"),
        "buffer_hit_ratio": Metric("Share of InnoDB page reads met in the buffer pool, over the window", "below"),
        "hit_ratio": Metric("Same as buffer_hit_ratio", "below"),
        "queries_per_s": Metric("Statements a second"),
        "slow_queries_per_s": Metric("Statements a second above long_query_time"),
        "aborted_connects_per_s": Metric("Failed attempts to connect a second"),
        "size_bytes": Metric("Tables and indexes of the database in the url"),
        "replicas": Metric("Replicas connected (MariaDB)", "below"),
        "replication_running": Metric("On a replica: 1 while both of its threads run", "below"),
        "replication_lag_s": Metric("On a replica: seconds behind; absent while replication is broken"),
    }

    options: MysqlOptions
    expect: MysqlExpect

    def describe(self) -> str:
        """`mysql host:port/database`."""
        where = self.options.where()
        return f"mysql {where.place}/{where.path}".rstrip("/")

    def run(self, ask: Ask) -> Reading:
        """Fails only for connecting, logging in and SELECT 1; statistics that are refused are left out and named."""
        import pymysql

        where = self.options.where()
        password = where.password
        link = connect(where, self.options.tls, self.options.ca_file, ask.deadline)
        metrics: dict[str, float] = {"auth_s": link.auth_s}
        try:
            with CutOff(ask.deadline, link.fileno, "waiting for the server"):
                started = time.monotonic()
                _rows(link.connection, "SELECT 1")
                metrics["query_s"] = time.monotonic() - started
                return self._look(link, ask, metrics, where.path)
        except (pymysql.err.Error, OSError) as error:
            raise failure_of(error, where.place, password, link.phases, metrics) from error
        except Failure as failure:
            raise Failure(
                failure.reason, failure.message, phases=link.phases, metrics={**metrics, **failure.metrics}
            ) from failure
        finally:
            link.close()

    def _look(self, link: Link, ask: Ask, metrics: dict[str, float], database: str) -> Reading:
        look = _Look(link.connection, ask, metrics)
        phases = link.phases
        liveness_s = sum(filter(None, (phases.dns_s, phases.connect_s, phases.tls_s, link.auth_s, metrics["query_s"])))
        look.group("server variables", look.server)
        look.group("status", lambda: look.status(self.options))
        look.group("replication", look.replication)
        look.group("longest_transaction_s", lambda: look.put(OLDEST, (), "longest_transaction_s"))
        if database:
            look.group("size_bytes", lambda: look.put(SIZE, (database,), "size_bytes"))
        wanted = self.expect.writable
        if wanted is not None and "read_only" in metrics and bool(metrics["read_only"]) == wanted:
            reason = Reason.READ_ONLY if wanted else Reason.VALUE_LIMIT
            raise Failure(reason, f"read_only is {'on' if wanted else 'off'}, expected it {'off' if wanted else 'on'}")
        return Reading(
            status=Status.DEGRADED if look.troubles else Status.UP,
            reason=Reason.VALUE_LIMIT if look.troubles else None,
            message="; ".join(look.troubles + look.notes),
            duration_s=liveness_s,
            phases=phases,
            metrics=metrics,
            carry=look.window,
        )


def _rows(connection: "Connection[Any]", statement: str, values: tuple[Any, ...] = ()) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


class _Look:
    """One walk over the statistics of a server."""

    def __init__(self, connection: "Connection[Any]", ask: Ask, metrics: dict[str, float]) -> None:
        self._connection = connection
        self._ask = ask
        self._metrics = metrics
        self._epoch: tuple[Any, ...] = ()
        self._is_mariadb = False
        self.window: Window = window_of(ask.last.carry if ask.last else None)
        self.notes: list[str] = []
        self.troubles: list[str] = []

    def group(self, name: str, read: Callable[[], None]) -> None:
        """Reads one group; one that the server refuses is noted and left out."""
        import pymysql

        self._ask.deadline.remaining_s()
        try:
            read()
        except pymysql.err.MySQLError as error:
            if error.args and error.args[0] in {2006, 2013, 1053, 3024, 1969}:  # the connection, not this group
                raise
            self.notes.append(f"no {name}: {safe(str(error.args[-1]), None)}")

    def put(self, statement: str, values: tuple[Any, ...], name: str) -> None:
        """Stores the one value of a statement."""
        value = next(iter(_rows(self._connection, statement, values)[0].values()))
        self._metrics |= known({name: value})

    def server(self) -> None:
        """Identity and limits."""
        version, server_id, host, connections_max, read_only = _rows(self._connection, SERVER)[0].values()
        self._is_mariadb = "mariadb" in str(version).lower()
        self._epoch = (server_id, host, version)
        self._metrics["connections_max"] = float(connections_max)
        self._metrics["read_only"] = float(str(read_only).upper() not in {"0", "OFF"})

    def status(self, options: MysqlOptions) -> None:
        """Gauges as they are, counters as ratios and rates."""
        names = ", ".join(f"'{name}'" for name in (*GAUGES, *COUNTERS))
        rows = _rows(self._connection, f"SHOW GLOBAL STATUS WHERE Variable_name IN ({names})")
        told = {row["Variable_name"]: float(row["Value"]) for row in rows}
        self._metrics |= {metric: told[name] for name, metric in GAUGES.items() if name in told}
        if maximum := self._metrics.get("connections_max"):
            self._metrics["connections_used_ratio"] = self._metrics["connections_used"] / maximum
        counters = {name: told[name] for name in COUNTERS if name in told}
        sample = Sample(time.monotonic(), self._epoch, _hits_and_misses(counters))
        window = self.window = self.window.then(sample, self._ask.interval_s, options.window)
        hit_ratio = window.ratio("hits", "misses", min_operations=options.min_operations)
        self._metrics |= known({metric: window.per_s(name) for name, metric in RATES.items()})
        self._metrics |= known({"buffer_hit_ratio": hit_ratio, "hit_ratio": hit_ratio})

    def replication(self) -> None:
        """State of a replica's threads. NULL seconds behind means broken, never 0."""
        rows = _rows(self._connection, "SHOW ALL SLAVES STATUS" if self._is_mariadb else "SHOW REPLICA STATUS")
        if not rows:
            return
        sources = [{name.replace("Slave_", "Replica_"): value for name, value in row.items()} for row in rows]
        running = [source for source in sources if _runs(source)]
        lags = [_lag_s(source) for source in sources]
        self._metrics["replication_running"] = float(len(running) == len(sources))
        if all(lag is not None for lag in lags):
            self._metrics["replication_lag_s"] = max(lag for lag in lags if lag is not None)
        for source in sources:
            if not _runs(source):
                error = source.get("Last_IO_Error") or source.get("Last_SQL_Error") or "stopped"
                self.troubles.append(f"replication is broken: {safe(str(error), None)}")


def _hits_and_misses(counters: Mapping[str, float]) -> dict[str, float]:
    """InnoDB counts all logical reads, and those of them that went to disk; a ratio wants hits beside misses."""
    told = dict(counters)
    requests = told.pop("Innodb_buffer_pool_read_requests", None)
    misses = told.pop("Innodb_buffer_pool_reads", None)
    if requests is not None and misses is not None:
        told |= {"hits": max(0.0, requests - misses), "misses": misses}
    return told


def _runs(source: Mapping[str, Any]) -> bool:
    return all(source.get(f"Replica_{thread}_Running") == "Yes" for thread in ("IO", "SQL"))


def _lag_s(source: Mapping[str, Any]) -> float | None:
    lag = source.get("Seconds_Behind_Master", source.get("Seconds_Behind_Source"))
    return float(lag) if lag is not None and _runs(source) else None
