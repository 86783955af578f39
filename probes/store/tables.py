"""The shape of the store: every table of results, their rollups, and what people ask of a worker.

Times are UTC epoch milliseconds, durations microseconds. Alembic brings a database here (`migrations/`); the tables of
incidents stand in `alerts.store` on the same metadata.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Computed,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
)

from probes.store.keys import SERIES_BITS, key_of
from probes.store.rows import HotRow

metadata = MetaData()

# A small number for (check, location): it stands in every result.
series = Table(
    "series",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("check_id", String(300), nullable=False),
    Column("location", String(100), nullable=False),
    UniqueConstraint("check_id", "location", name="series_identity"),
)

# Reasons and messages, interned: an outage repeats the same text thousands of times.
error = Table(
    "error",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("reason", String(40), nullable=False),
    Column("message", String(500), nullable=False),
    UniqueConstraint("reason", "message", name="error_identity"),
)

# Every single result, keyed in order of arrival: a key by check would dirty a page for each row (store.md). One number
# as the key, for SQLite appends to such a table; a key of two columns shifts rows between three pages again and again
# (measured: 469 bytes of log a result against 249). The two parts cost no room in SQLite, they are computed when read.
hot = Table(
    "hot",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("slot_ms", BigInteger, Computed(f"id >> {SERIES_BITS}")),
    Column("series_id", BigInteger, Computed(f"id & {(1 << SERIES_BITS) - 1}")),
    Column("status", SmallInteger, nullable=False),
    Column("code", Integer),
    Column("total_us", BigInteger),
    Column("dns_us", BigInteger),
    Column("connect_us", BigInteger),
    Column("tls_us", BigInteger),
    Column("ttfb_us", BigInteger),
    Column("transfer_us", BigInteger),
    Column("late_ms", Integer, nullable=False),
    Column("error_id", Integer),
    Column("metrics", Text),  # JSON object of numbers, null where there are none
)


HOT_COLUMNS = tuple(hot.c[name] for name in HotRow._fields)


def within(from_ms: int, to_ms: int) -> ColumnElement[bool]:
    """from_ms <= slot_ms < to_ms, asked of the key: a condition on `hot.slot_ms` would read the whole table."""
    return and_(hot.c.id >= key_of(from_ms), hot.c.id < key_of(to_ms))


# Every result of one series in one hour, packed (probes.store.block). The key is built like that of `hot`, from the
# number of the hour: an hour's blocks are written one behind the other, and a check's of a day are 24 keys.
block = Table(
    "block",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("n", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
)


# The newest result of each series, upserted in the transaction of its batch. Narrow on purpose: a batch of a hundred
# series touches all its pages. `prev_slot_ms` lets a reader that saw the one before know that it missed nothing.
state = Table(
    "state",
    metadata,
    Column("series_id", Integer, primary_key=True, autoincrement=False),
    Column("slot_ms", BigInteger, nullable=False),
    Column("prev_slot_ms", BigInteger),
    Column("status", SmallInteger, nullable=False),
    Column("since_ms", BigInteger, nullable=False),  # first slot with this status in a row
    Column("code", Integer),
    Column("total_us", BigInteger),
    Column("error_id", Integer),
)


def _rollup(name: str) -> Table:
    return Table(
        name,
        metadata,
        Column("bucket_ms", BigInteger, primary_key=True, autoincrement=False),  # start of the hour or UTC day
        Column("series_id", Integer, primary_key=True, autoincrement=False),
        Column("n", Integer, nullable=False),
        Column("up", Integer, nullable=False),
        Column("degraded", Integer, nullable=False),
        Column("down", Integer, nullable=False),
        Column("unknown", Integer, nullable=False),
        Column("dns_us", BigInteger, nullable=False),  # sums
        Column("connect_us", BigInteger, nullable=False),
        Column("tls_us", BigInteger, nullable=False),
        Column("ttfb_us", BigInteger, nullable=False),
        Column("transfer_us", BigInteger, nullable=False),
        Column("min_us", BigInteger),
        Column("max_us", BigInteger),
        Column("sketch", LargeBinary),  # probes.store.sketch
        Column("metrics", Text),  # JSON {name: [count, sum, min, max]}
        Column("codes", Text),  # JSON {code: count}
        sqlite_with_rowid=False,
    )


rollup_h = _rollup("rollup_h")
rollup_d = _rollup("rollup_d")

# Hours whose rollup is due: closed ones, and old ones that a late result came into. `marks` counts what came in since,
# so that whoever rolled an hour up removes it only if nothing came in meanwhile.
due_hour = Table(
    "due_hour",
    metadata,
    Column("bucket_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("marks", Integer, nullable=False),
)

# What the overview shows of a series beside its state; rewritten hourly.
summary = Table(
    "summary",
    metadata,
    Column("series_id", Integer, primary_key=True, autoincrement=False),
    Column("until_ms", BigInteger, nullable=False),  # end of the last hour that is counted in
    Column("uptime_24h", Text),  # JSON [ok, judged, expected] counts, so that the open hour can be added
    Column("uptime_7d", Text),
    Column("uptime_30d", Text),
    Column("uptime_90d", Text),
    Column("p50_us", BigInteger),  # last 24 h
    Column("p95_us", BigInteger),
    Column("bars", Text),  # JSON: 90 daily [up, degraded, down, unknown]
    Column("sparkline", Text),  # JSON: 24 hourly p50 in microseconds, null where there is none
)

# What failing runs saw: of the first bad run of a check and of the one that confirmed the trouble (probes.evidence).
evidence = Table(
    "evidence",
    metadata,
    Column("check_id", String(300), primary_key=True),
    Column("location", String(100), primary_key=True),
    Column("slot_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", String(12), nullable=False),  # first, confirmed
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("data", LargeBinary, nullable=False),  # JSON, compressed by zlib
    Index("evidence_expires", "expires_ms"),
)

# Key and value: watermarks, markers such as "history before T is sample data".
meta = Table(
    "meta",
    metadata,
    Column("key", String(100), primary_key=True),
    Column("value", Text, nullable=False),
)

# Processes at work, upserted by each every few seconds: workers, alert engines.
process = Table(
    "process",
    metadata,
    Column("name", String(200), primary_key=True),  # "worker/default@host"
    Column("role", String(20), nullable=False),  # worker, alerts
    Column("location", String(100), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("version", String(40), nullable=False),
    Column("started_ms", BigInteger, nullable=False),
    Column("seen_ms", BigInteger, nullable=False),
    Column("figures", Text, nullable=False),  # JSON of numbers: lateness_p99_s, queue, threads_stuck, results …
    Column("notes", Text, nullable=False),  # JSON list of sentences for people: broken configuration, store errors
)

# What a person asks of a worker: run this check now.
run_request = Table(
    "run_request",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("check_id", String(300), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("author", String(100), nullable=False),
)

# Calls of heartbeat URLs, written by the server, read by the worker.
push = Table(
    "push",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("check_id", String(300), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("kind", String(10), nullable=False),
    Column("exit_code", Integer),
    Column("text", String(500), nullable=False),
    sqlite_autoincrement=True,  # readers remember the last id: none may be given twice
)

# What happened beside the results: our own gaps, clock jumps, configuration changes, deploys.
event = Table(
    "event",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("end_ms", BigInteger),
    Column("kind", String(40), nullable=False),
    Column("subject", String(300), nullable=False),  # site, target, check, location or process
    Column("text", String(500), nullable=False),
    Index("event_at", "at_ms"),
)
