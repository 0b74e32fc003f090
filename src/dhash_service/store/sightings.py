"""Sightings: the names, sources and documents that pictures were seen under, and their tags.

Sightings of an image that is out of search are kept and not shown.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    ColumnElement,
    Engine,
    Row,
    Select,
    bindparam,
    exists,
    func,
    or_,
    select,
    tuple_,
)

from dhash_service.errors import BadRequestError
from dhash_service.facts import Algorithm, Image, Label, Lookup, Neighbour, Sha256, Sighting
from dhash_service.files import printable
from dhash_service.store.engine import reading
from dhash_service.store.prompt import Driver, Prompt, glancing
from dhash_service.store.repository import IMAGE, PAIRED, as_image, chunks
from dhash_service.store.tables import fingerprints, images, sightings, tags
from dhash_service.store.visibility import stands, visible, visible_image

Keys = NDArray[np.int64]

BETWEEN_TAGS = "\x1f"
"""Stands between tags that are read as one text. No tag holds it: it cannot be shown."""

LONGEST_NAME, LONGEST_SOURCE, LONGEST_TAG, MOST_TAGS = 255, 4096, 64, 20


@dataclass(frozen=True, slots=True)
class SightingFilter:
    """A part of the sightings: `name` is a part of a name or source, `tag` and `image` are whole."""

    name: str | None = None
    tag: str | None = None
    image: UUID | None = None
    document: Sha256 | None = None


@dataclass(frozen=True, slots=True)
class SightingPage:
    """Sightings, the newest first. `after` is where the next page begins, None on the last one."""

    sightings: Sequence[Sighting]
    after: UUID | None


class Sightings:
    """Reads the sightings of one store."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def page(self, filter: SightingFilter, after: UUID | None = None, limit: int = 50) -> SightingPage:
        """Sightings of images in search that match, the newest first, after a cursor (a sighting's id)."""
        with reading(self._engine) as connection:
            wanted = matching(filter)
            if after and (at := connection.scalar(select(sightings.c.created_at).filter_by(id=after))):
                wanted = wanted.where(tuple_(sightings.c.created_at, sightings.c.id) < (at, after))
            rows = connection.execute(wanted.limit(limit + 1)).all()
        found = [as_sighting(row) for row in rows[:limit]]
        return SightingPage(found, found[-1].id if len(rows) > limit else None)

    def has(self, id: UUID) -> bool:
        """True if there is a sighting with this id."""
        with reading(self._engine) as connection:
            return connection.execute(select(sightings.c.id).where(sightings.c.id == id)).first() is not None

    def count(self) -> int:
        """Count the sightings."""
        with reading(self._engine) as connection:
            return connection.scalar(select(func.count()).select_from(sightings)) or 0

    def keys_named(self, name: str) -> Keys:
        """The feed's keys of images with this part in a name or source."""
        seen = matching(SightingFilter(name)).order_by(None).subquery()
        return self._keys(select(seen.c.image_id))

    def keys_of_copies(self) -> Keys:
        """The feed's keys of images that were seen as several files."""
        files = select(sightings.c.image_id).where(sightings.c.document.is_(None))
        return self._keys(files.group_by(sightings.c.image_id).having(func.count() > 1))

    def _keys(self, images: Select[Any]) -> Keys:
        wanted = select(fingerprints.c.seq).where(fingerprints.c.image_id.in_(images), stands(fingerprints))
        with reading(self._engine) as connection:
            return np.array(connection.scalars(wanted.order_by(fingerprints.c.seq)).all(), np.int64)

    def files_of(self, images: Sequence[UUID]) -> dict[UUID, list[Sighting]]:
        """The sightings of each of these images outside of documents, the oldest first."""
        found: dict[UUID, list[Sighting]] = {}
        wanted = select(sightings).where(sightings.c.document.is_(None))
        with reading(self._engine) as connection:
            for chunk in chunks(images):
                rows = connection.execute(
                    wanted.where(sightings.c.image_id.in_(chunk)).order_by(
                        sightings.c.created_at, sightings.c.source
                    )
                )
                for row in rows:
                    found.setdefault(row.image_id, []).append(as_sighting(row))
        return found

    def named(self, images: Sequence[Image]) -> list[Image]:
        """The same images, each with its first names, its tags and the number of its sightings."""
        if not images:
            return []
        with glancing(self._engine) as driver:
            return with_names(driver, images)

    def named_neighbours(self, neighbours: Sequence[Neighbour]) -> list[Neighbour]:
        """The same neighbours, their images with names."""
        named = self.named([neighbour.image for neighbour in neighbours])
        return [replace(near, image=image) for near, image in zip(neighbours, named, strict=True)]

    def named_lookups(self, lookups: Sequence[Lookup]) -> list[Lookup]:
        """The same lookups, their nearest images with names."""
        near = {lookup.id: lookup.match.nearest for lookup in lookups if lookup.match.nearest}
        named = dict(zip(near, self.named_neighbours(list(near.values())), strict=True))
        return [
            replace(lookup, match=replace(lookup.match, nearest=named.get(lookup.id))) for lookup in lookups
        ]


def with_names(driver: Driver, images: Sequence[Image]) -> list[Image]:
    """The same images, each with its first names, its tags and the number of its sightings."""
    seen = {row.image_id: row for row in _read(driver, FIRST_SIGHTINGS, images)}
    tagged = sorted((row.image_id, row.tag) for row in _read(driver, TAGS, images))
    by_image = {id: tuple(tag for _, tag in of) for id, of in groupby(tagged, lambda pair: pair[0])}
    return [
        replace(
            image,
            names=names_of(seen[image.id]) if image.id in seen else (),
            sightings=seen[image.id].number if image.id in seen else 0,
            tags=by_image.get(image.id, ()),
        )
        for image in images
    ]


def named_by_key(driver: Driver, keys: Sequence[int], algorithm: Algorithm) -> dict[int, Image]:
    """The images in search behind these keys of the feed, with all that is said of them, in one statement."""
    return {
        row.seq: as_image(
            row,
            algorithm,
            names_of(row),
            tuple(sorted(row.tags.split(BETWEEN_TAGS))) if row.tags else (),
            row.number,
        )
        for chunk in chunks(keys)
        for row in NAMED.rows(driver, wanted=list(chunk))
    }


def label_of(name: str | None = None, source: str | None = None, tags: Iterable[str] = ()) -> Label:
    """A label of words that somebody gave. Raises `BadRequestError` for words that no store should hold."""
    unique = tuple(dict.fromkeys(tag.strip() for tag in tags))
    require_words("name", name or "", LONGEST_NAME)
    require_words("source", source or "", LONGEST_SOURCE)
    for tag in unique:
        require_words("tag", tag, LONGEST_TAG)
    if not all(unique):
        raise BadRequestError("A tag is empty.", "Leave it out.")
    if len(unique) > MOST_TAGS:
        raise BadRequestError(f"There are {len(unique)} tags; {MOST_TAGS} are allowed.", "Send fewer.")
    return Label(name or last_part(source or ""), source or "", unique)


def require_words(what: str, words: str, longest: int) -> None:
    """Raise `BadRequestError` unless the words can be stored and shown."""
    if len(words) > longest:
        raise BadRequestError(f"The {what} has {len(words):,} characters; {longest:,} are allowed.")
    if words != printable(words):
        raise BadRequestError(f"The {what} holds a character that cannot be shown.", "Send it without.")


def file_label(path: str | None) -> Label:
    """A label of a file name as a browser or archive gives it: its last part, made printable."""
    return Label(printable(last_part(path or ""))[-LONGEST_NAME:])


def path_label(path: Path, root: Path | None = None) -> Label:
    """A label of an indexed file: its path, relative to a `root` above it, with escapes for odd bytes."""
    whole = path.absolute()
    if root is not None and whole.is_relative_to(root.absolute()):
        whole = whole.relative_to(root.absolute())
    shown = os.fsencode(whole).decode("utf-8", "backslashreplace")
    source = (
        shown
        if shown.isprintable()
        else "".join(each if each == printable(each) else f"\\x{ord(each):02x}" for each in shown)
    )
    return Label(source.rpartition("/")[2][-LONGEST_NAME:], source[-LONGEST_SOURCE:])


def last_part(path: str) -> str:
    """The last part of a path or URL, which serves as a name where none was given."""
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2][-LONGEST_NAME:]


def matching(filter: SightingFilter) -> Select[Any]:
    """The sightings that a filter selects, of images in search, the newest first."""
    wanted = select(sightings).where(visible_image(sightings.c.image_id))
    if filter.image:
        wanted = wanted.where(sightings.c.image_id == filter.image)
    if filter.document:
        wanted = wanted.where(sightings.c.document == filter.document)
    if filter.tag is not None:
        wanted = wanted.where(
            exists().where(tags.c.image_id == sightings.c.image_id, tags.c.tag == filter.tag)
        )
    if filter.name is not None:
        columns = (sightings.c.name, sightings.c.source)
        wanted = wanted.where(or_(*(column.icontains(filter.name, autoescape=True) for column in columns)))
    return wanted.order_by(sightings.c.created_at.desc(), sightings.c.id.desc())


def as_sighting(row: Row[*tuple[Any, ...]]) -> Sighting:
    """A sighting from its row."""
    document = Sha256(row.document) if row.document else None
    return Sighting(
        row.id, row.image_id, row.name, row.source, document, row.page, row.release, row.created_at
    )


def names_of(row: Any) -> tuple[str, ...]:
    """The names in a row with the first three, the oldest first, each once."""
    return tuple(name for name in dict.fromkeys((row.first, row.second, row.third)) if name)


def first_sightings() -> Select[Any]:
    """For each of the `wanted` images: the number of its sightings, and the names of the first three."""
    place = func.row_number().over(
        partition_by=sightings.c.image_id, order_by=(sightings.c.created_at, sightings.c.id)
    )
    wanted = sightings.c.image_id.in_(bindparam("wanted", expanding=True))
    numbered = select(sightings.c.image_id, sightings.c.name, place.label("place")).where(wanted).subquery()
    names = [
        func.max(numbered.c.name).filter(numbered.c.place == number).label(word)
        for number, word in enumerate(("first", "second", "third"), 1)
    ]
    counted = select(numbered.c.image_id, func.count().label("number"), *names)
    return counted.group_by(numbered.c.image_id)


FIRST_SIGHTINGS = Prompt(first_sightings())
TAGS = Prompt(
    select(tags.c.image_id, tags.c.tag).where(tags.c.image_id.in_(bindparam("wanted", expanding=True)))
)
"""The tags of the `wanted` images."""


def _read(driver: Driver, statement: Prompt, images: Sequence[Image]) -> Iterable[Any]:
    for chunk in chunks([image.id for image in images]):
        yield from statement.rows(driver, wanted=list(chunk))


def _first_name(place: int) -> ColumnElement[str]:
    """The name of an image's sighting at a place, from 0, in the order of first_sightings."""
    of_image = select(sightings.c.name).where(sightings.c.image_id == images.c.id)
    in_order = of_image.order_by(sightings.c.created_at, sightings.c.id)
    return in_order.limit(1).offset(place).scalar_subquery()


def _of_image(what: ColumnElement[Any], image: ColumnElement[Any]) -> ColumnElement[Any]:
    return select(what).where(image == images.c.id).scalar_subquery()


NAMED = Prompt(
    select(
        *IMAGE,
        _of_image(func.count(), sightings.c.image_id).label("number"),
        *(_first_name(place).label(word) for place, word in enumerate(("first", "second", "third"))),
        _of_image(func.aggregate_strings(tags.c.tag, BETWEEN_TAGS), tags.c.image_id).label("tags"),
    )
    .select_from(PAIRED)
    .where(fingerprints.c.seq.in_(bindparam("wanted", expanding=True)), visible(fingerprints))
)
"""The images in search with the `wanted` fingerprints, and what is said of them."""
