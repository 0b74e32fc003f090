"""banks of known pictures and hashes"""

import sqlalchemy as sa
from alembic import op

from dhash_service.store.types import Id, Instant

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None
kind = "expand"


def stamp() -> list[sa.Column]:  # type: ignore[type-arg]
    return [sa.Column("release", sa.Text, nullable=False), sa.Column("created_at", Instant, nullable=False)]


def serial() -> sa.Column[int]:
    numbered = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    return sa.Column("seq", numbered, primary_key=True, autoincrement=True)


def upgrade() -> None:
    op.create_table(
        "banks",
        serial(),
        sa.Column("id", Id, nullable=False, unique=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("radius", sa.Integer, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        *stamp(),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "bank_entries",
        serial(),
        sa.Column("id", Id, nullable=False, unique=True),
        sa.Column("bank", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("severity", sa.Integer, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("expires_at", Instant),
        sa.Column("removed", sa.Boolean, nullable=False),
        *stamp(),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_bank_entries_bank_kind_value", "bank_entries", ["bank", "kind", "value"])


def downgrade() -> None:
    for table in ("bank_entries", "banks"):
        op.drop_table(table)
