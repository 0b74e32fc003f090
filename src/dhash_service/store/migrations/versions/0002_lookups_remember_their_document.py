"""lookups remember the document, page and box of their picture, and are found by document"""

import sqlalchemy as sa
from alembic import op

from dhash_service.store.types import Digest, JsonTuple

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None
kind = "expand"


def upgrade() -> None:
    op.add_column("lookups", sa.Column("document", Digest))
    op.add_column("lookups", sa.Column("page", sa.Integer))
    op.add_column("lookups", sa.Column("box", JsonTuple))
    op.create_index(
        "ix_lookups_document_id",
        "lookups",
        ["document", "id"],
        sqlite_where=sa.text("document IS NOT NULL"),
        postgresql_where=sa.text("document IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_lookups_document_id", "lookups")
    for column in ("box", "page", "document"):
        op.drop_column("lookups", column)
