"""files that were indexed"""

import sqlalchemy as sa
from alembic import op

from dhash_service.store.types import Id, Instant

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None
kind = "expand"


def upgrade() -> None:
    op.create_table(
        "seen_files",
        sa.Column("id", Id, primary_key=True),
        sa.Column("image_id", Id, nullable=False),
        sa.Column("release", sa.Text, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("seen_files")
