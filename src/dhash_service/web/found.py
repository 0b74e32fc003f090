"""The results of a search or of a sent file, in words: values for the search page's templates.

Everything here is a pure function of what the service answered, so the words can be tested without a browser.
"""

import base64
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from urllib.parse import urlencode
from uuid import UUID

from dhash_service.errors import DhashError, RetryLaterError
from dhash_service.facts import Image, Lookup, Match, Neighbour, Status
from dhash_service.matcher import Neighbourhood
from dhash_service.pictures.formats import sniff
from dhash_service.search.confidence import BITS, COPY, Reason
from dhash_service.service import DocumentSubmission
from dhash_service.store.verdicts import Judged
from dhash_service.submitting import Submission
from dhash_service.web.asked import DEEPEST, RADII
from dhash_service.web.words import SKIPPED, TURNED, differ, headline, percent, sentences

PAGE = 24
"""Known pictures on one page of results."""

BESIDE = 6
"""Known pictures shown beside one that was sent; a link leads to the rest."""

WHOLE = 24
"""Pictures of one document that are shown whole; the rest of a long document is a list with links."""

TONES = {Status.MATCHED: "good", Status.NEW: "plain", Status.REVIEW: "warn"}


@dataclass(frozen=True, slots=True)
class Card:
    """A known picture, perhaps beside what was searched for; `distance` then counts bits that differ."""

    image: Image
    distance: int | None
    set_bits: str  # SVG path data in an 8×8 box
    differing: str
    turn: str = ""  # in words, where it is near to the picture turned or mirrored

    @classmethod
    def of(cls, neighbour: Neighbour, value: int) -> "Card":
        known = neighbour.image.fingerprint.value
        turn = TURNED.get(neighbour.turn or "", "")
        return cls(neighbour.image, neighbour.distance, squares(known), squares(known ^ value), turn)

    @classmethod
    def alone(cls, image: Image) -> "Card":
        """One that nothing is compared with."""
        return cls(image, None, squares(image.fingerprint.value), "")

    @property
    def differ(self) -> str:
        return differ(self.distance or 0)

    @property
    def alike(self) -> int:
        """The share of the bits that agree, in percent."""
        return percent((BITS - (self.distance or 0)) / BITS)

    @property
    def name(self) -> str | None:
        return self.image.names[0] if self.image.names else None


def sections(cards: Sequence[Card]) -> list[tuple[str, list[Card]]]:
    """The cards by how much alike they are, those parts that there are."""

    def title(card: Card) -> str:
        distance = card.distance or 0
        return "Exact" if not distance else "Very similar" if distance <= COPY else "Maybe"

    return [(name, list(group)) for name, group in groupby(cards, title)]


@dataclass(frozen=True, slots=True)
class Told:
    """The judgement as a sentence about a known `image`: “Exact duplicate of beach.jpg, added 16:16”."""

    verb: str
    image: Image

    @classmethod
    def of(cls, match: Match, image: Image | None) -> "Told | None":
        """None where nothing is near."""
        if image is None:
            return None
        if Reason.KNOWN in match.reasons:
            return cls("Exact duplicate of", image)
        return cls("The same picture as" if match.status is Status.MATCHED else "Maybe the same as", image)


@dataclass(frozen=True, slots=True)
class Results:
    """A page of the known pictures near a fingerprint, `start` of them skipped."""

    hash: str
    radius: int
    known: int
    total: int
    crowded: bool
    start: int
    cards: Sequence[Card]
    set_bits: str

    @classmethod
    def of(cls, value: int, radius: int, start: int, found: Neighbourhood) -> "Results":
        cards = [Card.of(neighbour, value) for neighbour in found.neighbours]
        return cls(
            f"{value:016x}", radius, found.known, found.total, found.crowded, start, cards, squares(value)
        )

    @property
    def sections(self) -> list[tuple[str, list[Card]]]:
        return sections(self.cards)

    @property
    def end(self) -> int:
        """Results shown up to the end of this page."""
        return min(self.start + PAGE, self.total)

    @property
    def more(self) -> int:
        """Results on later pages."""
        return self.total - self.end

    @property
    def next(self) -> str | None:
        """The address of the next page; None on the last one, and at the end of what can be paged."""
        return address(self.hash, self.radius, self.end) if self.more and self.end < DEEPEST else None

    @property
    def previous(self) -> str | None:
        return address(self.hash, self.radius, max(0, self.start - PAGE)) if self.start else None

    @property
    def wider(self) -> str | None:
        """The address of the same search in twice the radius."""
        wider = min(max(2 * self.radius, 4), RADII[-1])
        return address(self.hash, wider) if wider > self.radius else None


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture that was sent, judged: what it is, how sure that is and why, and what is near it."""

    headline: str
    told: Told | None
    tone: str  # good, plain or warn
    kept: bool
    waits: bool  # in the review queue from now on
    id: UUID
    hash: str
    set_bits: str
    width: int
    height: int
    quality: int  # percent
    confidence: int  # percent
    reasons: Sequence[str]
    thumbnail: str
    radius: int
    page: int | None
    cards: Sequence[Card]
    total: int

    @classmethod
    def of(
        cls,
        submission: Submission,
        near: Neighbourhood,
        radius: int,
        page: int | None = None,
    ) -> "Shown":
        """`near` are the known pictures within `radius`, which is how near a match has to be."""
        fingerprint, match = submission.fingerprint, submission.match
        others = [other for other in near.neighbours if other.image.id != submission.picture_id]
        kept = submission.created or Reason.KNOWN in match.reasons
        nearest = match.nearest.image if match.nearest else None
        named = {other.image.id: other.image for other in near.neighbours}
        return cls(
            headline=headline(match, radius),
            told=Told.of(match, named.get(nearest.id, nearest) if nearest else None),
            tone=TONES[match.status],
            kept=kept,
            waits=submission.created and match.status is Status.REVIEW,
            id=submission.picture_id,
            hash=fingerprint.hex,
            set_bits=squares(fingerprint.value),
            width=fingerprint.width,
            height=fingerprint.height,
            quality=percent(fingerprint.quality),
            confidence=percent(match.confidence),
            reasons=sentences(match.reasons, fingerprint.reasons),
            thumbnail=picture_source(submission),
            radius=radius,
            page=page,
            cards=[Card.of(other, fingerprint.value) for other in others[:BESIDE]],
            total=near.total - kept,  # it is near itself
        )

    @property
    def all(self) -> str:
        """The address of everything near it."""
        return address(self.hash, self.radius)

    @property
    def sections(self) -> list[tuple[str, list[Card]]]:
        return sections(self.cards)


@dataclass(frozen=True, slots=True)
class Brief:
    """A picture far down a long document: one line of a list."""

    page: int
    headline: str
    tone: str
    all: str

    @classmethod
    def of(cls, submission: Submission, radius: int, page: int) -> "Brief":
        match = submission.match
        return cls(
            page, headline(match, radius), TONES[match.status], address(submission.fingerprint.hex, radius)
        )


@dataclass(frozen=True, slots=True)
class Past:
    """The history of a known picture: its match when it was kept, and the decisions since."""

    lookup: Lookup
    headline: str
    confidence: int  # percent
    reasons: Sequence[str]
    judged: Sequence[Judged]

    @classmethod
    def of(cls, lookup: Lookup, judged: Sequence[Judged], within: int) -> "Past":
        """`within` is how near a match has to be."""
        said = sentences(lookup.match.reasons, ())
        return cls(lookup, headline(lookup.match, within), percent(lookup.match.confidence), said, judged)


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer for one file: its pictures, or the problem with it. `pages` is None for a picture."""

    name: str
    pages: int | None = None
    pictures: Sequence[Shown] = ()
    briefly: Sequence[Brief] = ()
    skipped: Sequence[str] = ()
    problem: DhashError | None = None

    @classmethod
    def failed(cls, name: str, error: DhashError) -> "Answered":
        return cls(name, problem=error)

    @property
    def kind(self) -> str:
        """What it counts as in the summary of many files."""
        if self.problem:
            return "failed"
        tones = {picture.tone for picture in self.pictures} | {brief.tone for brief in self.briefly}
        return "to look at" if "warn" in tones else "new" if "plain" in tones else "known"

    @property
    def number(self) -> int:
        return len(self.pictures) + len(self.briefly)

    @property
    def kept(self) -> bool:
        """True where nothing is left to keep."""
        return not self.briefly and all(picture.kept for picture in self.pictures)

    @property
    def retry_after(self) -> int | None:
        """Seconds after which the same may go well."""
        return self.problem.retry_after if isinstance(self.problem, RetryLaterError) else None


def summary(answers: Sequence[Answered]) -> list[tuple[str, int]]:
    """How many files there are of each kind, without those that there are none of."""
    counts = Counter(answer.kind for answer in answers)
    return [(kind, counts[kind]) for kind in ("known", "new", "to look at", "failed") if counts[kind]]


def left_out(document: DocumentSubmission) -> list[str]:
    """Say how many pictures of a document were left out, and why."""
    return [
        f"{number:,} {SKIPPED.get(reason, reason)}" for reason, number in document.skipped.items() if number
    ]


def squares(value: int) -> str:
    """The set bits of a fingerprint as SVG path data: squares in an 8×8 box, bit 63 at its top left."""
    path = []
    for row in range(8):
        line, column = f"{value >> (56 - 8 * row) & 0xFF:08b}", 0
        for bit, run in groupby(line):
            length = len(list(run))
            if bit == "1":
                path.append(f"M{column} {row}h{length}v1h-{length}z")
            column += length
    return "".join(path)


def address(hash: str, radius: int, start: int = 0) -> str:
    """The page of a search; what it says can be sent to somebody else."""
    return "/?" + urlencode({"hash": hash, "radius": radius} | ({"from": start} if start else {}))


def picture_source(submission: Submission) -> str:
    """The address of its thumbnail: in the store once it is kept, else in the page itself."""
    if submission.thumbnail is None:
        return f"/pictures/{submission.picture_id}/thumbnail"
    return data_url(submission.thumbnail)


def data_url(picture: bytes) -> str:
    """A picture as part of a page."""
    return f"data:image/{str(sniff(picture)).lower()};base64,{base64.b64encode(picture).decode()}"
