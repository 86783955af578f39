"""States of checks, incidents, silences, the outbox."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "check_state",
        sa.Column("check_id", sa.String(length=300), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("degraded", sa.Boolean(), nullable=False),
        sa.Column("stale", sa.Boolean(), nullable=False),
        sa.Column("flapping", sa.Boolean(), nullable=False),
        sa.Column("fails", sa.Integer(), nullable=False),
        sa.Column("oks", sa.Integer(), nullable=False),
        sa.Column("first_fail_ms", sa.BigInteger()),
        sa.Column("since_ms", sa.BigInteger(), nullable=False),
        sa.Column("vote_ms", sa.BigInteger()),
        sa.Column("degraded_ms", sa.BigInteger()),
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column("message", sa.String(length=500), nullable=False),
        sa.Column("degraded_message", sa.String(length=500), nullable=False),
        sa.Column("seen", sa.Text(), nullable=False),
        sa.Column("windows", sa.Text(), nullable=False),
        sa.Column("broken", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("check_id"),
    )
    op.create_table(
        "incident",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("key", sa.String(length=300), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("severity", sa.String(length=10), nullable=False),
        sa.Column("root", sa.String(length=300), nullable=False),
        sa.Column("title", sa.String(length=500), nullable=False),
        sa.Column("cause", sa.String(length=500), nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column("opened_ms", sa.BigInteger(), nullable=False),
        sa.Column("resolved_ms", sa.BigInteger()),
        sa.Column("acked_by", sa.String(length=100)),
        sa.Column("acked_ms", sa.BigInteger()),
        sa.Column("acked_until_ms", sa.BigInteger()),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("wait_until_ms", sa.BigInteger()),
        sa.Column("told_ms", sa.BigInteger()),
        sa.Column("told", sa.Text(), nullable=False),
        sa.Column("update_due_ms", sa.BigInteger()),
        sa.Column("repeat_due_ms", sa.BigInteger()),
        sa.Column("root_ok_ms", sa.BigInteger()),
        sa.Column("closed_as", sa.String(length=20), nullable=False),
        sa.Column("refire", sa.Boolean(), nullable=False),
        sa.Column("unannounced", sa.Boolean(), nullable=False),
        sa.Column("dismissing", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("incident_resolved", "incident", ["resolved_ms"], unique=False)
    op.create_index("incident_state", "incident", ["state", "opened_ms"], unique=False)
    op.create_table(
        "incident_event",
        sa.Column("incident_id", sa.String(length=26), nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("text", sa.String(length=500), nullable=False),
        sa.Column("author", sa.String(length=100), nullable=False),
        sa.PrimaryKeyConstraint("incident_id", "seq"),
    )
    op.create_table(
        "incident_member",
        sa.Column("incident_id", sa.String(length=26), nullable=False),
        sa.Column("target", sa.String(length=300), nullable=False),
        sa.Column("joined_ms", sa.BigInteger(), nullable=False),
        sa.Column("left_ms", sa.BigInteger()),
        sa.Column("level", sa.String(length=10), nullable=False),
        sa.PrimaryKeyConstraint("incident_id", "target"),
    )
    op.create_table(
        "notifier_state",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("open_until_ms", sa.BigInteger()),
        sa.Column("paused_until_ms", sa.BigInteger()),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("last_ok_ms", sa.BigInteger()),
        sa.Column("last_error", sa.String(length=500), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("incident_id", sa.String(length=26)),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("notifier", sa.String(length=100), nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("severity", sa.String(length=10), nullable=False),
        sa.Column("title", sa.String(length=500), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("due_ms", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("refusals", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("lease_owner", sa.String(length=60)),
        sa.Column("lease_until_ms", sa.BigInteger()),
        sa.Column("sent_ms", sa.BigInteger()),
        sa.Column("last_code", sa.Integer()),
        sa.Column("last_error", sa.String(length=500), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("incident_id", "seq", "notifier", name="outbox_identity"),
    )
    op.create_index("outbox_created", "outbox", ["created_ms"], unique=False)
    op.create_index("outbox_due", "outbox", ["state", "due_ms"], unique=False)
    op.create_table(
        "silence",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("matchers", sa.Text(), nullable=False),
        sa.Column("starts_ms", sa.BigInteger(), nullable=False),
        sa.Column("ends_ms", sa.BigInteger(), nullable=False),
        sa.Column("author", sa.String(length=100), nullable=False),
        sa.Column("comment", sa.String(length=500), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("silence_ends", "silence", ["ends_ms"], unique=False)
