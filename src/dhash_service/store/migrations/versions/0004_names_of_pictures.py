"""pictures have names: sightings, and tags"""

import sqlalchemy as sa
from alembic import op

from dhash_service.store.types import Digest, Id, Instant

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None
kind = "expand"


def stamp() -> list[sa.Column]:  # type: ignore[type-arg]
    return [sa.Column("release", sa.Text, nullable=False), sa.Column("created_at", Instant, nullable=False)]


def upgrade() -> None:
    op.create_table(
        "sightings",
        sa.Column("id", Id, primary_key=True),
        sa.Column("image_id", Id, sa.ForeignKey("images.id"), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("document", Digest),
        sa.Column("page", sa.Integer),
        *stamp(),
    )
    op.create_index("ix_sightings_image_id_created_at_id", "sightings", ["image_id", "created_at", "id"])
    op.create_index("ix_sightings_created_at_id", "sightings", ["created_at", "id"])
    op.create_table(
        "tags",
        sa.Column("image_id", Id, sa.ForeignKey("images.id"), primary_key=True),
        sa.Column("tag", sa.Text, primary_key=True),
        *stamp(),
    )
    op.create_index("ix_tags_tag_image_id", "tags", ["tag", "image_id"])


def downgrade() -> None:
    for table in ("tags", "sightings"):
        op.drop_table(table)
