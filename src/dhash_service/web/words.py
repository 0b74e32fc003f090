"""Matches, reasons and numbers in words for people."""

from collections.abc import Sequence

from dhash_service.facts import Match, Status
from dhash_service.search.confidence import BITS, SENTENCES, Reason

QUALITY = {
    "flat": "Mostly blank: the fingerprint is unreliable.",
    "low_entropy": "A gradient or stripes: many pictures share this fingerprint.",
    "tiny": "Very small: the fingerprint is unreliable.",
}
"""The reasons of a low quality, in words for people."""

TURNED = {
    "turned_90": "turned right",
    "turned_180": "upside down",
    "turned_270": "turned left",
    "mirrored": "mirrored",
    "mirrored_turned_90": "mirrored and turned right",
    "mirrored_turned_180": "mirrored, upside down",
    "mirrored_turned_270": "mirrored and turned left",
}
"""How a known picture lies to the one that was sent, in words for people."""

SKIPPED = {
    "tiny": "too small to tell apart",
    "too_many_pixels": "with too many pixels",
    "pattern": "a pattern rather than a picture",
    "annotation": "stamps that cannot be drawn",
    "mask": "a stencil rather than a picture",
    "nested": "too deep inside forms",
    "nowhere": "drawn without any size",
    "damaged": "damaged",
    "refused": "refused by a bank",
    "decoder_failed": "that the decoder failed on",
}
"""The reasons to leave out pictures of a document, in words for people."""


def headline(match: Match, within: int) -> str:
    """The match in a few words; `within` is how near a match has to be."""
    near = match.nearest
    if match.status is Status.NEW:
        return f"New: nothing known is within {bits(within)}"
    if Reason.KNOWN in match.reasons:
        return "Exact duplicate"
    if near is None:
        return "Perhaps new: nothing known is near, which says little"
    sure = "Known" if match.status is Status.MATCHED else "Perhaps known"
    return f"{sure}: {differ(near.distance)}"


def sentences(reasons: Sequence[str], quality: Sequence[str]) -> list[str]:
    """Say what lowered confidence and quality, each once, leaving out what the headline says."""
    said = [SENTENCES[Reason(name)] for name in reasons if name in SENTENCES and name != Reason.KNOWN]
    return [*said, *(QUALITY.get(name, name) for name in quality)]


def differ(distance: int) -> str:
    """The distance of two fingerprints in words."""
    if not distance:
        return "the same fingerprint"
    return f"{distance} of {BITS} bits {'differs' if distance == 1 else 'differ'}"


def bits(number: int) -> str:
    return f"{number} bit" if number == 1 else f"{number} bits"


def percent(share: float) -> int:
    """A share from 0 to 1 as whole percent; 100 and 0 only where it is so."""
    if share in (0, 1):
        return int(share * 100)
    return min(99, max(1, int(share * 100)))


def size(number: int) -> str:
    """A number of bytes in a few characters."""
    if number < 1000:
        return f"{number} B"
    if number < 1_000_000:
        return f"{number / 1e3:.{1 if number < 10_000 else 0}f} KB"
    return f"{number / 1e6:,.1f} MB"
