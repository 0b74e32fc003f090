"""Made-up facts for the store's tests: pictures of given bytes and bits, and what matching said of them."""

import hashlib
from datetime import UTC, datetime

from dhash_service.facts import (
    Algorithm,
    Decision,
    Fingerprint,
    Image,
    Match,
    Neighbour,
    Picture,
    Sha256,
    Source,
    Status,
    Subject,
    Tombstone,
    Verdict,
    new_id,
)
from dhash_service.store import Store

FAST = Algorithm("dhash-64-fast", 1)
NOON = datetime(2026, 1, 2, 12, 0, 0, 123456, tzinfo=UTC)
NEW = Match(Status.NEW, 0.99, (), None, None, 0)


def picture(name: str | int, value: int | None = None, *, content: bool = False) -> Picture:
    """A picture whose bytes are its name; its bits follow from them unless given."""
    data = str(name).encode()
    digest = hashlib.sha256(data).hexdigest()
    bits = int(digest[:16], 16) if value is None else value
    fingerprint = Fingerprint(bits, FAST, 0.75, ("tiny",), 640, 480)
    return Picture(Sha256(digest), "JPEG", len(data), fingerprint, b"RIFF" + data, data if content else None)


def review(nearest: Image, *reasons: str, distance: int = 7) -> Match:
    """A match that a person has to look at."""
    return Match(Status.REVIEW, 0.4, reasons or ("close runner-up",), Neighbour(nearest, distance), 9, 12)


def add(store: Store, name: str | int, match: Match = NEW, source: Source | None = None) -> Image:
    """Keep a picture and wait until it is."""
    return store.add_image(picture(name), match, source).result(30).image


def queued(store: Store, name: str | int, nearest: Image, *reasons: str, source: Source | None = None):  # type: ignore[no-untyped-def]
    """Keep a picture that needs a person; its lookup's id."""
    return store.add_image(picture(name), review(nearest, *reasons), source).result(30).lookup


def decision(lookup, verdict: Verdict = Verdict.SAME, note: str = "", at: datetime = NOON) -> Decision:  # type: ignore[no-untyped-def]
    """A verdict on a lookup."""
    return Decision(new_id(), lookup, verdict, "ada", note, "r1", at)


def hide_image(image: Image, hidden: bool = True, at: datetime = NOON) -> Tombstone:
    """Takes an image out of search, or brings it back."""
    return Tombstone(new_id(), Subject.IMAGE, str(image.id), hidden, "asked for", "ada", "r1", at)


def quarantine(release: str, hidden: bool = True, at: datetime = NOON) -> Tombstone:
    """Takes a release's fingerprints out of search, or brings them back."""
    return Tombstone(new_id(), Subject.RELEASE, release, hidden, "wrong bits", "ada", "r1", at)


def in_search(store: Store) -> dict[int, int]:
    """Everything the feed tells from its beginning: key to value."""
    changes = store.feed.changes(None)
    assert len(changes.removed) == 0
    return dict(zip(changes.keys.tolist(), changes.values.tolist(), strict=True))
