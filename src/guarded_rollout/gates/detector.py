"""Change detectors: sequential tests of when evidence is conclusive, to which good times are no credit.

Both are Page's CUSUM (Biometrika 41, 1954): for each of a few worse rates, the log-likelihood ratio of the
counts, worse rate against limit, added up and never below zero. While the limit is kept each sum gains
nothing on average, so that it passes ln 10,000 once in 10,000 counted events at the very earliest (Lorden,
Annals of Mathematical Statistics 42, 1971; Shin, Ramdas & Rinaldo, NEJSDS 2, 2024), and far more rarely
well below the limit, as `rollout gates simulate` measures.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

THRESHOLD = math.log(10_000)

RARE = 0.01  # below it there is room between twelve times the limit and everything
TIMES_WORSE = (2.0, 3.0, 6.0, 12.0)  # as odds against the limit's odds


@dataclass(frozen=True, slots=True)
class Evidence:
    """The counts that made a sum rise since it was last at zero. Conclusive evidence stays so until then."""

    strength: float = 0.0  # a share of the threshold
    since: float = 0.0  # when it began to rise
    counts: tuple[float, ...] = ()
    conclusive: bool = False


NONE = Evidence()


class _Sum:
    """A CUSUM, never below zero: the weight of a reading's counts is added; at zero it begins again."""

    __slots__ = ("conclusive", "counts", "since", "value")
    since: float  # these two are of what made it rise
    counts: tuple[float, float]

    def __init__(self) -> None:
        self.value, self.conclusive = 0.0, False

    def add(self, gain: float, since: float, counts: tuple[float, float]) -> None:
        if not self.value:
            self.since, self.counts = since, (0.0, 0.0)
        # Held at the threshold, so that good times wear conclusive evidence down at once.
        self.value = min(THRESHOLD, max(0.0, self.value + gain))
        self.counts = (self.counts[0] + counts[0], self.counts[1] + counts[1])
        self.conclusive = self.value >= THRESHOLD or (self.conclusive and bool(self.value))

    @property
    def evidence(self) -> Evidence:
        if not self.value:
            return NONE
        return Evidence(self.value / THRESHOLD, self.since, self.counts, self.conclusive)


def _strongest(sums: Sequence[_Sum]) -> Evidence:
    found = (one.evidence for one in sums)
    return max(found, key=lambda evidence: (evidence.conclusive, evidence.strength), default=NONE)


class RateDetector:
    """A test of whether the share of bad events is above `limit` (0 to 1) now."""

    def __init__(self, limit: float) -> None:
        self._weights = weights(limit)
        self._sums = [_Sum() for _ in self._weights]

    def take(self, bad: float, total: float, since: float = 0.0) -> None:
        """Add what was counted between two readings; `since` is when the first of them was taken."""
        good = max(0.0, total - bad)
        for one, (for_bad, for_good) in zip(self._sums, self._weights, strict=True):
            one.add(bad * for_bad + good * for_good, since, (bad, bad + good))

    @property
    def evidence(self) -> Evidence:
        """The strongest of all; its counts are (bad, total)."""
        return _strongest(self._sums)


def weights(limit: float, times_worse: Sequence[float] = TIMES_WORSE) -> list[tuple[float, float]]:
    """Return, for each worse rate, the weights of a bad and of a good event in its sum.

    A limit of 100 % has no worse rate; one of 0 % is taken as one in 10,000: likelihoods need a chance.
    """
    limit = max(limit, 1e-4)
    if limit >= 1:
        return []
    if limit < RARE:
        times_worse = (*times_worse, 100.0)
    odds = limit / (1 - limit)
    rates = [odds * times / (1 + odds * times) for times in times_worse] + [max(0.99, (1 + limit) / 2)]
    return [(math.log(rate / limit), math.log((1 - rate) / (1 - limit))) for rate in rates]
