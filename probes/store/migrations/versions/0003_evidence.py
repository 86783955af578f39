"""What failing runs saw."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "evidence",
        sa.Column("check_id", sa.String(length=300), nullable=False),
        sa.Column("location", sa.String(length=100), nullable=False),
        sa.Column("slot_ms", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("check_id", "location", "slot_ms"),
    )
    op.create_index("evidence_expires", "evidence", ["expires_ms"], unique=False)
