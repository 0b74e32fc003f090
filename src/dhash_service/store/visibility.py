"""Visibility: every image is in search but those that a tombstone hides, by name or by their release.

A subject's newest tombstone holds. An image stands in search by one fingerprint, the first of its visible
ones: when that one's release is quarantined, the next takes its place. A store holds the fingerprints of one
algorithm, so none is asked for here.
"""

from functools import cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    and_,
    exists,
    or_,
    select,
    true,
    tuple_,
    union_all,
)

from dhash_service.store.tables import fingerprints, images, tombstones

Until = int | None
"""A tombstone's `seq`: what was so when that one was the newest. None: what is so now."""


def _hiding(subject: str, until: Until) -> tuple[FromClause, ColumnElement[bool]]:
    """Tombstones that hide: no newer one speaks of the same subject."""
    tombstone, newer = tombstones.alias(), tombstones.alias()
    later = tuple_(newer.c.created_at, newer.c.id) > tuple_(tombstone.c.created_at, tombstone.c.id)
    overruled = exists().where(newer.c[subject] == tombstone.c[subject], later, _known(newer, until))
    return tombstone, and_(tombstone.c.hidden, _known(tombstone, until), ~overruled)


def _known(tombstone: FromClause, until: Until) -> ColumnElement[bool]:
    return true() if until is None else tombstone.c.seq <= until


def hidden_image(image: ColumnElement[Any], until: Until = None) -> ColumnElement[bool]:
    """True of the id of an image that a tombstone hides. Asked row by row: many images may be hidden."""
    tombstone, hides = _hiding("subject_image", until)
    return exists().where(tombstone.c.subject_image == image, hides)


def hidden_images(until: Until = None) -> Select[tuple[Any]]:
    """Ids of the images that a tombstone hides."""
    tombstone, hides = _hiding("subject_image", until)
    return select(tombstone.c.subject_image).where(tombstone.c.subject_image.is_not(None), hides)


def taken_down(ids: BindParameter[Any]) -> Select[Any]:
    """The tombstones (image_id, reason, created_at) that hide these images by name: an admin makes them."""
    tombstone, hides = _hiding("subject_image", None)
    said = (tombstone.c.subject_image.label("image_id"), tombstone.c.reason, tombstone.c.created_at)
    return select(*said).where(tombstone.c.subject_image.in_(ids), hides)


def hidden_releases(until: Until = None) -> Select[tuple[str]]:
    """Releases in quarantine. Asked once for a statement: there are few."""
    tombstone, hides = _hiding("subject_release", until)
    return select(tombstone.c.subject_release).where(tombstone.c.subject_release.is_not(None), hides)


def any_hidden_release(connection: Connection) -> bool:
    """True while a release is in quarantine: otherwise much need not be asked."""
    return connection.execute(_one_hidden_release()).first() is not None


@cache
def _one_hidden_release() -> Select[tuple[str]]:
    return hidden_releases().limit(1)


def visible(fingerprint: FromClause, until: Until = None) -> ColumnElement[bool]:
    """True of a fingerprint whose image and release are both in search."""
    return and_(
        fingerprint.c.release.not_in(hidden_releases(until)),
        ~hidden_image(fingerprint.c.image_id, until),
    )


def stands(fingerprint: FromClause, until: Until = None) -> ColumnElement[bool]:
    """True of the fingerprint by which its image stands in search."""
    earlier = fingerprints.alias()
    before = exists().where(
        earlier.c.image_id == fingerprint.c.image_id,
        earlier.c.seq < fingerprint.c.seq,
        visible(earlier, until),
    )
    return and_(visible(fingerprint, until), or_(~fingerprint.c.repeats, ~before))


def aside(until: Until = None) -> Select[tuple[int, int]]:
    """Key and value of every fingerprint by which no image stands, some of them more than once.

    They are few, and found without reading the rest.
    """
    key_and_value = select(fingerprints.c.seq, fingerprints.c.value)
    found = union_all(
        key_and_value.where(fingerprints.c.release.in_(hidden_releases(until))),
        key_and_value.where(fingerprints.c.image_id.in_(hidden_images(until))),
        key_and_value.where(fingerprints.c.repeats, ~stands(fingerprints, until)),
    ).subquery()
    return select(found.c.seq, found.c.value)


def visible_image(image: ColumnElement[Any]) -> ColumnElement[bool]:
    """True of the id of an image that stands in search."""
    fingerprint = fingerprints.alias()
    return exists().where(fingerprint.c.image_id == image, visible(fingerprint))


def gone_image(image: ColumnElement[Any]) -> ColumnElement[bool]:
    """True of the id of an image that does not stand in search."""
    one = images.alias()
    return exists().where(one.c.id == image, ~visible_image(one.c.id))
