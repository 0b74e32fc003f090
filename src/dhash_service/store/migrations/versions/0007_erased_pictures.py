"""pictures that were erased"""

import sqlalchemy as sa
from alembic import op

from dhash_service.store.types import Digest, Id, Instant

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None
kind = "expand"


def upgrade() -> None:
    op.create_table(
        "erasures",
        sa.Column("id", Id, primary_key=True),
        sa.Column("key", Digest, nullable=False),
        sa.Column("digest", Digest, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("release", sa.Text, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
    )
    op.create_index("ix_erasures_digest", "erasures", ["digest"])
    op.create_table(
        "erased_fingerprints",
        sa.Column(
            "seq",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        sa.Column("fingerprint", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    for table in ("erased_fingerprints", "erasures"):
        op.drop_table(table)
