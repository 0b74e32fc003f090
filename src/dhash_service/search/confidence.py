"""Judges a fingerprint by its neighbours: known or new, how surely, and what makes it less sure.

Confidence is a product of shares, each 1 where nothing stands against it:

- *chance*: among N known images, N·P(Binomial(64, ½) ≤ d) unrelated ones are expected within d bits of a
  random query. Pictures are not random: fields with the spectrum of photographs (amplitude 1/f) meet within
  10 bits five times as often (400,000 against 3,000 of them), so `LIKENESS` times that many are expected, and
  the share is the probability that there is none.
- *quality*: a picture of quality q has about 64·q bits that say something, so the same is computed for that
  many; flat pictures agree in the others whatever they show. With nothing near, it is the probability that
  the known picture, were it the same, has not strayed out of the radius.
- *margin*: the odds that it is the nearest rather than the runner-up, halved for each bit that the runner-up
  is farther. Saving a photograph at quality 75 turns 0.34 bits on average; that would make each bit worth a
  factor of four, and two is the careful side of it. The runner-up is the nearest that is not a copy of the
  nearest: pictures within `COPY` bits of each other leave no doubt that this one is known, whichever it is.
- *crowd*: where a thousand pictures share the nearest fingerprint, it is a toss-up at best which is meant.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from math import comb, exp

from dhash_service.facts import Fingerprint, Match, Neighbour, Status

BITS = 64

LIKENESS = 5.0
"""Unrelated pictures come near each other this much more often than random bits."""

LEAST_KNOWN = 1000
"""Chance is never taken for less than among so many: a store with one blank page says little of the next."""

COPY = 6
"""Bits that saving a photograph once more turns at most (300 JPEGs at quality 75)."""

TURNING = 0.05
"""The probability that saving once more turns a bit that says nothing (see `quality.NOISE`)."""

CROWDED = 0.5
"""The share of the confidence that a crowd leaves."""

NOTICEABLE = 0.99
"""A share below this is given as a reason."""


class Reason(StrEnum):
    """A reason for doubt. Stable words: stored with each lookup, counted in the queue's status."""

    FAR_FROM_CERTAIN = "far_from_certain"
    LOW_QUALITY = "low_quality"
    SMALL_MARGIN = "small_margin"
    CROWDED = "crowded"
    KNOWN = "known"
    BANKED = "banked"


SENTENCES: Mapping[Reason, str] = {
    Reason.FAR_FROM_CERTAIN: "An unrelated picture may come this near by chance.",
    Reason.LOW_QUALITY: "The picture is flat, uniform or tiny, so its fingerprint says little.",
    Reason.SMALL_MARGIN: "A second picture matches almost as well.",
    Reason.CROWDED: "A thousand known pictures or more have this very fingerprint.",
    Reason.KNOWN: "The very same file is known.",
    Reason.BANKED: "It matches a bank whose pictures a person looks at.",
}
"""Each reason in words for people."""


def match(
    neighbours: Sequence[Neighbour],
    fingerprint: Fingerprint,
    known: int,
    *,
    radius: int,
    review_below: float,
    crowded: bool = False,
) -> Match:
    """Judge a fingerprint by its neighbours within `radius` bits, nearest first, among `known` images.

    `crowded` says that a thousand images or more share the nearest fingerprint (`index.Found.crowded`). The
    status is `review` exactly where confidence (0 to 1) is below `review_below`, and then there is a reason.
    """
    near = [(each.distance, each.image.fingerprint.value) for each in neighbours]
    judged = judge(near, fingerprint, known, radius=radius, review_below=review_below, crowded=crowded)
    return replace(judged, nearest=neighbours[0] if near and near[0][0] <= radius else None)


def judge(
    neighbours: Sequence[tuple[int, int]],
    fingerprint: Fingerprint,
    known: int,
    *,
    radius: int,
    review_below: float,
    crowded: bool = False,
) -> Match:
    """The same of neighbours by distance and value, all that counts; the match does not name the nearest."""
    near = [neighbour for neighbour in neighbours if neighbour[0] <= radius]
    runner_up = _runner_up(near)
    if near:
        shares = _shares(near[0][0], fingerprint.quality, runner_up, known, crowded)
    else:
        shares = {Reason.LOW_QUALITY: _stays_within(radius, fingerprint.quality) if known else 1.0}
    confidence = 1.0
    for share in shares.values():
        confidence *= share

    weakest_first = sorted(shares, key=lambda reason: shares[reason])
    reasons = tuple(reason for reason in weakest_first if shares[reason] < NOTICEABLE)
    if confidence < review_below:
        status, reasons = Status.REVIEW, reasons or (weakest_first[0],)
    else:
        status = Status.MATCHED if near else Status.NEW
    return Match(status, confidence, reasons, None, runner_up, known)


def expected_by_chance(distance: int, known: int, bits: int = BITS) -> float:
    """The number of unrelated pictures, of `known`, expected within `distance` of `bits` bits."""
    return LIKENESS * max(known, LEAST_KNOWN) * _AT_MOST[bits][min(distance, bits)]


def _runner_up(near: Sequence[tuple[int, int]]) -> int | None:
    """The distance of the nearest neighbour that is no copy of the first."""
    for distance, value in near[1:]:
        if (value ^ near[0][1]).bit_count() > COPY:
            return distance
    return None


def _shares(
    distance: int, quality: float, runner_up: int | None, known: int, crowded: bool
) -> dict[Reason, float]:
    by_chance = expected_by_chance(distance, known)
    by_chance_in_what_counts = expected_by_chance(distance, known, int(BITS * quality))
    return {
        Reason.FAR_FROM_CERTAIN: exp(-by_chance),
        Reason.LOW_QUALITY: exp(by_chance - by_chance_in_what_counts),
        Reason.SMALL_MARGIN: 1.0 if runner_up is None else 1 / (1 + 2.0 ** (distance - runner_up)),
        Reason.CROWDED: CROWDED if crowded else 1.0,
    }


def _stays_within(radius: int, quality: float) -> float:
    """The probability that no more than `radius` of the bits that say nothing turn."""
    return _binomial_at_most(radius, BITS - int(BITS * quality), TURNING)


def _binomial_at_most(most: int, trials: int, probability: float) -> float:
    """P(Binomial(trials, probability) ≤ most)."""
    terms = (
        comb(trials, k) * probability**k * (1 - probability) ** (trials - k)
        for k in range(min(most, trials) + 1)
    )
    return min(1.0, sum(terms))


_AT_MOST = [[_binomial_at_most(d, bits, 0.5) for d in range(bits + 1)] for bits in range(BITS + 1)]
