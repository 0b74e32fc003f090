"""Turns facts into rows, inside a transaction that the writer gives.

Whoever is called here is the only writer of the store at that moment: what it reads cannot change before it
writes. Every insert passes over a row that is there already, so writing a fact twice changes nothing.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy import Connection, Table, bindparam, func, or_, select

from dhash_service.errors import BadRequestError, NotFoundError, StoreUnreachableError
from dhash_service.facts import (
    UNLABELLED,
    Algorithm,
    Decision,
    Image,
    Label,
    Match,
    Picture,
    Sha256,
    Source,
    Subject,
    Token,
    Tombstone,
    new_id,
    sighting_id,
)
from dhash_service.search.feed import Position
from dhash_service.store import erasure
from dhash_service.store.engine import timeline_of
from dhash_service.store.erasure import Erasure
from dhash_service.store.prompt import Adding, Driver, Prompt, driver_of
from dhash_service.store.repository import chunks, images_by_id
from dhash_service.store.tables import (
    decisions,
    fingerprints,
    images,
    lookups,
    sightings,
    tags,
    thumbnails,
    token_revocations,
    tokens,
    tombstones,
)
from dhash_service.store.types import MICROSECOND
from dhash_service.store.visibility import hidden_image

Row = dict[str, Any]


Candidate = tuple[int, int, int | Image]
"""A picture near another: the bits that differ, its fingerprint, and its key in the feed; or the picture
itself, where it is about to be committed."""


@dataclass(frozen=True, slots=True)
class Unseen:
    """Tells how to match a picture again with those that came `after` the position it was matched at.

    Only pictures within `radius` bits count: `match` is given them, the oldest first.
    """

    after: Position
    radius: int
    match: Callable[[Sequence[Candidate]], Match]


@dataclass(frozen=True, slots=True)
class NewImage:
    """A picture to be kept, and what matching made of it."""

    picture: Picture
    match: Match
    source: Source | None
    label: Label = UNLABELLED
    unseen: Unseen | None = None
    as_admin: bool = False


@dataclass(frozen=True, slots=True)
class NewSighting:
    """An image that was seen: under which words, and where in a document."""

    image: UUID
    label: Label
    source: Source | None


@dataclass(frozen=True, slots=True)
class Registered:
    """The result for a picture that was to be kept.

    `created` is False where the image stood in search already: nothing was added, and there is no lookup.
    `match` is the one that was kept.
    """

    image: Image
    created: bool
    lookup: UUID | None
    match: Match


class Recorder:
    """Writes as one release, with one algorithm. Methods are `Handler`s of the writer."""

    def __init__(self, release: str, algorithm: Algorithm, clock: Callable[[], datetime]) -> None:
        self._release = release
        self._algorithm = algorithm
        self._clock = clock

    # ---- images

    def add_images(self, connection: Connection, new: Sequence[NewImage]) -> list[Registered]:
        """Keep pictures and their lookups. An image of a quarantined release comes back to search.

        Raises `TakenDownError` for one that was erased or, unless an admin sends it, taken down.
        """
        now = self._clock()
        # A new image, the most frequent case, is asked about once: only one that is here has a past.
        here = present(driver_of(connection), list({item.picture.id for item in new}))
        known = images_by_id(driver_of(connection), here, self._algorithm)
        firsts: dict[UUID, NewImage] = {}
        for item in new:
            if item.picture.id not in known:
                firsts.setdefault(item.picture.id, item)
        hidden = [id for id in here if id not in known]
        erasure.refuse(connection, [id for id in firsts if id not in here])
        erasure.refuse_hidden(connection, [id for id in hidden if not firsts[id].as_admin])
        kept = {id: self._image(item.picture, now) for id, item in firsts.items()}
        matches = self._matches(connection, list(firsts.values()), kept)
        matches = standing(driver_of(connection), matches, {*here, *kept})
        self._insert_images(connection, [item.picture for item in firsts.values()], hidden, now)
        ids = {id: new_id() for id in firsts}
        add(
            connection,
            lookups,
            [self._lookup(ids[id], item, matches[id], now) for id, item in firsts.items()],
        )
        answers = []
        for item in new:
            id = item.picture.id
            created = firsts.get(id) is item
            image = known[id] if id in known else kept[id]
            match = matches[id] if created else item.match
            answers.append(Registered(image, created, ids[id] if created else None, match))
        self.add_sightings(
            connection, [NewSighting(item.picture.id, item.label, item.source) for item in new]
        )
        return answers

    def _matches(
        self, connection: Connection, new: Sequence[NewImage], kept: Mapping[UUID, Image]
    ) -> dict[UUID, Match]:
        """The match of each, made again where one near it was committed since, or stands before it here."""
        found = {item.picture.id: item.match for item in new}
        positions = [item.unseen.after for item in new if item.unseen]
        if not positions:
            return found
        require_same(connection, positions)
        rows = NEWER.rows(driver_of(connection), after=min(position.marks[0] for position in positions))
        keys = [row.seq for row in rows]
        values = [row.value for row in rows] + [item.picture.fingerprint.value for item in new]
        compared = np.array(values, np.uint64)
        candidates = [*keys, *(kept[item.picture.id] for item in new)]
        for place, item in enumerate(new, len(rows)):
            if item.unseen is None:
                continue
            first = bisect_right(keys, item.unseen.after.marks[0])
            distances = np.bitwise_count(compared[first:place] ^ compared[place])
            (near,) = (distances <= item.unseen.radius).nonzero()
            if len(near):
                bits, places = distances[near].tolist(), (near + first).tolist()
                newer = [(each, values[at], candidates[at]) for each, at in zip(bits, places, strict=True)]
                found[item.picture.id] = item.unseen.match(newer)
        return found

    def see(self, connection: Connection, new: Sequence[NewSighting]) -> list[None]:
        """Keep where known images were seen. Raises `TakenDownError` for one that was erased since."""
        here = present(driver_of(connection), list({item.image for item in new}))
        if gone := {item.image for item in new}.difference(here):
            erasure.refuse(connection, list(gone))
            raise NotFoundError(f"There is no image {min(gone)}.")
        return self.add_sightings(connection, new)

    def add_sightings(self, connection: Connection, new: Sequence[NewSighting]) -> list[None]:
        """Keep what was seen where, and tags; what says nothing is passed over."""
        stamp = {"release": self._release, "created_at": self._clock()}
        seen, tagged = [], []
        for item in new:
            storable(item.label.name, item.label.source, *item.label.tags)
            if row := sighting_row(item):
                seen.append(row | stamp)
            tagged += [{"image_id": item.image, "tag": tag} | stamp for tag in item.label.tags]
        add(connection, sightings, seen)
        add(connection, tags, tagged)
        return [None] * len(new)

    def _insert_images(
        self, connection: Connection, pictures: Sequence[Picture], hidden: Sequence[UUID], now: datetime
    ) -> None:
        stamp = {"release": self._release, "created_at": now}
        before = fingerprinted(connection, hidden)
        self._bring_back(connection, hidden, now)
        add(connection, images, [image_row(picture) | stamp for picture in pictures])
        add(
            connection,
            fingerprints,
            [fingerprint_row(picture) | {"repeats": picture.id in before} | stamp for picture in pictures],
        )
        add(
            connection,
            thumbnails,
            [
                {"image_id": picture.id, "webp": picture.thumbnail} | stamp
                for picture in pictures
                if picture.thumbnail is not None
            ],
        )

    def erase(self, connection: Connection, wishes: Sequence[Erasure]) -> list[Sha256 | None]:
        """Remove images for good. Raises `BadRequestError` for a reason that cannot be stored."""
        for wish in wishes:
            storable(wish.reason, wish.actor)
        return erasure.erase(connection, wishes, self._release)

    def _bring_back(self, connection: Connection, ids: Sequence[UUID], now: datetime) -> None:
        """Lift the tombstones on these images: somebody sent them again."""
        for chunk in chunks(ids):
            found = connection.scalars(
                select(images.c.id).where(images.c.id.in_(chunk), hidden_image(images.c.id))
            ).all()
            lifted = [
                Tombstone(
                    new_id(), Subject.IMAGE, str(id), False, "sent again", "service", self._release, now
                )
                for id in found
            ]
            self.add_tombstones(connection, lifted)

    def _image(self, picture: Picture, now: datetime) -> Image:
        return Image(
            picture.id,
            picture.sha256,
            picture.format,
            picture.size,
            picture.fingerprint,
            self._release,
            now,
        )

    def _lookup(self, id: UUID, item: NewImage, match: Match, now: datetime) -> Row:
        source = item.source
        return {
            "id": id,
            "image_id": item.picture.id,
            "status": match.status,
            "confidence": match.confidence,
            "reasons": match.reasons,
            "quality": item.picture.fingerprint.quality,
            "nearest_id": match.nearest.image.id if match.nearest else None,
            "distance": match.nearest.distance if match.nearest else None,
            "runner_up": match.runner_up,
            "known": match.known,
            "document": source.document if source else None,
            "page": source.page if source else None,
            "box": source.box if source else None,
            "release": self._release,
            "created_at": now,
        }

    # ---- decisions and tombstones

    def add_decisions(self, connection: Connection, new: Sequence[Decision]) -> list[Decision]:
        """Record verdicts. The newest holds: one that comes later is never dated earlier."""
        written = []
        for decision in new:
            storable(decision.reviewer, decision.note)
            if not connection.scalar(select(lookups.c.id).where(lookups.c.id == decision.lookup)):
                raise NotFoundError(f"There is no lookup {decision.lookup}.")
            newest = connection.scalar(
                select(func.max(decisions.c.created_at)).where(decisions.c.lookup_id == decision.lookup)
            )
            decision = replace(decision, created_at=after(newest, decision.created_at))
            add(
                connection,
                decisions,
                [
                    {
                        "id": decision.id,
                        "lookup_id": decision.lookup,
                        "verdict": decision.verdict,
                        "reviewer": decision.reviewer,
                        "note": decision.note,
                        "release": decision.release,
                        "created_at": decision.created_at,
                    }
                ],
            )
            written.append(decision)
        return written

    def add_tombstones(self, connection: Connection, new: Sequence[Tombstone]) -> list[Tombstone]:
        """Hide subjects or bring them back. The newest holds: one that comes later is never dated earlier."""
        written = []
        for tombstone in new:
            storable(tombstone.subject_id, tombstone.reason, tombstone.actor)
            image = self._subject_image(connection, tombstone)
            release = tombstone.subject_id if tombstone.subject is Subject.RELEASE else None
            newest = connection.scalar(
                select(func.max(tombstones.c.created_at)).where(
                    or_(tombstones.c.subject_image == image, tombstones.c.subject_release == release)
                )
            )
            tombstone = replace(tombstone, created_at=after(newest, tombstone.created_at))
            add(
                connection,
                tombstones,
                [
                    {
                        "id": tombstone.id,
                        "subject": tombstone.subject,
                        "subject_image": image,
                        "subject_release": release,
                        "hidden": tombstone.hidden,
                        "reason": tombstone.reason,
                        "actor": tombstone.actor,
                        "release": tombstone.release,
                        "created_at": tombstone.created_at,
                    }
                ],
            )
            written.append(tombstone)
        return written

    def _subject_image(self, connection: Connection, tombstone: Tombstone) -> UUID | None:
        if tombstone.subject is not Subject.IMAGE:
            return None
        try:
            id = UUID(tombstone.subject_id)
        except ValueError:
            raise BadRequestError(f"{tombstone.subject_id!r} is not an image's id.") from None
        if not connection.scalar(select(images.c.id).where(images.c.id == id)):
            raise NotFoundError(f"There is no image {id}.")
        return id

    # ---- tokens

    def add_tokens(self, connection: Connection, new: Sequence[Token]) -> list[Token]:
        """Keep tokens. Raises `BadRequestError` for a name that a token in force has."""
        for token in new:
            storable(token.name)
            revoked = select(token_revocations.c.token_id)
            in_use = select(tokens.c.id).where(
                tokens.c.name == token.name, tokens.c.id.not_in(revoked), tokens.c.id != token.id
            )
            if connection.execute(in_use).first():
                raise BadRequestError(
                    f"There is a token named {token.name} already.",
                    "Choose another name, or revoke that one first.",
                )
            add(
                connection,
                tokens,
                [
                    {
                        "id": token.id,
                        "name": token.name,
                        "role": token.role,
                        "digest": token.digest,
                        "release": token.release,
                        "created_at": token.created_at,
                    }
                ],
            )
        return list(new)

    def revoke_tokens(self, connection: Connection, names: Sequence[str]) -> list[int]:
        """Revoke every token in force of each name; returns how many. Raises `NotFoundError` for none."""
        counts = []
        for name in names:
            storable(name)
            revoked = select(token_revocations.c.token_id)
            found = connection.scalars(
                select(tokens.c.id).where(tokens.c.name == name, tokens.c.id.not_in(revoked))
            ).all()
            if not found:
                raise NotFoundError(f"No token in force is named {name}.", "`dhash token list` shows them.")
            stamp = {"release": self._release, "created_at": self._clock()}
            add(connection, token_revocations, [{"id": new_id(), "token_id": id} | stamp for id in found])
            counts.append(len(found))
        return counts


def require_same(connection: Connection, positions: Sequence[Position]) -> None:
    """Raise `StoreUnreachableError` where a database failed over since: numbers are given out again there."""
    timeline = timeline_of(connection)
    if any(position.marks[3] != timeline for position in positions):
        raise StoreUnreachableError(
            "The database failed over while the picture was matched.", "Nothing was written; send it again."
        )


def standing(driver: Driver, matches: Mapping[UUID, Match], here: Set[UUID]) -> dict[UUID, Match]:
    """The matches as they stand, by picture: a nearest image that was erased meanwhile is no longer said.

    `here` are images that have a row for certain.
    """
    nearest = {match.nearest.image.id for match in matches.values() if match.nearest} - here
    gone = nearest.difference(present(driver, list(nearest))) if nearest else set()
    return {
        id: replace(match, nearest=None) if match.nearest and match.nearest.image.id in gone else match
        for id, match in matches.items()
    }


def sighting_row(seen: NewSighting) -> Row | None:
    """The columns of a sighting; None for one that says nothing but tags."""
    label, source = seen.label, seen.source
    if not label.name and not label.source and source is None:
        return None
    document, page = (source.document, source.page) if source else (None, None)
    return {
        "id": sighting_id(seen.image, label.name, label.source, document, page),
        "image_id": seen.image,
        "name": label.name,
        "source": label.source,
        "document": document,
        "page": page,
    }


def image_row(picture: Picture) -> Row:
    """The columns that follow from a picture's bytes."""
    return {
        "id": picture.id,
        "sha256": picture.sha256,
        "format": picture.format,
        "size": picture.size,
        "width": picture.fingerprint.width,
        "height": picture.fingerprint.height,
    }


def fingerprint_row(picture: Picture) -> Row:
    """The columns that follow from a picture's bytes and the algorithm."""
    fingerprint = picture.fingerprint
    return {
        "image_id": picture.id,
        "algorithm": fingerprint.algorithm.name,
        "algorithm_version": fingerprint.algorithm.version,
        "value": fingerprint.value,
        "quality": fingerprint.quality,
        "reasons": fingerprint.reasons,
    }


def add(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, passing over those whose key is there."""
    if rows:
        adding(table).add(driver_of(connection), rows)


@cache
def adding(table: Table) -> Adding:
    """The insertion into a table. Building it costs more than running it."""
    return Adding(table)


NEWER = Prompt(
    select(fingerprints.c.seq, fingerprints.c.value)
    .where(fingerprints.c.seq > bindparam("after"))
    .order_by(fingerprints.c.seq)
)
PRESENT = Prompt(select(images.c.id).where(images.c.id.in_(bindparam("wanted", expanding=True))))


def present(driver: Driver, ids: Sequence[UUID]) -> list[UUID]:
    """Select those of these images that have a row, in search or not."""
    return [row.id for chunk in chunks(ids) for row in PRESENT.rows(driver, wanted=list(chunk))]


def fingerprinted(connection: Connection, ids: Iterable[UUID]) -> set[UUID]:
    """Select those of these images that have a fingerprint, visible or not."""
    found: set[UUID] = set()
    for chunk in chunks(list(ids)):
        rows = select(fingerprints.c.image_id).where(fingerprints.c.image_id.in_(chunk))
        found.update(connection.scalars(rows))
    return found


def after(newest: datetime | None, wanted: datetime) -> datetime:
    """The wanted time, or just after the newest: clocks of two machines differ, and the later word holds."""
    return wanted if newest is None or wanted > newest else newest + MICROSECOND


def storable(*texts: str) -> None:
    """Refuse text that a database cannot hold: PostgreSQL no NUL, neither of them half a character."""
    for text in texts:
        if "\0" in text or (not text.isascii() and any("\ud800" <= each <= "\udfff" for each in text)):
            raise BadRequestError("The text holds a character that cannot be stored.", "Send it without.")
