"""Results of an hour, packed."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "block",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    # What was rolled up so far lies in `hot` alone; the worker packs it hour by hour.
    op.execute("INSERT INTO meta (key, value) SELECT 'unpacked_ms', value FROM meta WHERE key = 'rolled_ms'")
