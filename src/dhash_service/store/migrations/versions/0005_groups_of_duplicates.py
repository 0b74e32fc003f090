"""people decide groups of duplicates"""

import sqlalchemy as sa
from alembic import op

from dhash_service.store.types import Id, Instant

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None
kind = "expand"


def upgrade() -> None:
    op.create_table(
        "group_decisions",
        sa.Column("id", Id, primary_key=True),
        sa.Column("group_id", Id, nullable=False),
        sa.Column("kept_id", Id, sa.ForeignKey("images.id")),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("reviewer", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("release", sa.Text, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
    )
    op.create_index(
        "ix_group_decisions_group_id_created_at_id", "group_decisions", ["group_id", "created_at", "id"]
    )


def downgrade() -> None:
    op.drop_table("group_decisions")
