"""The tables. Rows are facts: they are only ever added, never changed and never removed, but by an erasure.

Every row carries the release that wrote it and when. `seq` and `repeats` are this store's own: they say in
which order its rows came and are not taken along by a merge.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from dhash_service.store.types import Bits, Digest, Id, Instant, JsonTuple

FOREIGN = ("sqlite_", "_litestream_")
"""How tables begin that SQLite and litestream keep for themselves in a store."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Serial = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows by itself only in a column that is spelled INTEGER PRIMARY KEY."""


def stamp() -> tuple[Column[str], Column[object]]:
    """The columns that every row ends with: the release that wrote it, and when."""
    return Column("release", Text, nullable=False), Column("created_at", Instant, nullable=False)


images = Table(
    "images",
    metadata,
    Column("id", Id, primary_key=True),
    Column("sha256", Digest, nullable=False, unique=True),
    Column("format", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    *stamp(),
)

# The release is part of the key: a restored release fingerprints again beside the row of a quarantined one.
# `repeats` marks the rows of an image that had one before, so that nobody searches a million rows for them.
fingerprints = Table(
    "fingerprints",
    metadata,
    Column("seq", Serial, primary_key=True, autoincrement=True),
    Column("image_id", Id, ForeignKey("images.id"), nullable=False),
    Column("algorithm", Text, nullable=False),
    Column("algorithm_version", Integer, nullable=False),
    Column("value", Bits, nullable=False),
    Column("quality", Double, nullable=False),
    Column("reasons", JsonTuple, nullable=False),
    Column("repeats", Boolean, nullable=False),
    *stamp(),
    UniqueConstraint("image_id", "algorithm", "algorithm_version", "release"),
    sqlite_autoincrement=True,
)
Index(None, fingerprints.c.release)
Index(
    None,
    fingerprints.c.repeats,
    sqlite_where=fingerprints.c.repeats == text("1"),
    postgresql_where=fingerprints.c.repeats,
)

thumbnails = Table(
    "thumbnails",
    metadata,
    Column("image_id", Id, ForeignKey("images.id"), primary_key=True),
    Column("webp", LargeBinary, nullable=False),
    *stamp(),
)

# A sighting's id follows from what it says: seeing the same file again adds nothing.
sightings = Table(
    "sightings",
    metadata,
    Column("id", Id, primary_key=True),
    Column("image_id", Id, ForeignKey("images.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("document", Digest),
    Column("page", Integer),
    *stamp(),
)
Index(None, sightings.c.image_id, sightings.c.created_at, sightings.c.id)
Index(None, sightings.c.created_at, sightings.c.id)

tags = Table(
    "tags",
    metadata,
    Column("image_id", Id, ForeignKey("images.id"), primary_key=True),
    Column("tag", Text, primary_key=True),
    *stamp(),
)
Index(None, tags.c.tag, tags.c.image_id)

lookups = Table(
    "lookups",
    metadata,
    Column("id", Id, primary_key=True),
    Column("image_id", Id, ForeignKey("images.id"), nullable=False),
    Column("status", Text, nullable=False),
    Column("confidence", Double, nullable=False),
    Column("reasons", JsonTuple, nullable=False),
    Column("quality", Double, nullable=False),
    Column("nearest_id", Id, ForeignKey("images.id")),
    Column("distance", Integer),
    Column("runner_up", Integer),
    Column("known", BigInteger, nullable=False),
    *stamp(),
    Column("document", Digest),
    Column("page", Integer),
    Column("box", JsonTuple),
)
# All that the queue's length, reasons and ages are read from, so that the rows themselves stay untouched.
Index(
    "ix_lookups_review",
    lookups.c.id,
    lookups.c.image_id,
    lookups.c.nearest_id,
    lookups.c.reasons,
    lookups.c.created_at,
    sqlite_where=lookups.c.status == text("'review'"),
    postgresql_where=lookups.c.status == text("'review'"),
)
Index(
    None,
    lookups.c.document,
    lookups.c.id,
    sqlite_where=lookups.c.document.is_not(None),
    postgresql_where=lookups.c.document.is_not(None),
)

decisions = Table(
    "decisions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("lookup_id", Id, ForeignKey("lookups.id"), nullable=False),
    Column("verdict", Text, nullable=False),
    Column("reviewer", Text, nullable=False),
    Column("note", Text, nullable=False),
    *stamp(),
)
Index(None, decisions.c.lookup_id, decisions.c.created_at, decisions.c.id)
Index(None, decisions.c.created_at, decisions.c.id)
Index(None, decisions.c.reviewer, decisions.c.created_at, decisions.c.id)

# A table of its own rather than a verdict: a release that knows no withdrawals still reads every decision.
withdrawals = Table(
    "withdrawals",
    metadata,
    Column("id", Id, primary_key=True),
    Column("decision_id", Id, ForeignKey("decisions.id"), nullable=False),
    Column("reviewer", Text, nullable=False),
    *stamp(),
)
Index(None, withdrawals.c.decision_id)

# The members are not listed: the group's id follows from theirs.
group_decisions = Table(
    "group_decisions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("group_id", Id, nullable=False),
    Column("kept_id", Id, ForeignKey("images.id")),
    Column("verdict", Text, nullable=False),
    Column("reviewer", Text, nullable=False),
    Column("note", Text, nullable=False),
    *stamp(),
)
Index(None, group_decisions.c.group_id, group_decisions.c.created_at, group_decisions.c.id)

# The newest row of a name holds, and the newest of a hash in a bank.
banks = Table(
    "banks",
    metadata,
    Column("seq", Serial, primary_key=True, autoincrement=True),
    Column("id", Id, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("radius", Integer, nullable=False),
    Column("note", Text, nullable=False),
    *stamp(),
    sqlite_autoincrement=True,
)

bank_entries = Table(
    "bank_entries",
    metadata,
    Column("seq", Serial, primary_key=True, autoincrement=True),
    Column("id", Id, nullable=False, unique=True),
    Column("bank", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("severity", Integer, nullable=False),
    Column("note", Text, nullable=False),
    Column("expires_at", Instant),
    Column("removed", Boolean, nullable=False),
    *stamp(),
    sqlite_autoincrement=True,
)
Index(None, bank_entries.c.bank, bank_entries.c.kind, bank_entries.c.value)

tombstones = Table(
    "tombstones",
    metadata,
    Column("seq", Serial, primary_key=True, autoincrement=True),
    Column("id", Id, nullable=False, unique=True),
    Column("subject", Text, nullable=False),
    Column("subject_image", Id, ForeignKey("images.id")),
    Column("subject_release", Text),
    Column("hidden", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("actor", Text, nullable=False),
    *stamp(),
    sqlite_autoincrement=True,
)
for subject in (tombstones.c.subject_image, tombstones.c.subject_release):
    Index(
        None,
        subject,
        tombstones.c.created_at,
        tombstones.c.id,
        sqlite_where=subject.is_not(None),
        postgresql_where=subject.is_not(None),
    )

# No unique name: two stores may each have made a token of one name, and a merge must lose neither.
# Making a token refuses a name in use; revoking a name revokes every token that bears it.
tokens = Table(
    "tokens",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("digest", Digest, nullable=False, unique=True),
    *stamp(),
)
Index(None, tokens.c.name)

token_revocations = Table(
    "token_revocations",
    metadata,
    Column("id", Id, primary_key=True),
    Column("token_id", Id, ForeignKey("tokens.id"), nullable=False),
    *stamp(),
)
Index(None, token_revocations.c.token_id)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("token_id", Id, ForeignKey("tokens.id"), nullable=False),
    Column("digest", Digest, nullable=False, unique=True),
    Column("until", Instant, nullable=False),
    *stamp(),
)

session_ends = Table(
    "session_ends",
    metadata,
    Column("id", Id, primary_key=True),
    Column("session_id", Id, ForeignKey("sessions.id"), nullable=False),
    *stamp(),
)
Index(None, session_ends.c.session_id)

# A lookup's newest claim holds, while it lasts; giving a pair back is a claim that ends as it begins.
claims = Table(
    "claims",
    metadata,
    Column("id", Id, primary_key=True),
    Column("lookup_id", Id, ForeignKey("lookups.id"), nullable=False),
    Column("session_id", Id, ForeignKey("sessions.id"), nullable=False),
    Column("until", Instant, nullable=False),
    *stamp(),
)
Index(None, claims.c.lookup_id, claims.c.created_at, claims.c.id)
Index(None, claims.c.until)

# An erased image: the keyed digest of its id. See `store.erasure`.
erasures = Table(
    "erasures",
    metadata,
    Column("id", Id, primary_key=True),
    Column("key", Digest, nullable=False),
    Column("digest", Digest, nullable=False),
    Column("reason", Text, nullable=False),
    Column("actor", Text, nullable=False),
    *stamp(),
)
Index(None, erasures.c.digest)

# This store's own: the `seq` of fingerprints that were erased, for the indexes that hold them.
erased_fingerprints = Table(
    "erased_fingerprints",
    metadata,
    Column("seq", Serial, primary_key=True, autoincrement=True),
    Column("fingerprint", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

meta = Table(
    "meta",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    *stamp(),
)

# Written by the migrations themselves, so that a release can judge revisions it does not know.
schema_revisions = Table(
    "schema_revisions",
    metadata,
    Column("revision", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("message", Text, nullable=False),
    *stamp(),
)

# What `dhash index` need not read again. No foreign key: the release before erases without knowing of it.
seen_files = Table(
    "seen_files",
    metadata,
    Column("id", Id, primary_key=True),
    Column("image_id", Id, nullable=False),
    *stamp(),
)

FACTS = (
    erasures,
    images,
    fingerprints,
    thumbnails,
    sightings,
    tags,
    lookups,
    decisions,
    withdrawals,
    group_decisions,
    banks,
    bank_entries,
    tombstones,
    tokens,
    token_revocations,
    sessions,
    session_ends,
    claims,
)
"""Everything a snapshot carries and a merge brings together, parents before children."""
