"""Erasing: the one thing that removes facts. Of a picture nothing stays but a keyed digest of its id.

The digest recognises the same bytes when they come again: in a submission, a merge, a restored store. An
image's id follows from its bytes, so it serves for them. The key is random and stands beside it.
"""

import hmac
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BindParameter, Connection, bindparam, delete, func, insert, null, select, update

from dhash_service.errors import TakenDownError
from dhash_service.facts import Sha256, new_id
from dhash_service.store.prompt import Prompt, driver_of
from dhash_service.store.repository import chunks
from dhash_service.store.tables import (
    claims,
    decisions,
    erased_fingerprints,
    erasures,
    fingerprints,
    group_decisions,
    images,
    lookups,
    metadata,
    seen_files,
    sightings,
    tags,
    thumbnails,
    tombstones,
    withdrawals,
)
from dhash_service.store.visibility import taken_down

BLOCK = 20_000
"""Images looked at at a time when a whole store is searched for erased ones."""

KEYS = select(erasures.c.key).distinct()
ALL_KEYS = Prompt(KEYS)
WANTED: BindParameter[Any] = bindparam("wanted", expanding=True)
ERASED = Prompt(
    select(erasures.c.digest, erasures.c.reason, erasures.c.created_at).where(erasures.c.digest.in_(WANTED))
)
TAKEN_DOWN = Prompt(taken_down(WANTED))


def digest_of(key: str, image: UUID) -> str:
    """The keyed digest of an image's id, 64 hex digits like the key."""
    return hmac.digest(bytes.fromhex(key), image.bytes, "sha256").hex()


@dataclass(frozen=True, slots=True)
class Erasure:
    """A wish to erase an image, by whom and why."""

    image: UUID
    reason: str
    actor: str
    at: datetime


def count(connection: Connection) -> int:
    """How many erasures a store knows."""
    return connection.scalar(select(func.count()).select_from(erasures)) or 0


class Erased:
    """The erased images of a store at one moment, held in memory."""

    def __init__(self, connection: Connection) -> None:
        self._digests: dict[str, set[str]] = {}
        self._count = count(connection)
        for key, digest in connection.execute(select(erasures.c.key, erasures.c.digest)):
            self._digests.setdefault(key, set()).add(digest)

    def __bool__(self) -> bool:
        return bool(self._digests)

    def is_all(self, connection: Connection) -> bool:
        """False where something was erased since."""
        return self._count == count(connection)

    def has(self, image: UUID) -> bool:
        """True of an image that was erased."""
        return any(digest_of(key, image) in digests for key, digests in self._digests.items())


@dataclass(slots=True)
class Forgetting:
    """Leaves out of a snapshot's rows all that is about erased images, table by table, parents first."""

    erased: Erased
    _gone: dict[str, set[Any]] = field(default_factory=dict)

    def kept(self, table: str, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows that may stay; where one only mentions an erased image, it no longer does."""
        return [row for row in rows if not self.erased or self._stays(table, row)]

    def _stays(self, table: str, row: dict[str, Any]) -> bool:
        stays: bool = table != "images" or not self.erased.has(row["id"])
        known = metadata.tables.get(table)
        for key in known.foreign_keys if known is not None else ():
            child = key.parent
            if row.get(child.name) in self._gone.get(key.column.table.name, ()):
                row[child.name] = None
                stays = stays and bool(child.nullable) and table != "tombstones"
        if not stays and "id" in row:
            self._gone.setdefault(table, set()).add(row["id"])
        return stays


def find(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, Any]:
    """The first erasures (reason, created_at) of those of these images that were erased.

    Two stores may each have erased an image before they were merged.
    """
    driver = driver_of(connection)
    keys = ALL_KEYS.rows(driver) if ids else []
    wanted = {digest_of(row.key, id): id for row in keys for id in ids}
    found = [row for chunk in chunks(list(wanted)) for row in ERASED.rows(driver, wanted=list(chunk))]
    return {wanted[row.digest]: row for row in sorted(found, key=lambda row: row.created_at, reverse=True)}


def refused(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, TakenDownError]:
    """The errors for those of these images that were erased."""
    return {
        id: TakenDownError(f"The picture was erased on {row.created_at:%Y-%m-%d}: {row.reason}")
        for id, row in find(connection, ids).items()
    }


def refused_hidden(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, TakenDownError]:
    """The errors for those of these images that were taken down."""
    return {
        row.image_id: TakenDownError(f"The picture was taken down on {row.created_at:%Y-%m-%d}: {row.reason}")
        for chunk in chunks(ids)
        for row in TAKEN_DOWN.rows(driver_of(connection), wanted=list(chunk))
    }


def refuse(connection: Connection, ids: Sequence[UUID]) -> None:
    """Raise `TakenDownError` if one of these images was erased."""
    for error in refused(connection, ids).values():
        raise error


def refuse_hidden(connection: Connection, ids: Sequence[UUID]) -> None:
    """Raise `TakenDownError` if one of these images was taken down."""
    for error in refused_hidden(connection, ids).values():
        raise error


def erase(connection: Connection, wishes: Sequence[Erasure], release: str) -> list[Sha256 | None]:
    """Remove images and remember their keyed digests; their SHA-256, None for one that is not there any more.

    One that was erased before keeps its first erasure.
    """
    ids = [wish.image for wish in wishes]
    here = digests_of(connection, ids)
    known = find(connection, ids)
    key = connection.scalar(KEYS.limit(1)) or secrets.token_hex(32)
    for wish in {wish.image: wish for wish in reversed(wishes)}.values():
        if wish.image not in known:
            row = {"id": new_id(), "key": key, "digest": digest_of(key, wish.image), "reason": wish.reason}
            stamp = {"actor": wish.actor, "release": release, "created_at": wish.at}
            connection.execute(insert(erasures), row | stamp)
    remove(connection, list(here))
    return [here.pop(id, None) for id in ids]


def digests_of(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, Sha256]:
    """The SHA-256 of those of these images that are here, in search or not."""
    wanted = select(images.c.id, images.c.sha256)
    return {
        row.id: Sha256(row.sha256)
        for chunk in chunks(ids)
        for row in connection.execute(wanted.where(images.c.id.in_(chunk)))
    }


def came_back(connection: Connection, erased: Erased) -> dict[UUID, Sha256]:
    """The erased images that are here again, as with a restored file, and their SHA-256."""
    if not erased:
        return {}
    rows = connection.execution_options(yield_per=BLOCK).execute(select(images.c.id, images.c.sha256))
    return {row.id: Sha256(row.sha256) for row in rows if erased.has(row.id)}


def remove(connection: Connection, ids: Iterable[UUID]) -> None:
    """Remove images and all that is about them; what only mentions one no longer does.

    Their fingerprints' keys are noted, so that every index drops them.
    """
    for chunk in chunks(list(ids)):
        keys = (
            select(fingerprints.c.seq).where(fingerprints.c.image_id.in_(chunk)).order_by(fingerprints.c.seq)
        )
        connection.execute(insert(erased_fingerprints).from_select(["fingerprint"], keys))
        asked = select(lookups.c.id).where(lookups.c.image_id.in_(chunk))
        decided = select(decisions.c.id).where(decisions.c.lookup_id.in_(asked))
        connection.execute(delete(withdrawals).where(withdrawals.c.decision_id.in_(decided)))
        for table in (decisions, claims):
            connection.execute(delete(table).where(table.c.lookup_id.in_(asked)))
        connection.execute(delete(lookups).where(lookups.c.image_id.in_(chunk)))
        mentions = (lookups.c.nearest_id, group_decisions.c.kept_id, tombstones.c.subject_image)
        for column in mentions:
            connection.execute(update(column.table).where(column.in_(chunk)).values({column.name: null()}))
        for table in (seen_files, sightings, tags, thumbnails, fingerprints):
            connection.execute(delete(table).where(table.c.image_id.in_(chunk)))
        connection.execute(delete(images).where(images.c.id.in_(chunk)))
