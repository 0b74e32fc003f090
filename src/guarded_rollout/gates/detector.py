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
    """A CUSUM: the weight of a reading's counts is added; at or below zero it begins again."""

    __slots__ = ("conclusive", "counts", "since", "value")

    def __init__(self) -> None:
        self.value, self.since, self.counts, self.conclusive = 0.0, 0.0, (0.0, 0.0), False

    def add(self, gain: float, since: float, counts: tuple[float, float]) -> None:
        if self.value <= 0:
            self.since, self.counts = since, (0.0, 0.0)
        # Held at the threshold, so that good times wear conclusive evidence down at once.
        self.value = min(THRESHOLD, max(0.0, self.value + gain))
        self.counts = (self.counts[0] + counts[0], self.counts[1] + counts[1])
        self.conclusive = self.value >= THRESHOLD or (self.conclusive and self.value > 0)

    @property
    def evidence(self) -> Evidence:
        if self.value <= 0:
            return NONE
        return Evidence(self.value / THRESHOLD, self.since, self.counts, self.conclusive)


def _strongest(sums: Sequence[_Sum]) -> Evidence:
    found = (one.evidence for one in sums)
    return max(found, key=lambda evidence: (evidence.conclusive, evidence.strength), default=NONE)


class RateDetector:
    """A test of whether the share of bad events is above `limit` (0 to 1) now."""

    def __init__(self, limit: float, times_worse: Sequence[float] = TIMES_WORSE) -> None:
        self._weights = weights(limit, times_worse)
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
    odds = limit / (1 - limit)
    rates = [odds * times / (1 + odds * times) for times in times_worse] + [max(0.99, (1 + limit) / 2)]
    return [(math.log(rate / limit), math.log((1 - rate) / (1 - limit))) for rate in rates]


class RatioDetector:
    """A test of whether the candidate's rate of bad events is above `ratio` times stable's.

    A bad event is the candidate's with chance q = n·r/(n·r + m), where n and m are the events of candidate
    and stable meanwhile and r the ratio of their rates (Przyborowski & Wilenski, Biometrika 31, 1940).
    Worse ratios are bet on against `ratio`; for any true rates within it, a reading multiplies the stake on
    average by at most (1 + c·(a−1))ⁿ·(1 + s·(b−1))ᵐ ≤ exp(n·c·(a−1) + m·s·(b−1)) ≤ 1, with a and b the
    pay-offs of a bad event on either side. So the test holds for rates of any size.
    """

    def __init__(self, ratio: float, times_worse: Sequence[float] = (1.5, 2.0, 4.0, 10.0)) -> None:
        self._ratio = ratio
        self._times_worse = times_worse
        self._sums = [_Sum() for _ in times_worse]

    def take(self, candidate: tuple[float, float], stable: tuple[float, float], since: float = 0.0) -> None:
        """Add (bad, total) of each side, counted between the same two readings."""
        (bad, n), (stable_bad, m) = candidate, stable
        if n <= 0 or m <= 0:
            return  # nothing to compare with
        q = n * self._ratio / (n * self._ratio + m)
        for one, times in zip(self._sums, self._times_worse, strict=True):
            worse = n * self._ratio * times / (n * self._ratio * times + m)
            gain = bad * math.log(worse / q) + stable_bad * math.log((1 - worse) / (1 - q))
            one.add(gain, since, (bad, n))

    @property
    def evidence(self) -> Evidence:
        """The strongest of all; its counts are the candidate's (bad, total)."""
        return _strongest(self._sums)
