"""the facts: images, fingerprints, thumbnails, lookups, decisions, tombstones, tokens"""

import sqlalchemy as sa
from alembic import op

from dhash_service.store.types import Bits, Digest, Id, Instant, JsonTuple

revision = "0001"
down_revision = None
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
        "schema_revisions",
        sa.Column("revision", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        *stamp(),
    )
    op.create_table(
        "meta",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
        *stamp(),
    )
    op.create_table(
        "images",
        sa.Column("id", Id, primary_key=True),
        sa.Column("sha256", Digest, nullable=False, unique=True),
        sa.Column("format", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        *stamp(),
    )
    op.create_table(
        "fingerprints",
        serial(),
        sa.Column("image_id", Id, sa.ForeignKey("images.id"), nullable=False),
        sa.Column("algorithm", sa.Text, nullable=False),
        sa.Column("algorithm_version", sa.Integer, nullable=False),
        sa.Column("value", Bits, nullable=False),
        sa.Column("quality", sa.Double, nullable=False),
        sa.Column("reasons", JsonTuple, nullable=False),
        sa.Column("repeats", sa.Boolean, nullable=False),
        *stamp(),
        sa.UniqueConstraint("image_id", "algorithm", "algorithm_version", "release"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_fingerprints_release", "fingerprints", ["release"])
    op.create_index(
        "ix_fingerprints_repeats",
        "fingerprints",
        ["repeats"],
        sqlite_where=sa.text("repeats = 1"),
        postgresql_where=sa.text("repeats"),
    )
    op.create_table(
        "thumbnails",
        sa.Column("image_id", Id, sa.ForeignKey("images.id"), primary_key=True),
        sa.Column("webp", sa.LargeBinary, nullable=False),
        *stamp(),
    )
    op.create_table(
        "lookups",
        sa.Column("id", Id, primary_key=True),
        sa.Column("image_id", Id, sa.ForeignKey("images.id"), nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("confidence", sa.Double, nullable=False),
        sa.Column("reasons", JsonTuple, nullable=False),
        sa.Column("quality", sa.Double, nullable=False),
        sa.Column("nearest_id", Id, sa.ForeignKey("images.id")),
        sa.Column("distance", sa.Integer),
        sa.Column("runner_up", sa.Integer),
        sa.Column("known", sa.BigInteger, nullable=False),
        *stamp(),
    )
    op.create_index(
        "ix_lookups_review",
        "lookups",
        ["id", "image_id", "nearest_id", "reasons", "created_at"],
        sqlite_where=sa.text("status = 'review'"),
        postgresql_where=sa.text("status = 'review'"),
    )
    op.create_table(
        "decisions",
        sa.Column("id", Id, primary_key=True),
        sa.Column("lookup_id", Id, sa.ForeignKey("lookups.id"), nullable=False),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("reviewer", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        *stamp(),
    )
    op.create_index("ix_decisions_lookup_id_created_at_id", "decisions", ["lookup_id", "created_at", "id"])
    op.create_table(
        "tombstones",
        serial(),
        sa.Column("id", Id, nullable=False, unique=True),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("subject_image", Id, sa.ForeignKey("images.id")),
        sa.Column("subject_release", sa.Text),
        sa.Column("hidden", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        *stamp(),
        sqlite_autoincrement=True,
    )
    for subject in ("subject_image", "subject_release"):
        op.create_index(
            f"ix_tombstones_{subject}_created_at_id",
            "tombstones",
            [subject, "created_at", "id"],
            sqlite_where=sa.text(f"{subject} IS NOT NULL"),
            postgresql_where=sa.text(f"{subject} IS NOT NULL"),
        )
    op.create_table(
        "tokens",
        sa.Column("id", Id, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("digest", Digest, nullable=False, unique=True),
        *stamp(),
    )
    op.create_index("ix_tokens_name", "tokens", ["name"])
    op.create_table(
        "token_revocations",
        sa.Column("id", Id, primary_key=True),
        sa.Column("token_id", Id, sa.ForeignKey("tokens.id"), nullable=False),
        *stamp(),
    )
    op.create_index("ix_token_revocations_token_id", "token_revocations", ["token_id"])


def downgrade() -> None:
    for table in (
        "token_revocations",
        "tokens",
        "tombstones",
        "decisions",
        "lookups",
        "thumbnails",
        "fingerprints",
        "images",
        "meta",
        "schema_revisions",
    ):
        op.drop_table(table)
