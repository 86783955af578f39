"""The shape of the alerts' part of the store: states of checks, incidents, silences, the outbox.

Times are UTC epoch milliseconds. Importing this module adds the tables to the metadata of `probes.store.tables`.
"""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, String, Table, Text, UniqueConstraint

from probes.store.tables import metadata

check_state = Table(
    "check_state",
    metadata,
    Column("check_id", String(300), primary_key=True),
    Column("state", String(12), nullable=False),
    Column("degraded", Boolean, nullable=False),
    Column("stale", Boolean, nullable=False),
    Column("flapping", Boolean, nullable=False),
    Column("fails", Integer, nullable=False),
    Column("oks", Integer, nullable=False),
    Column("first_fail_ms", BigInteger),
    Column("since_ms", BigInteger, nullable=False),
    Column("vote_ms", BigInteger),
    Column("degraded_ms", BigInteger),
    Column("reason", String(40), nullable=False),
    Column("message", String(500), nullable=False),
    Column("degraded_message", String(500), nullable=False),
    Column("seen", Text, nullable=False),  # JSON {location: slot_ms}
    Column("windows", Text, nullable=False),  # JSON {limit: "01011"}, newest last
    Column("broken", Text, nullable=False),  # JSON list of limits
)

incident = Table(
    "incident",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("key", String(300), nullable=False),
    Column("state", String(10), nullable=False),
    Column("severity", String(10), nullable=False),
    Column("root", String(300), nullable=False),
    Column("title", String(500), nullable=False),
    Column("cause", String(500), nullable=False),
    Column("reason", String(40), nullable=False),
    Column("opened_ms", BigInteger, nullable=False),
    Column("resolved_ms", BigInteger),
    Column("acked_by", String(100)),
    Column("acked_ms", BigInteger),
    Column("acked_until_ms", BigInteger),
    Column("seq", Integer, nullable=False),
    Column("wait_until_ms", BigInteger),
    Column("told_ms", BigInteger),
    Column("told", Text, nullable=False),  # JSON list of target ids
    Column("update_due_ms", BigInteger),
    Column("repeat_due_ms", BigInteger),
    Column("root_ok_ms", BigInteger),
    Column("closed_as", String(20), nullable=False),
    Column("refire", Boolean, nullable=False),
    Column("unannounced", Boolean, nullable=False),
    Column("dismissing", Boolean, nullable=False),
    Index("incident_state", "state", "opened_ms"),
    Index("incident_resolved", "resolved_ms"),
)

incident_member = Table(
    "incident_member",
    metadata,
    Column("incident_id", String(26), primary_key=True),
    Column("target", String(300), primary_key=True),
    Column("joined_ms", BigInteger, nullable=False),
    Column("left_ms", BigInteger),
    Column("level", String(10), nullable=False),
)

incident_event = Table(
    "incident_event",
    metadata,
    Column("incident_id", String(26), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("text", String(500), nullable=False),
    Column("author", String(100), nullable=False),
)

silence = Table(
    "silence",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("matchers", Text, nullable=False),  # JSON {label: value}; "~" before a pattern, "!" before what must not be
    Column("starts_ms", BigInteger, nullable=False),
    Column("ends_ms", BigInteger, nullable=False),
    Column("author", String(100), nullable=False),
    Column("comment", String(500), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Index("silence_ends", "ends_ms"),
)

# Everything to be told and everything told. The id is the idempotency key that receivers see.
outbox = Table(
    "outbox",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("incident_id", String(26)),  # null: a test message
    Column("seq", Integer, nullable=False),
    Column("notifier", String(100), nullable=False),
    Column("kind", String(12), nullable=False),
    Column("severity", String(10), nullable=False),
    Column("title", String(500), nullable=False),
    Column("payload", Text, nullable=False),  # JSON of alerts.message.Message
    Column("created_ms", BigInteger, nullable=False),
    Column("due_ms", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("refusals", Integer, nullable=False),  # answers that said "never": a few are borne, proxies lie
    Column("state", String(12), nullable=False),
    Column("lease_owner", String(60)),
    Column("lease_until_ms", BigInteger),
    Column("sent_ms", BigInteger),
    Column("last_code", Integer),
    Column("last_error", String(500), nullable=False),
    UniqueConstraint("incident_id", "seq", "notifier", name="outbox_identity"),
    Index("outbox_due", "state", "due_ms"),
    Index("outbox_created", "created_ms"),
)

# How a notifier fares: its breaker, and how long it asked us to wait.
notifier_state = Table(
    "notifier_state",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("failures", Integer, nullable=False),  # in a row
    Column("open_until_ms", BigInteger),  # breaker: one trial after this time
    Column("paused_until_ms", BigInteger),  # Retry-After
    Column("disabled", Boolean, nullable=False),  # the receiver said 410 Gone
    Column("last_ok_ms", BigInteger),
    Column("last_error", String(500), nullable=False),
)
