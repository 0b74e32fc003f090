"""people review at a page: sessions, claims on pairs, decisions taken back"""

import sqlalchemy as sa
from alembic import op

from dhash_service.store.types import Digest, Id, Instant

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None
kind = "expand"


def stamp() -> list[sa.Column]:  # type: ignore[type-arg]
    return [sa.Column("release", sa.Text, nullable=False), sa.Column("created_at", Instant, nullable=False)]


def upgrade() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", Id, primary_key=True),
        sa.Column("token_id", Id, sa.ForeignKey("tokens.id"), nullable=False),
        sa.Column("digest", Digest, nullable=False, unique=True),
        sa.Column("until", Instant, nullable=False),
        *stamp(),
    )
    op.create_table(
        "session_ends",
        sa.Column("id", Id, primary_key=True),
        sa.Column("session_id", Id, sa.ForeignKey("sessions.id"), nullable=False),
        *stamp(),
    )
    op.create_index("ix_session_ends_session_id", "session_ends", ["session_id"])
    op.create_table(
        "claims",
        sa.Column("id", Id, primary_key=True),
        sa.Column("lookup_id", Id, sa.ForeignKey("lookups.id"), nullable=False),
        sa.Column("session_id", Id, sa.ForeignKey("sessions.id"), nullable=False),
        sa.Column("until", Instant, nullable=False),
        *stamp(),
    )
    op.create_index("ix_claims_lookup_id_created_at_id", "claims", ["lookup_id", "created_at", "id"])
    op.create_index("ix_claims_until", "claims", ["until"])
    op.create_table(
        "withdrawals",
        sa.Column("id", Id, primary_key=True),
        sa.Column("decision_id", Id, sa.ForeignKey("decisions.id"), nullable=False),
        sa.Column("reviewer", sa.Text, nullable=False),
        *stamp(),
    )
    op.create_index("ix_withdrawals_decision_id", "withdrawals", ["decision_id"])
    op.create_index("ix_decisions_created_at_id", "decisions", ["created_at", "id"])
    op.create_index("ix_decisions_reviewer_created_at_id", "decisions", ["reviewer", "created_at", "id"])


def downgrade() -> None:
    op.drop_index("ix_decisions_reviewer_created_at_id", "decisions")
    op.drop_index("ix_decisions_created_at_id", "decisions")
    for table in ("withdrawals", "claims", "session_ends", "sessions"):
        op.drop_table(table)
