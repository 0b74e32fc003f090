"""The bodies of the answers, as the OpenAPI document describes them, and how each is made from the facts."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, FailFast, Field

from dhash_service.api.problems import Problem, problem
from dhash_service.documents import ExtractedPicture
from dhash_service.errors import DhashError
from dhash_service.facts import (
    BankAction,
    BankMatch,
    Decision,
    Image,
    Lookup,
    Neighbour,
    Sighting,
    Status,
    Verdict,
)
from dhash_service.matcher import Neighbourhood
from dhash_service.service import DocumentSubmission
from dhash_service.store import review
from dhash_service.store.sightings import SightingPage
from dhash_service.submitting import Submission

Hash = Field(
    description="fingerprint, 16 hex digits", pattern="^[0-9a-f]{16}$", examples=["8f0f0f1f3f7fff00"]
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """A whole number that a request may give: what it is where none is given, the least and the most."""

    usual: int
    least: int
    most: int


RADIUS, LIMIT = Bounds(10, 0, 32), Bounds(20, 1, 1000)
"""Of a search: the bits that may differ, and the results."""

ANY_HASH = "^[0-9a-fA-F]{16}$"
DIGEST = "^[0-9a-f]{64}$"
Fields = dict[str, Any]
"""The fields of an answer, in order, ready for `pydantic_core.to_json`: where answers come by the thousand,
nobody has to check what was made here."""

Names = Annotated[list[str], Field(description="the first names it was seen under")]
Tags = Annotated[list[str], Field(description="its tags")]


class Near(BaseModel):
    """A known image near a fingerprint."""

    id: UUID
    sha256: str
    hash: str = Hash
    distance: int = Field(ge=0, le=64, description="bits that differ")
    names: Names = []
    tags: Tags = []
    turn: str | None = Field(
        None,
        description="with `variants`: the orientation of the sent picture that this one is near to (`same`,"
        " `turned_90` clockwise, `mirrored`, …)",
    )

    @classmethod
    def of(cls, neighbour: Neighbour) -> Self:
        return cls(**cls.fields(neighbour))

    @staticmethod
    def fields(neighbour: Neighbour) -> Fields:
        """The same as a dict."""
        image = neighbour.image
        return {
            "id": image.id,
            "sha256": image.sha256,
            "hash": image.fingerprint.hex,
            "distance": neighbour.distance,
            "names": image.names,
            "tags": image.tags,
            "turn": neighbour.turn,
        }


class BankHit(BaseModel):
    """A bank's entry that a picture matches."""

    bank: str
    action: BankAction
    kind: str
    value: str
    label: str
    severity: int
    note: str
    distance: int = Field(ge=0, le=64, description="bits that differ; 0 for digests")

    @staticmethod
    def fields(match: BankMatch) -> Fields:
        """The hit as a dict."""
        entry = match.entry
        return {
            "bank": entry.bank,
            "action": match.bank.action,
            "kind": entry.kind,
            "value": entry.value,
            "label": entry.label,
            "severity": entry.severity,
            "note": entry.note,
            "distance": match.distance,
        }


class Submitted(BaseModel):
    """The result for one picture."""

    id: UUID = Field(description="id of the image; follows from its bytes")
    sha256: str
    hash: str = Hash
    algorithm: str
    quality: float = Field(ge=0, le=1, description="how far the fingerprint can be trusted")
    width: int
    height: int
    match: Near | None = Field(description="the nearest known image within the match radius")
    confidence: float = Field(ge=0, le=1, description="how sure `status` is")
    status: Status
    reasons: list[str] = Field(description="what lowered the confidence or the quality")
    banks: list[BankHit] = Field([], description="banks that it matches, the nearest first")
    lookup: UUID | None = Field(description="id in the review queue's history; null when nothing was added")
    release: str

    @classmethod
    def of(cls, submission: Submission, release: str) -> Self:
        return cls(**cls.fields(submission, release))

    @staticmethod
    def fields(submission: Submission, release: str) -> Fields:
        """The same as a dict."""
        fingerprint, match = submission.fingerprint, submission.match
        return {
            "id": submission.picture_id,
            "sha256": submission.sha256,
            "hash": fingerprint.hex,
            "algorithm": fingerprint.algorithm.name,
            "quality": fingerprint.quality,
            "width": fingerprint.width,
            "height": fingerprint.height,
            "match": Near.fields(match.nearest) if match.nearest else None,
            "confidence": match.confidence,
            "status": match.status,
            "reasons": list(dict.fromkeys((*match.reasons, *fingerprint.reasons))),
            "banks": [BankHit.fields(match) for match in submission.banks],
            "lookup": submission.lookup,
            "release": release,
        }


class BatchItem(BaseModel):
    """The result for one item of a batch, or the problem with it."""

    index: int = Field(description="place in the batch, from 0")
    name: str | None = Field(description="file name, where one was sent")
    result: Submitted | None
    problem: Problem | None

    @staticmethod
    def fields(index: int, name: str | None, outcome: Submission | DhashError, release: str) -> Fields:
        """The item as a dict."""
        if isinstance(outcome, DhashError):
            return {"index": index, "name": name, "result": None, "problem": problem(outcome)}
        return {"index": index, "name": name, "result": Submitted.fields(outcome, release), "problem": None}


class Batch(BaseModel):
    """The items of a batch, in its order."""

    results: list[BatchItem]
    succeeded: int
    failed: int


class ExtractedItem(Submitted):
    """A picture of a document."""

    page: int = Field(ge=1)
    box: tuple[float, float, float, float] = Field(description="left, bottom, right, top in points")

    @classmethod
    def on_page(cls, found: ExtractedPicture, submission: Submission, release: str) -> Self:
        item = Submitted.of(submission, release)
        return cls(page=found.page, box=found.box, **item.model_dump())


class Extracted(BaseModel):
    """The pictures of a document. A picture that was sent itself is a document of one page."""

    sha256: str
    pages: int
    pictures: list[ExtractedItem]
    skipped: dict[str, int] = Field(description="pictures left out, by reason")

    @classmethod
    def of(cls, document: DocumentSubmission, release: str) -> Self:
        return cls(
            sha256=document.sha256,
            pages=document.pages,
            pictures=[ExtractedItem.on_page(*pair, release) for pair in document.pictures],
            skipped=document.skipped,
        )

    @classmethod
    def of_picture(cls, submission: Submission, release: str) -> Self:
        fingerprint = submission.fingerprint
        box = (0.0, 0.0, float(fingerprint.width), float(fingerprint.height))
        item = Submitted.of(submission, release).model_dump()
        return cls(
            sha256=submission.sha256,
            pages=1,
            pictures=[ExtractedItem(page=1, box=box, **item)],
            skipped={},
        )


class Known(BaseModel):
    """A known image."""

    id: UUID
    sha256: str
    hash: str = Hash
    algorithm: str
    quality: float
    reasons: list[str]
    format: str
    size: int = Field(description="bytes")
    width: int
    height: int
    release: str = Field(description="release that computed the fingerprint")
    created_at: datetime
    names: Names = []
    tags: Tags = []
    sightings: int = Field(0, description="how often it was seen under different names and places")

    @classmethod
    def of(cls, image: Image) -> Self:
        return cls(
            id=image.id,
            sha256=image.sha256,
            hash=image.fingerprint.hex,
            algorithm=image.fingerprint.algorithm.name,
            quality=image.fingerprint.quality,
            reasons=list(image.fingerprint.reasons),
            format=image.format,
            size=image.size,
            width=image.fingerprint.width,
            height=image.fingerprint.height,
            release=image.release,
            created_at=image.created_at,
            names=list(image.names),
            tags=list(image.tags),
            sightings=image.sightings,
        )


class ErasedPicture(BaseModel):
    """A picture that was removed for good."""

    id: UUID
    erased_at: datetime
    backups: str = Field(description="what backups still hold, and until when")


class Sighted(BaseModel):
    """A name and place that a known picture was seen under."""

    id: UUID
    image: UUID
    name: str
    source: str = Field(description="path or URL")
    document: str | None = Field(description="SHA-256 of the PDF it stood in")
    page: int | None
    release: str
    created_at: datetime

    @classmethod
    def of(cls, sighting: Sighting) -> Self:
        return cls(**asdict(sighting))


class SightingsPage(BaseModel):
    """A page of sightings, the newest first."""

    items: list[Sighted]
    next: UUID | None = Field(description="cursor of the next page; null on the last one")

    @classmethod
    def of(cls, page: SightingPage) -> Self:
        return cls(items=[Sighted.of(each) for each in page.sightings], next=page.after)


class SearchAnswer(BaseModel):
    """Known images near a fingerprint, nearest first."""

    hash: str = Hash
    radius: int
    algorithm: str
    known: int = Field(description="images searched")
    total: int = Field(description="images within the radius; `results` are the nearest of them")
    crowded: bool = Field(description="so many pictures share a fingerprint this near that it says little")
    results: list[Near]

    @classmethod
    def of(cls, value: int, radius: int, algorithm: str, found: Neighbourhood) -> Self:
        return cls(**cls.fields(value, radius, algorithm, found))

    @staticmethod
    def fields(value: int, radius: int, algorithm: str, found: Neighbourhood) -> Fields:
        """The same as a dict."""
        return {
            "hash": f"{value:016x}",
            "radius": radius,
            "algorithm": algorithm,
            "known": found.known,
            "total": found.total,
            "crowded": found.crowded,
            "results": [Near.fields(neighbour) for neighbour in found.neighbours],
        }


class SearchRequest(BaseModel):
    """Many fingerprints to search for at once; the answers come in their order."""

    hashes: Annotated[list[Annotated[str, Field(pattern=ANY_HASH)]], FailFast()] = Field(
        min_length=1, examples=[["8f0f0f1f3f7fff00", "00ff00ff00ff00ff"]]
    )
    radius: int = Field(RADIUS.usual, ge=RADIUS.least, le=RADIUS.most, description="most differing bits")
    limit: int = Field(LIMIT.usual, ge=LIMIT.least, le=LIMIT.most, description="most results for each")


class DecisionRequest(BaseModel):
    """A person's answer to "is this the same picture?"."""

    verdict: Verdict
    note: str = Field("", max_length=2000)


class Decided(BaseModel):
    """A recorded decision."""

    id: UUID
    lookup: UUID
    verdict: Verdict
    reviewer: str
    note: str
    created_at: datetime

    @classmethod
    def of(cls, decision: Decision) -> Self:
        return cls(
            id=decision.id,
            lookup=decision.lookup,
            verdict=decision.verdict,
            reviewer=decision.reviewer,
            note=decision.note,
            created_at=decision.created_at,
        )


class QueueStatus(BaseModel):
    """The review queue at a glance."""

    length: int
    by_reason: dict[str, int] = Field(description="a lookup counts under each of its reasons")
    oldest_age_seconds: float | None = Field(description="null when the queue is empty")

    @classmethod
    def of(cls, status: review.QueueCounts, now: datetime) -> Self:
        return cls(
            length=status.length,
            by_reason=dict(status.reasons),
            oldest_age_seconds=(now - status.oldest).total_seconds() if status.oldest else None,
        )


class Queued(BaseModel):
    """A lookup that waits for a person."""

    lookup: UUID
    image: Known
    match: Near | None
    confidence: float
    reasons: list[str]
    document: str | None = Field(description="SHA-256 of the PDF it came from")
    page: int | None
    created_at: datetime

    @classmethod
    def of(cls, lookup: Lookup, image: Image) -> Self:
        match, source = lookup.match, lookup.source
        return cls(
            lookup=lookup.id,
            image=Known.of(image),
            match=Near.of(match.nearest) if match.nearest else None,
            confidence=match.confidence,
            reasons=list(match.reasons),
            document=source.document if source else None,
            page=source.page if source else None,
            created_at=lookup.created_at,
        )


class QueuePage(BaseModel):
    """A page of the review queue, oldest first."""

    items: list[Queued]
    next: UUID | None = Field(description="cursor of the next page; null on the last one")

    @classmethod
    def of(cls, lookups: Sequence[Lookup], images: Mapping[UUID, Image], after: UUID | None) -> Self:
        shown = [Queued.of(lookup, images[lookup.image]) for lookup in lookups if lookup.image in images]
        return cls(items=shown, next=after)


class CheckResult(BaseModel):
    """A health check."""

    ok: bool
    detail: str


class Health(BaseModel):
    """The service's health."""

    status: Literal["ok", "failing"]
    release: str
    checks: dict[str, CheckResult]
