"""Results, their rollups, and what people ask of a worker."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    # PostgreSQL before 18 has no columns that are computed when read.
    stored = True if op.get_context().dialect.name == "postgresql" else None
    op.create_table(
        "due_hour",
        sa.Column("bucket_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("marks", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("bucket_ms"),
    )
    op.create_table(
        "error",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=False),
        sa.Column("message", sa.String(length=500), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("reason", "message", name="error_identity"),
    )
    op.create_table(
        "event",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("end_ms", sa.BigInteger()),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("subject", sa.String(length=300), nullable=False),
        sa.Column("text", sa.String(length=500), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("event_at", "event", ["at_ms"], unique=False)
    op.create_table(
        "hot",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column(
            "slot_ms",
            sa.BigInteger(),
            sa.Computed("id >> 20", persisted=stored),
        ),
        sa.Column(
            "series_id",
            sa.BigInteger(),
            sa.Computed("id & 1048575", persisted=stored),
        ),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("code", sa.Integer()),
        sa.Column("total_us", sa.BigInteger()),
        sa.Column("dns_us", sa.BigInteger()),
        sa.Column("connect_us", sa.BigInteger()),
        sa.Column("tls_us", sa.BigInteger()),
        sa.Column("ttfb_us", sa.BigInteger()),
        sa.Column("transfer_us", sa.BigInteger()),
        sa.Column("late_ms", sa.Integer(), nullable=False),
        sa.Column("error_id", sa.Integer()),
        sa.Column("metrics", sa.Text()),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "meta",
        sa.Column("key", sa.String(length=100), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "process",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("location", sa.String(length=100), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("version", sa.String(length=40), nullable=False),
        sa.Column("started_ms", sa.BigInteger(), nullable=False),
        sa.Column("seen_ms", sa.BigInteger(), nullable=False),
        sa.Column("figures", sa.Text(), nullable=False),
        sa.Column("notes", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "push",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("check_id", sa.String(length=300), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("exit_code", sa.Integer()),
        sa.Column("text", sa.String(length=500), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "rollup_d",
        sa.Column("bucket_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("series_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("up", sa.Integer(), nullable=False),
        sa.Column("degraded", sa.Integer(), nullable=False),
        sa.Column("down", sa.Integer(), nullable=False),
        sa.Column("unknown", sa.Integer(), nullable=False),
        sa.Column("dns_us", sa.BigInteger(), nullable=False),
        sa.Column("connect_us", sa.BigInteger(), nullable=False),
        sa.Column("tls_us", sa.BigInteger(), nullable=False),
        sa.Column("ttfb_us", sa.BigInteger(), nullable=False),
        sa.Column("transfer_us", sa.BigInteger(), nullable=False),
        sa.Column("min_us", sa.BigInteger()),
        sa.Column("max_us", sa.BigInteger()),
        sa.Column("sketch", sa.LargeBinary()),
        sa.Column("metrics", sa.Text()),
        sa.Column("codes", sa.Text()),
        sa.PrimaryKeyConstraint("bucket_ms", "series_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "rollup_h",
        sa.Column("bucket_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("series_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("up", sa.Integer(), nullable=False),
        sa.Column("degraded", sa.Integer(), nullable=False),
        sa.Column("down", sa.Integer(), nullable=False),
        sa.Column("unknown", sa.Integer(), nullable=False),
        sa.Column("dns_us", sa.BigInteger(), nullable=False),
        sa.Column("connect_us", sa.BigInteger(), nullable=False),
        sa.Column("tls_us", sa.BigInteger(), nullable=False),
        sa.Column("ttfb_us", sa.BigInteger(), nullable=False),
        sa.Column("transfer_us", sa.BigInteger(), nullable=False),
        sa.Column("min_us", sa.BigInteger()),
        sa.Column("max_us", sa.BigInteger()),
        sa.Column("sketch", sa.LargeBinary()),
        sa.Column("metrics", sa.Text()),
        sa.Column("codes", sa.Text()),
        sa.PrimaryKeyConstraint("bucket_ms", "series_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "run_request",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("check_id", sa.String(length=300), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("author", sa.String(length=100), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "series",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("check_id", sa.String(length=300), nullable=False),
        sa.Column("location", sa.String(length=100), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("check_id", "location", name="series_identity"),
    )
    op.create_table(
        "state",
        sa.Column("series_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("slot_ms", sa.BigInteger(), nullable=False),
        sa.Column("prev_slot_ms", sa.BigInteger()),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("since_ms", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.Integer()),
        sa.Column("total_us", sa.BigInteger()),
        sa.Column("error_id", sa.Integer()),
        sa.PrimaryKeyConstraint("series_id"),
    )
    op.create_table(
        "summary",
        sa.Column("series_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("until_ms", sa.BigInteger(), nullable=False),
        sa.Column("uptime_24h", sa.Text()),
        sa.Column("uptime_7d", sa.Text()),
        sa.Column("uptime_30d", sa.Text()),
        sa.Column("uptime_90d", sa.Text()),
        sa.Column("p50_us", sa.BigInteger()),
        sa.Column("p95_us", sa.BigInteger()),
        sa.Column("bars", sa.Text()),
        sa.Column("sparkline", sa.Text()),
        sa.PrimaryKeyConstraint("series_id"),
    )
