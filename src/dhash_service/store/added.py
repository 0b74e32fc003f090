"""Images in the order they came, the newest first, by name, tag and time: what a library is browsed by."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Engine, exists, func, or_, select

from dhash_service.facts import Algorithm, Image
from dhash_service.store.engine import reading
from dhash_service.store.prompt import driver_of
from dhash_service.store.repository import IMAGE, PAIRED, as_image
from dhash_service.store.sightings import with_names
from dhash_service.store.tables import fingerprints, images, sightings, tags
from dhash_service.store.visibility import stands


@dataclass(frozen=True, slots=True)
class AddedFilter:
    """A part of the images; None does not limit. `name` is a part of a name or source, `images` are ids."""

    name: str | None = None
    tag: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    images: Sequence[UUID] | None = None


@dataclass(frozen=True, slots=True)
class AddedPage:
    """Images with their names, the newest first. `after` is where the next page begins, None on the last."""

    images: Sequence[Image]
    after: int | None


class Added:
    """Reads the images of one store in the order they came."""

    def __init__(self, engine: Engine, algorithm: Algorithm) -> None:
        self._engine = engine
        self._algorithm = algorithm

    def page(self, filter: AddedFilter, after: int | None = None, limit: int = 24) -> AddedPage:
        """The next images in search that pass a filter, after a cursor."""
        wanted = select(*IMAGE).select_from(PAIRED).where(stands(fingerprints))
        if after is not None:
            wanted = wanted.where(fingerprints.c.seq < after)
        if filter.images is not None:
            wanted = wanted.where(images.c.id.in_(filter.images))
        if filter.tag is not None:
            wanted = wanted.where(exists().where(tags.c.image_id == images.c.id, tags.c.tag == filter.tag))
        if filter.name is not None:
            columns = (sightings.c.name, sightings.c.source)
            has = or_(*(column.icontains(filter.name, autoescape=True) for column in columns))
            wanted = wanted.where(exists().where(sightings.c.image_id == images.c.id, has))
        if filter.since is not None:
            wanted = wanted.where(images.c.created_at >= filter.since)
        if filter.until is not None:
            wanted = wanted.where(images.c.created_at < filter.until)
        with reading(self._engine) as connection:
            newest_first = wanted.order_by(fingerprints.c.seq.desc()).limit(limit + 1)
            rows = connection.execute(newest_first).all()
            found = [as_image(row, self._algorithm) for row in rows[:limit]]
            named = with_names(driver_of(connection), found) if found else []
        return AddedPage(named, rows[limit - 1].seq if len(rows) > limit else None)

    def tags(self, limit: int) -> list[str]:
        """The tags that most images have, by name."""
        most = select(tags.c.tag).group_by(tags.c.tag).order_by(func.count().desc(), tags.c.tag).limit(limit)
        with reading(self._engine) as connection:
            return sorted(connection.scalars(most))
