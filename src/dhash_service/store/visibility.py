"""What is in search: every image but those that a tombstone hides, by name or by their release.

A subject's newest tombstone holds. An image stands in search by one fingerprint, the first of its visible
ones: when that one's release is quarantined, the next takes its place. A store holds the fingerprints of one
algorithm, so none is asked for here.
"""

from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, Select, and_, exists, or_, select, tuple_, union

from dhash_service.store.tables import fingerprints, images, tombstones


def _holds(tombstone: FromClause, subject: str) -> ColumnElement[bool]:
    """That no newer tombstone speaks of the same subject."""
    newer = tombstones.alias()
    later = tuple_(newer.c.created_at, newer.c.id) > tuple_(tombstone.c.created_at, tombstone.c.id)
    return ~exists().where(newer.c[subject] == tombstone.c[subject], later)


def hidden_image(image: ColumnElement[Any]) -> ColumnElement[bool]:
    """That a tombstone hides the image with this id. Asked row by row: many images may be hidden."""
    tombstone = tombstones.alias()
    return exists().where(
        tombstone.c.subject_image == image, tombstone.c.hidden, _holds(tombstone, "subject_image")
    )


def hidden_releases() -> Select[tuple[str]]:
    """Releases in quarantine. Asked once for a statement: there are few."""
    tombstone = tombstones.alias()
    named = tombstone.c.subject_release
    return select(named).where(named.is_not(None), tombstone.c.hidden, _holds(tombstone, "subject_release"))


def any_hidden_release(connection: Connection) -> bool:
    """Whether any release is in quarantine: where none is, much need not be asked."""
    return connection.execute(hidden_releases().limit(1)).first() is not None


def visible(fingerprint: FromClause) -> ColumnElement[bool]:
    """That neither a fingerprint's image nor its release is hidden."""
    return and_(
        fingerprint.c.release.not_in(hidden_releases()),
        ~hidden_image(fingerprint.c.image_id),
    )


def stands(fingerprint: FromClause) -> ColumnElement[bool]:
    """That a fingerprint is the one by which its image stands in search."""
    earlier = fingerprints.alias()
    before = exists().where(
        earlier.c.image_id == fingerprint.c.image_id,
        earlier.c.seq < fingerprint.c.seq,
        visible(earlier),
    )
    return and_(visible(fingerprint), or_(~fingerprint.c.repeats, ~before))


def aside() -> Select[tuple[int]]:
    """Key of every fingerprint by which no image stands: few, and found without reading the rest."""
    tombstone = tombstones.alias()
    hidden = select(tombstone.c.subject_image).where(
        tombstone.c.subject_image.is_not(None), tombstone.c.hidden, _holds(tombstone, "subject_image")
    )
    found = union(
        select(fingerprints.c.seq).where(fingerprints.c.release.in_(hidden_releases())),
        select(fingerprints.c.seq).where(fingerprints.c.image_id.in_(hidden)),
        select(fingerprints.c.seq).where(fingerprints.c.repeats, ~stands(fingerprints)),
    ).subquery()
    return select(found.c.seq)


def visible_image(image: ColumnElement[Any]) -> ColumnElement[bool]:
    """That the image with this id stands in search."""
    fingerprint = fingerprints.alias()
    return exists().where(fingerprint.c.image_id == image, visible(fingerprint))


def gone_image(image: ColumnElement[Any]) -> ColumnElement[bool]:
    """That there is such an image and it does not stand in search."""
    one = images.alias()
    return exists().where(one.c.id == image, ~visible_image(one.c.id))
