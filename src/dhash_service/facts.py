"""The domain's records: facts are only ever added, never changed.

Images are content-addressed: an image's id follows from its bytes (`image_id`), so two releases, two
processes or two stores that meet the same picture agree on its id without asking each other, and a merge
of two stores is a union. Everything that *happens* (a lookup, a decision, a tombstone) has a UUIDv7.
"""

import hashlib
import json
import os
import random
import time
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import NewType
from uuid import UUID

Sha256 = NewType("Sha256", str)
"""64 lower-case hex digits."""

# Not `os.urandom`: each call lets another thread have the interpreter, and no id is a secret.
_chance = random.Random()
os.register_at_fork(after_in_child=_chance.seed)


@lru_cache(maxsize=4096)  # a picture that is kept is asked for its id a dozen times
def image_id(sha256: Sha256) -> UUID:
    """The id of the image with these bytes: a UUIDv8 (RFC 9562 §5.8) cut from its SHA-256."""
    return id_of_digest(sha256)


def id_of_digest(sha256: str) -> UUID:
    """A UUIDv8 cut from a SHA-256 in hex: for facts that are the same fact wherever they are written."""
    value = int(sha256[:32], 16)
    value = value & ~(0xF << 76) | 8 << 76
    value = value & ~(0x3 << 62) | 2 << 62
    return UUID(int=value)


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562 §5.7): milliseconds since 1970, then random bits; sorts by time of creation."""
    milliseconds = time.time_ns() // 1_000_000
    value = milliseconds << 80 | _chance.getrandbits(80)
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(0x3 << 62) | 2 << 62
    return UUID(int=value)


def earliest_id(when: datetime) -> UUID:
    """The least UUIDv7 of a time: those made before are less, those made since are not."""
    value = int(when.timestamp() * 1000) << 80
    return UUID(int=value | 0x7 << 76 | 0x2 << 62)


class Role(StrEnum):
    """The rights of a bearer token; each role may do all that the ones before it may."""

    CLIENT = "client"
    REVIEWER = "reviewer"
    ADMIN = "admin"


class Status(StrEnum):
    """The result for a submitted image."""

    MATCHED = "matched"  # surely the same picture as a known one
    NEW = "new"  # surely like nothing known
    REVIEW = "review"  # not sure: a person decides


class Outcome(StrEnum):
    """The end of one image or document, as the metrics count it."""

    OK = "ok"
    REJECTED = "rejected"  # the caller's fault: not a picture, too large, damaged
    FAILED = "failed"  # ours: a crash, a timeout, a decoder error on a valid file


class Verdict(StrEnum):
    """A person's answer to "is this the same picture?"."""

    SAME = "same"
    DIFFERENT = "different"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True)
class Algorithm:
    """A fingerprint algorithm. `version` rises whenever the bits of any picture move."""

    name: str
    version: int


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The 64-bit difference hash of one image, and how far it can be trusted.

    `value` is unsigned; bit 63 is the top-left comparison, row by row (imagehash's order), so
    `f"{value:016x}" == str(imagehash.dhash(image))`. `quality` is 0 (says nothing) to 1; `reasons`
    name what lowered it: `flat`, `low_entropy`, `tiny`, `cut`. Width and height are those of the pixels that
    were compared: the stored ones, or for a visual algorithm those that are shown.
    """

    value: int
    algorithm: Algorithm
    quality: float
    reasons: tuple[str, ...]
    width: int
    height: int

    @property
    def hex(self) -> str:
        """The value as 16 hex digits."""
        return f"{self.value:016x}"


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded image: what its bytes are, its fingerprint, and a thumbnail for reviewers."""

    sha256: Sha256
    format: str  # Pillow's name: JPEG, PNG, WEBP, GIF, BMP, TIFF
    size: int  # bytes
    fingerprint: Fingerprint
    thumbnail: bytes | None  # JPEG or WebP, at most 256 px; None where not asked for
    content: bytes | None = field(default=None, repr=False)  # the file itself, where originals are kept

    @property
    def id(self) -> UUID:
        return image_id(self.sha256)


@dataclass(frozen=True, slots=True)
class Source:
    """A picture's place in a document: page from 1, box as left, bottom, right, top in points."""

    document: Sha256
    page: int
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Label:
    """The words that a submission carries: a file name, a path or URL, and tags. Each may be missing."""

    name: str = ""
    source: str = ""
    tags: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.name or self.source or self.tags)


UNLABELLED = Label()


@dataclass(frozen=True, slots=True)
class Sighting:
    """A picture seen under a name, at a source, in a document, whether its bytes were known or not.

    Its id follows from all that it says, so the same file seen twice is one sighting: the first.
    """

    id: UUID
    image: UUID
    name: str
    source: str
    document: Sha256 | None
    page: int | None
    release: str
    created_at: datetime


def sighting_id(image: UUID, name: str, source: str, document: Sha256 | None, page: int | None) -> UUID:
    """The id of the sighting that says this."""
    said = json.dumps([image.hex, name, source, document, page], separators=(",", ":"))
    return id_of_digest(hashlib.sha256(said.encode()).hexdigest())


@dataclass(frozen=True, slots=True)
class Image:
    """A known image, as the store holds it.

    `names` (the first ones), `tags` and the number of `sightings` are there where they were asked for.
    """

    id: UUID
    sha256: Sha256
    format: str
    size: int
    fingerprint: Fingerprint
    release: str
    created_at: datetime
    names: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    sightings: int = 0


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A known image near a queried fingerprint. `distance` counts the bits that differ, 0 to 64.

    `turn` says which of the query's orientations this one is near to, where all eight were asked about.
    """

    image: Image
    distance: int
    turn: str | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """The judgement of a fingerprint by its neighbours.

    `known` is the number of images searched, `runner_up` the distance of the nearest one that is no copy of
    the nearest: with the distance, the quality and a crowd among the reasons they are all that confidence
    was computed from, kept to recalibrate it later.
    """

    status: Status
    confidence: float
    reasons: tuple[str, ...]
    nearest: Neighbour | None
    runner_up: int | None
    known: int


@dataclass(frozen=True, slots=True)
class Lookup:
    """A submitted image, and its match at that time."""

    id: UUID
    image: UUID
    match: Match
    source: Source | None
    release: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Decision:
    """A person's verdict on a lookup. The newest of a lookup's decisions holds; none is ever removed."""

    id: UUID
    lookup: UUID
    verdict: Verdict
    reviewer: str
    note: str
    release: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """Takes one decision back: what was decided before it holds again, or the lookup waits again."""

    id: UUID
    decision: UUID
    reviewer: str
    release: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class GroupDecision:
    """A person's verdict on a group of duplicates, and the picture to keep. The newest of a group holds."""

    id: UUID
    group: UUID
    kept: UUID | None
    verdict: Verdict
    reviewer: str
    note: str
    release: str
    created_at: datetime


class BankAction(StrEnum):
    """The treatment of a picture that matches a bank, the mildest first."""

    TOLD = "told"  # the answer says so
    QUEUED = "queued"  # and a person looks at it
    REFUSED = "refused"  # and it is not kept


@dataclass(frozen=True, slots=True)
class PictureBank:
    """A named collection of hashes. A fingerprint matches within `radius` bits."""

    name: str
    action: BankAction
    radius: int
    note: str


@dataclass(frozen=True, slots=True)
class BankEntry:
    """A hash in a bank: of `kind` md5, sha256 or the store's algorithm, its value in hex digits."""

    bank: str
    kind: str
    value: str
    label: str
    severity: int  # 0 to 10
    note: str
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class BankMatch:
    """A bank's entry that a picture matches, `distance` bits away."""

    bank: PictureBank
    entry: BankEntry
    distance: int


class Subject(StrEnum):
    """The kind of thing that a tombstone is about."""

    IMAGE = "image"
    RELEASE = "release"  # the fingerprints that this release computed: quarantine


@dataclass(frozen=True, slots=True)
class Tombstone:
    """Takes a subject out of search (`hidden`) or brings it back. A subject's newest tombstone holds."""

    id: UUID
    subject: Subject
    subject_id: str
    hidden: bool
    reason: str
    actor: str
    release: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token, without its secret: only the secret's SHA-256 is kept."""

    id: UUID
    name: str
    role: Role
    digest: Sha256
    release: str
    created_at: datetime
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """A browser that signed in with a token, without its secret. It ends by itself, or with its token."""

    id: UUID
    token: UUID
    name: str  # the token's
    role: Role
    digest: Sha256
    until: datetime
    release: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Claim:
    """A pair that one session has before it, and nobody else gets until then."""

    id: UUID
    lookup: UUID
    session: UUID
    until: datetime
    release: str
    created_at: datetime
