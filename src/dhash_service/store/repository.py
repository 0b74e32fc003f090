"""Reads of images, lookups, decisions and tokens. Safe from any thread; each call sees one moment."""

import hashlib
import hmac
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Connection, Engine, Row, Select, bindparam, func, select

from dhash_service.facts import (
    Algorithm,
    Fingerprint,
    Image,
    Lookup,
    Match,
    Neighbour,
    Role,
    Sha256,
    Source,
    Status,
    Token,
    earliest_id,
    image_id,
)
from dhash_service.store.engine import reading
from dhash_service.store.prompt import Driver, Prompt, driver_of, glancing
from dhash_service.store.tables import (
    fingerprints,
    images,
    lookups,
    thumbnails,
    token_revocations,
    tokens,
)
from dhash_service.store.visibility import aside, gone_image, stands, visible, visible_image

T = TypeVar("T")

CHUNK = 500
"""Values small enough in number for one statement's parameters."""

SAME_MOMENT = timedelta(seconds=2)
"""More than passes between the times of an image and of the lookup that it is written with."""

IMAGE = (
    images.c.id,
    images.c.sha256,
    images.c.format,
    images.c.size,
    images.c.width,
    images.c.height,
    images.c.release,
    images.c.created_at,
    fingerprints.c.seq,
    fingerprints.c.value,
    fingerprints.c.quality,
    fingerprints.c.reasons,
)
"""The columns that make an `Image`."""

PAIRED = images.join(fingerprints, fingerprints.c.image_id == images.c.id)


class Repository:
    """Reads the facts of one store."""

    def __init__(self, engine: Engine, algorithm: Algorithm) -> None:
        self.engine = engine
        self.algorithm = algorithm

    def image(self, id: UUID) -> Image | None:
        """The image with this id, unless it is hidden."""
        return self.images([id]).get(id)

    def images(self, ids: Sequence[UUID]) -> dict[UUID, Image]:
        """Read those of these images that are in search."""
        with glancing(self.engine, once=len(ids) <= CHUNK) as driver:
            return images_by_id(driver, ids, self.algorithm)

    def by_sha256(self, sha256: Sha256) -> Image | None:
        """The image with these bytes, unless it is hidden."""
        return self.with_digests([sha256]).get(sha256)

    def with_digests(self, digests: Sequence[Sha256]) -> dict[Sha256, Image]:
        """Read those of the images with these bytes that are in search."""
        wanted = set(digests)
        found = self.images([image_id(digest) for digest in wanted]).values()
        return {image.sha256: image for image in found if image.sha256 in wanted}

    def by_digests(self, digests: Sequence[Sha256]) -> dict[Sha256, UUID]:
        """The images in search with these bytes."""
        wanted = [image_id(digest) for digest in digests]
        found: dict[Sha256, UUID] = {}
        with glancing(self.engine) as driver:
            for chunk in chunks(wanted):
                found |= {Sha256(row.sha256): row.id for row in DIGESTS.rows(driver, wanted=list(chunk))}
        return found

    def images_by_key(self, keys: Sequence[int]) -> dict[int, Image]:
        """The images in search behind these keys of the feed; a hidden one is left out."""
        if not keys:  # nothing near: most often so
            return {}
        with glancing(self.engine, once=len(keys) <= CHUNK) as driver:
            return {row.seq: image for row, image in read_images(driver, BY_KEY, keys, self.algorithm)}

    def with_fingerprint(self, value: int) -> list[Image]:
        """The images in search with exactly this fingerprint. Reads every fingerprint."""
        wanted = select(*IMAGE).select_from(PAIRED)
        wanted = wanted.where(fingerprints.c.value == value, stands(fingerprints)).order_by(images.c.id)
        with reading(self.engine) as connection:
            return [as_image(row, self.algorithm) for row in connection.execute(wanted)]

    def thumbnail(self, id: UUID) -> bytes | None:
        """The image's thumbnail, a JPEG or WebP file, unless the image is hidden or has none."""
        wanted = select(thumbnails.c.webp).where(
            thumbnails.c.image_id == id, visible_image(thumbnails.c.image_id)
        )
        with reading(self.engine) as connection:
            found = connection.scalar(wanted)
            return None if found is None else bytes(found)

    def count(self) -> int:
        """Count the images in search; the index's length costs nothing."""
        with reading(self.engine) as connection:
            everything = connection.scalar(select(func.count()).select_from(fingerprints)) or 0
            hidden = aside().subquery()
            return everything - (connection.scalar(select(func.count(hidden.c.seq.distinct()))) or 0)

    def fingerprints_of(self, release: str) -> int:
        """Count the fingerprints that a release has computed."""
        counted = select(func.count()).select_from(fingerprints).where(fingerprints.c.release == release)
        with reading(self.engine) as connection:
            return connection.scalar(counted) or 0

    def gone_with(self, release: str) -> list[Sha256]:
        """The images that this release fingerprinted and that are not in search, by their SHA-256."""
        wanted = (
            select(images.c.sha256)
            .join(fingerprints, fingerprints.c.image_id == images.c.id)
            .where(fingerprints.c.release == release, gone_image(images.c.id))
            .order_by(images.c.sha256)
        )
        with reading(self.engine) as connection:
            return [Sha256(digest) for digest in connection.scalars(wanted)]

    # ---- review

    def lookup(self, id: UUID) -> Lookup | None:
        """The lookup with this id, decided or not, with its nearest image as it is now."""
        with reading(self.engine) as connection:
            return next(
                read_lookups(connection, select(lookups).where(lookups.c.id == id), self.algorithm), None
            )

    def kept_by(self, image: Image) -> Lookup | None:
        """The lookup that an image was kept with; None where a merge brought the image alone.

        It was made with the image, and the ids of lookups begin with their time: no index is needed.
        """
        first = earliest_id(image.created_at - SAME_MOMENT)
        last = earliest_id(image.created_at + SAME_MOMENT)
        wanted = select(lookups).where(lookups.c.id.between(first, last), lookups.c.image_id == image.id)
        with reading(self.engine) as connection:
            oldest_first = wanted.order_by(lookups.c.id).limit(1)
            return next(read_lookups(connection, oldest_first, self.algorithm), None)

    # ---- tokens

    def tokens(self) -> list[Token]:
        """Every token ever made, the oldest first."""
        with reading(self.engine) as connection:
            return [as_token(row) for row in connection.execute(_tokens().order_by(tokens.c.id))]

    def token(self, secret: str) -> Token | None:
        """The token in force with this secret.

        Plain SHA-256 is right here: the secret is 256 random bits, which no dictionary holds and nobody can
        try out, so a slow hash would only slow down every request. The index is asked for the hash, of which
        a caller cannot choose a prefix; what it finds is compared in constant time all the same.
        """
        digest = hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
        with reading(self.engine) as connection:
            row = connection.execute(_tokens().where(tokens.c.digest == digest)).first()
        if row is None or row.revoked_at is not None or not hmac.compare_digest(row.digest, digest):
            return None
        return as_token(row)


WITH_IDS = select(*IMAGE).select_from(PAIRED).where(images.c.id.in_(bindparam("wanted", expanding=True)))
WITH_KEYS = (
    select(*IMAGE).select_from(PAIRED).where(fingerprints.c.seq.in_(bindparam("wanted", expanding=True)))
)

BY_ID = Prompt(WITH_IDS.where(stands(fingerprints)))
"""Images in search with the `wanted` ids, each with the fingerprint it stands by."""

BY_KEY = Prompt(WITH_KEYS.where(visible(fingerprints)))
"""Images in search with the `wanted` fingerprints."""

DIGESTS = Prompt(
    select(images.c.id, images.c.sha256).where(
        images.c.id.in_(bindparam("wanted", expanding=True)), visible_image(images.c.id)
    )
)
"""Id and SHA-256 of the images in search with the `wanted` ids."""

HIDDEN_OR_NOT = Prompt(WITH_IDS.order_by(fingerprints.c.seq.desc()))
"""Images with the `wanted` ids, hidden or not; of an image's fingerprints, the first comes last."""


def read_images(
    driver: Driver, statement: Prompt, wanted: Sequence[Any], algorithm: Algorithm
) -> Iterator[tuple[Any, Image]]:
    """The rows of one of the statements above for what is wanted, each with the image it makes."""
    for chunk in chunks(wanted):
        for row in statement.rows(driver, wanted=list(chunk)):
            yield row, as_image(row, algorithm)


def images_by_id(driver: Driver, ids: Iterable[UUID], algorithm: Algorithm) -> dict[UUID, Image]:
    """Read those of these images that are in search, each with the fingerprint it stands by."""
    return {image.id: image for _, image in read_images(driver, BY_ID, list(ids), algorithm)}


def read_lookups(connection: Connection, wanted: Select[Any], algorithm: Algorithm) -> Iterator[Lookup]:
    """Lookups in the statement's order, with their nearest images, hidden or not: they were compared."""
    rows = connection.execute(wanted).all()
    compared = list({row.nearest_id for row in rows if row.nearest_id})
    found = read_images(driver_of(connection), HIDDEN_OR_NOT, compared, algorithm)
    nearest = {image.id: image for _, image in found}
    for row in rows:
        yield as_lookup(row, nearest)


def as_image(
    row: Any,
    algorithm: Algorithm,
    names: tuple[str, ...] = (),
    tags: tuple[str, ...] = (),
    sightings: int = 0,
) -> Image:
    """An image from the columns of `IMAGE`, and what is said of it elsewhere."""
    fingerprint = Fingerprint(row.value, algorithm, row.quality, row.reasons, row.width, row.height)
    digest = Sha256(row.sha256)
    return Image(
        row.id,
        digest,
        row.format,
        row.size,
        fingerprint,
        row.release,
        row.created_at,
        names,
        tags,
        sightings,
    )


def as_lookup(row: Row[*tuple[Any, ...]], nearest: Mapping[UUID, Image]) -> Lookup:
    """A lookup from its row and the images that lookups were compared with."""
    image = nearest.get(row.nearest_id)
    match = Match(
        Status(row.status),
        row.confidence,
        row.reasons,
        Neighbour(image, row.distance) if image else None,
        row.runner_up,
        row.known,
    )
    source = Source(Sha256(row.document), row.page, row.box) if row.document else None
    return Lookup(row.id, row.image_id, match, source, row.release, row.created_at)


def as_token(row: Row[*tuple[Any, ...]]) -> Token:
    """A token from its row and the time of its revocation."""
    return Token(
        row.id, row.name, Role(row.role), Sha256(row.digest), row.release, row.created_at, row.revoked_at
    )


def _tokens() -> Select[Any]:
    revoked = (
        select(func.min(token_revocations.c.created_at))
        .where(token_revocations.c.token_id == tokens.c.id)
        .scalar_subquery()
    )
    return select(tokens, revoked.label("revoked_at"))


def chunks(values: Sequence[T], size: int = CHUNK) -> Iterator[Sequence[T]]:
    """Pieces small enough for one statement's parameters."""
    return (values[start : start + size] for start in range(0, len(values), size))
