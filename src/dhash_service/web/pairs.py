"""Pairs and progress as the review page's script takes them: JSON values, with reasons in words."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from dhash_service.facts import Claim, Image, Match
from dhash_service.pictures.originals import Originals
from dhash_service.reviewing import Pair, ReviewProgress
from dhash_service.search.confidence import SENTENCES, Reason
from dhash_service.store.verdicts import Counted
from dhash_service.web.pages import short_release
from dhash_service.web.words import QUALITY

Json = dict[str, Any]


def pairs_json(pairs: Sequence[Pair], originals: Originals | None, now: datetime) -> list[Json]:
    """Pairs in their order."""
    return [pair_json(pair, originals, now) for pair in pairs]


def pair_json(pair: Pair, originals: Originals | None, now: datetime) -> Json:
    """A pair: both pictures, their match, and how long it is leased."""
    lookup, match = pair.lookup, pair.lookup.match
    nearest, source = match.nearest, lookup.source
    return {
        "lookup": str(lookup.id),
        "lease": lease_json(pair.claim, now) if pair.claim else None,
        "submitted": picture_json(pair.image, originals),
        "nearest": picture_json(nearest.image, originals) | {"distance": nearest.distance}
        if nearest
        else None,
        "others": [
            picture_json(other.image, originals) | {"distance": other.distance} for other in pair.others
        ],
        "alike": len(pair.alike),
        "confidence": match.confidence,
        "runner_up": match.runner_up,
        "known": match.known,
        "reasons": reasons_json(match),
        "source": {"document": source.document, "page": source.page, "box": source.box} if source else None,
        "release": lookup.release,
        "release_name": short_release(lookup.release)[0],
        "created_at": lookup.created_at.isoformat(),
    }


def picture_json(image: Image, originals: Originals | None) -> Json:
    """A picture: its addresses, and its facts."""
    fingerprint = image.fingerprint
    large = originals is not None and originals.has(image.sha256)
    return {
        "id": str(image.id),
        "sha256": image.sha256,
        "hash": fingerprint.hex,
        "names": image.names,
        "tags": image.tags,
        "picture": f"/pictures/{image.id}/{'large' if large else 'thumbnail'}",
        "original": large,
        "page": f"/pictures/{image.id}",
        "quality": fingerprint.quality,
        "quality_reasons": [QUALITY.get(name, name) for name in fingerprint.reasons],
        "format": image.format,
        "size": image.size,
        "width": fingerprint.width,
        "height": fingerprint.height,
        "release": image.release,
        "created_at": image.created_at.isoformat(),
    }


def reasons_json(match: Match) -> list[Json]:
    """The reasons to ask a person, by name and in words."""
    return [
        {"name": name, "words": SENTENCES[Reason(name)] if name in SENTENCES else name}
        for name in match.reasons
    ]


def lease_json(claim: Claim, now: datetime) -> Json:
    """A claim's id, and the seconds that are left of it: the page's clock may be another."""
    return {"claim": str(claim.id), "seconds": max(0.0, (claim.until - now).total_seconds())}


def progress_json(progress: ReviewProgress) -> Json:
    """The progress in numbers."""
    return {
        "left": progress.left,
        "pace": progress.pace,
        "today": counted_json(progress.today),
        "hour": counted_json(progress.hour),
    }


def counted_json(counted: Counted) -> Json:
    return {"mine": counted.mine, "all": counted.all}
