"""How well is a PostgreSQL server: connections, locks, replication, and how often its buffers had the page?"""

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, SecretStr

from probes.address import Account, Counted, safe
from probes.blocking import POSTGRESQL as BLOCKING
from probes.blocking import describe
from probes.counters import Sample, Window, known, window_of
from probes.dial import CutOff
from probes.postgresql_link import Link, connect, failure_of
from probes.probe import Ask, BlockingProbe, Expect, Failure, Metric, Reading, probe
from probes.result import Reason

if TYPE_CHECKING:
    import psycopg

# What is asked of the server; each group may fail by itself for want of a grant.
SERVER = """SELECT pg_is_in_recovery(), extract(epoch FROM pg_postmaster_start_time())::float8,
  extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())::float8,
  pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'), current_setting('max_connections')::int
  - current_setting('superuser_reserved_connections')::int"""
ACTIVITY = """SELECT count(*), count(*) FILTER (WHERE state = 'active'),
  count(*) FILTER (WHERE state LIKE 'idle in transaction%'), count(*) FILTER (WHERE wait_event_type = 'Lock'),
  coalesce(max(extract(epoch FROM now() - xact_start)) FILTER (WHERE state <> 'idle'), 0)::float8
  FROM pg_stat_activity WHERE backend_type = 'client backend'"""
BACKENDS = "SELECT sum(numbackends)::int FROM pg_stat_database"
COUNTERS = """SELECT sum(blks_hit)::float8, sum(blks_read)::float8, sum(xact_commit)::float8,
  sum(xact_rollback)::float8,
  sum(deadlocks)::float8, sum(temp_bytes)::float8, max(extract(epoch FROM stats_reset))::float8 FROM pg_stat_database"""
AGE = "SELECT max(age(datfrozenxid))::float8 FROM pg_database"
SIZE = "SELECT pg_database_size(current_database())::float8"
REPLICAS = """SELECT count(*) FILTER (WHERE state = 'streaming'), count(*) FILTER (WHERE state IS NULL),
  max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn))::float8, max(extract(epoch FROM replay_lag))::float8
  FROM pg_stat_replication"""
# Everything received is replayed means no lag only while something is still being received.
LAG = """SELECT EXISTS (SELECT FROM pg_stat_wal_receiver),
  pg_last_wal_receive_lsn() IS NOT DISTINCT FROM pg_last_wal_replay_lsn(),
  extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8"""
SLOTS = """SELECT count(*) FILTER (WHERE NOT active), count(*) FILTER (WHERE wal_status = 'lost'),
  max(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn))::float8 FROM pg_replication_slots"""


class PostgresqlOptions(Counted, Account):
    """Which server to ask, as whom."""

    schemes: ClassVar = {"postgresql": 5432, "postgres": 5432}

    url: SecretStr = Field(description="`postgresql://user@host:5432/database?sslmode=verify-full`, as libpq reads it")


class PostgresqlExpect(Expect):
    """What the server must be."""

    role: Literal["primary", "replica"] | None = Field(
        None, description="The role it must have; the other one is down (reason read_only or value_limit)"
    )


@probe("postgresql")
class PostgresqlProbe(BlockingProbe):
    """Connects afresh, asks SELECT 1, then reads the statistics views that the account may read."""

    Options = PostgresqlOptions
    Expect = PostgresqlExpect
    extra = "postgresql"
    driver = "psycopg"
    account = "CREATE ROLE backwatch LOGIN PASSWORD '…' CONNECTION LIMIT 3; GRANT pg_monitor TO backwatch;"
    measures = True
    metrics: ClassVar = {
        "auth_s": Metric("Seconds from the open connection (and TLS) to being logged in"),
        "query_s": Metric("Seconds for SELECT 1"),
        "uptime_s": Metric("Seconds since the server started", "below"),
        "in_recovery": Metric("1 on a replica, 0 on a primary"),
        "read_only": Metric("1 where nothing can be written"),
        "connections_used": Metric("Client connections open"),
        "connections_max": Metric("Connections that ordinary clients may open", "below"),
        "connections_used_ratio": Metric("connections_used / connections_max"),
        "connections_active": Metric("Clients running a statement"),
        "idle_in_transaction": Metric("Clients that hold a transaction open and do nothing"),
        "waiting_on_lock": Metric("Clients waiting for a lock"),
        "longest_transaction_s": Metric("Age of the oldest open transaction"),
        "buffer_hit_ratio": Metric("Share of block reads met in shared buffers, over the window", "below"),
        "hit_ratio": Metric("Same as buffer_hit_ratio", "below"),
        "transactions_per_s": Metric("Commits and rollbacks a second"),
        "rollback_ratio": Metric("Share of transactions rolled back, over the window"),
        "deadlocks": Metric("Deadlocks since the previous run"),
        "temp_bytes_per_s": Metric("Bytes a second written to temporary files"),
        "wraparound_age": Metric("Age in transactions of the oldest unfrozen row; 2e9 stops the server"),
        "size_bytes": Metric("Size of the database connected to"),
        "replication_lag_s": Metric("On a replica: seconds behind what was replayed last"),
        "wal_receiver_up": Metric("On a replica: 1 while it receives from its primary", "below"),
        "replicas": Metric("On a primary: replicas streaming", "below"),
        "replica_lag_bytes": Metric("On a primary: WAL that the slowest replica has not replayed"),
        "replica_lag_s": Metric("On a primary: delay of the slowest replica"),
        "slots_inactive": Metric("Replication slots nobody reads; they hold WAL back until the disk is full"),
        "slots_lost": Metric("Replication slots whose WAL is gone"),
        "slot_retained_bytes": Metric("WAL held back by the slot furthest behind"),
    }

    options: PostgresqlOptions
    expect: PostgresqlExpect

    def describe(self) -> str:
        """`postgresql host:port/database`."""
        where = self.options.where()
        return f"postgresql {where.place if where.host else where.query['host']}/{where.path}"

    def run(self, ask: Ask) -> Reading:
        """Fails only for connecting, logging in and SELECT 1; statistics that are refused are left out and named."""
        import psycopg

        where = self.options.where()
        password = where.password
        link = connect(where, ask.deadline)
        metrics: dict[str, float] = {"auth_s": link.auth_s}
        try:
            with CutOff(ask.deadline, link.connection.fileno(), "waiting for the server"):
                started = time.monotonic()
                link.connection.execute("SELECT 1").fetchone()
                metrics["query_s"] = time.monotonic() - started
                return self._look(link, ask, metrics, password)
        except psycopg.Error as error:
            raise failure_of(error, password, link.phases, metrics) from error
        except Failure as failure:
            raise Failure(
                failure.reason, failure.message, phases=link.phases, metrics={**metrics, **failure.metrics}
            ) from failure
        finally:
            link.connection.close()

    def _look(self, link: Link, ask: Ask, metrics: dict[str, float], password: str | None) -> Reading:
        """Reads the statistics; `metrics` is filled as it goes, so that a deadline keeps what was read."""
        look = _Look(link.connection, ask, metrics, password)
        liveness_s = sum(filter(None, (link.phases.dns_s, link.phases.connect_s, link.phases.tls_s, link.auth_s)))
        look.group("server", look.server)
        look.group("connections", look.activity)
        look.group("blocking sessions", look.blocking)
        look.group("counters", lambda: look.count(self.options))
        look.group("wraparound_age", lambda: look.put(AGE, "wraparound_age"))
        look.group("size_bytes", lambda: look.put(SIZE, "size_bytes"))
        look.group("replication", look.replica if look.in_recovery else look.primary)
        if self.expect.role and look.in_recovery != (self.expect.role == "replica"):
            raise Failure(
                Reason.READ_ONLY if look.in_recovery else Reason.VALUE_LIMIT,
                f"the server is a {'replica' if look.in_recovery else 'primary'}, expected a {self.expect.role}",
            )
        return Reading(
            message="; ".join(look.notes),
            duration_s=liveness_s + metrics["query_s"],
            phases=link.phases,
            metrics=metrics,
            carry=look.window,
            evidence=look.evidence,
        )


class _Look:
    """One walk over the statistics of a server."""

    def __init__(
        self, connection: "psycopg.Connection[Any]", ask: Ask, metrics: dict[str, float], password: str | None
    ) -> None:
        self._connection = connection
        self._ask = ask
        self._metrics = metrics
        self._password = password
        self._start_s = 0.0
        self._sees_all = True
        self.in_recovery = False
        self.window: Window = window_of(ask.last.carry if ask.last else None)
        self.notes: list[str] = []
        self._blocking: list[str] = []

    def group(self, name: str, read: Callable[[], None]) -> None:
        """Reads one group; one that the server refuses is noted and left out."""
        import psycopg

        try:
            read()
        except psycopg.OperationalError:
            raise  # the connection or the deadline, not this group
        except psycopg.Error as error:
            self.notes.append(f"no {name}: {safe(error.diag.message_primary or type(error).__name__, self._password)}")

    def _row(self, statement: str) -> tuple[Any, ...]:
        self._ask.deadline.remaining_s()
        return self._connection.execute(statement.encode()).fetchone() or ()

    def put(self, statement: str, *names: str) -> None:
        """Stores the columns of a one-row statement under these names; NULL is left out."""
        self._metrics.update(known(dict(zip(names, self._row(statement), strict=True))))

    def server(self) -> None:
        """Role, uptime and limits."""
        self.in_recovery, self._start_s, uptime_s, self._sees_all, connections_max = self._row(SERVER)
        self._metrics |= {
            "in_recovery": float(self.in_recovery),
            "read_only": float(self.in_recovery),
            "uptime_s": uptime_s,
            "connections_max": float(connections_max),
        }

    def activity(self) -> None:
        """Connections and what they do; without the grant only their number."""
        if self._sees_all:
            names = ("connections_active", "idle_in_transaction", "waiting_on_lock", "longest_transaction_s")
            self.put(ACTIVITY, "connections_used", *names)
        else:
            self.notes.append("GRANT pg_monitor is missing: what the connections do is left out")
            self.put(BACKENDS, "connections_used")
        if maximum := self._metrics.get("connections_max"):
            self._metrics["connections_used_ratio"] = self._metrics["connections_used"] / maximum

    def blocking(self) -> None:
        """Who waits for whom: asked for only while somebody waits."""
        if self._metrics.get("waiting_on_lock"):
            self._blocking = describe(self._connection.execute(BLOCKING.encode()).fetchall())

    def evidence(self) -> Mapping[str, Any]:
        """What is known beside the numbers."""
        return {"blocking_sessions": self._blocking}

    def count(self, options: PostgresqlOptions) -> None:
        """The counters of all databases, as ratios and rates."""
        *values, reset_s = self._row(COUNTERS)
        counters = dict(zip(("hit", "read", "commit", "rollback", "deadlocks", "temp_bytes"), values, strict=True))
        sample = Sample(time.monotonic(), (self._start_s, reset_s), counters)
        window = self.window = self.window.then(sample, self._ask.interval_s, options.window)
        hit_ratio = window.ratio("hit", "read", min_operations=options.min_operations)
        commits, rollbacks = window.per_s("commit"), window.per_s("rollback")
        self._metrics |= known(
            {
                "buffer_hit_ratio": hit_ratio,
                "hit_ratio": hit_ratio,
                "rollback_ratio": window.ratio("rollback", "commit", min_operations=options.min_operations),
                "transactions_per_s": None if commits is None or rollbacks is None else commits + rollbacks,
                "deadlocks": window.since_last("deadlocks"),
                "temp_bytes_per_s": window.per_s("temp_bytes"),
            }
        )

    def primary(self) -> None:
        """Replicas and slots, as a primary sees them."""
        streaming, hidden, lag_bytes, lag_s = self._row(REPLICAS)
        if hidden:
            self.notes.append("GRANT pg_monitor is missing: the replicas' lag is left out")
        else:
            self._metrics |= known({"replicas": streaming, "replica_lag_bytes": lag_bytes, "replica_lag_s": lag_s})
        self.put(SLOTS, "slots_inactive", "slots_lost", "slot_retained_bytes")

    def replica(self) -> None:
        """How far a replica is behind. A receiver that is gone never reads as no lag."""
        receiving, replayed, age_s = self._row(LAG)
        self._metrics["wal_receiver_up"] = float(receiving)
        lag_s = 0.0 if receiving and replayed else age_s
        self._metrics |= known({"replication_lag_s": lag_s})
        if not receiving:
            self.notes.append("no WAL receiver: nothing arrives from the primary")
