"""Kayenta's default judge (NetflixACAJudge): is the canary's series higher than the baseline's?"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil, sqrt
from statistics import NormalDist

import numpy as np

from bench.peers.counts import Counts, Numbers


class Label(StrEnum):
    """What one metric is classified as."""

    PASS = "Pass"
    HIGH = "High"
    LOW = "Low"
    NO_DATA = "Nodata"


@dataclass(frozen=True, slots=True)
class Shift:
    """How far x lies above y: the Hodges–Lehmann estimate and its confidence interval."""

    low: float
    estimate: float
    high: float


@dataclass(frozen=True, slots=True)
class Kayenta:
    """A canary stage: a run each `interval` seconds over all data points since the start, one a `step`.

    A run compares the metric's data points of canary and baseline: the canary is High when the lower end of
    the confidence interval of their shift lies above `tolerance` times its estimate, Low when the upper end
    lies below minus that. The score is the share of metrics that pass, in percent; a run below `marginal`
    ends the analysis as failed, and the last run has to reach `passing`. Points without requests are
    removed (the default strategy for missing values), outliers stay. No limit is asked: the canary is
    held against the baseline, whose requests are as many as its own.

    Sources: spinnaker.io, "How canary judgment works" and "Best practices for configuring canary" (marginal
    75, pass 95, no lookback, at least 50 points, an hour between runs); spinnaker/kayenta master of 2023,
    NetflixACAJudge.scala (confidence 0.98, tolerance 0.25) and MannWhitneyClassifier.scala.
    """

    interval: float = 1800.0
    step: float = 60.0
    confidence: float = 0.98
    tolerance: float = 0.25
    marginal: float = 75.0
    passing: float = 95.0

    def decided(self, canary: Counts, baseline: Counts) -> Numbers:
        """Seconds until the analysis fails, by window; infinite where never."""
        ours, theirs = canary.every(self.step).failure, baseline.every(self.step).failure
        return np.array([self._until(x, y) for x, y in zip(ours.T, theirs.T, strict=True)])

    def _until(self, canary: Numbers, baseline: Numbers) -> float:
        points = round(self.interval / self.step)
        for end in range(points, len(canary) + 1, points):
            score = self.score([self.classify(canary[:end], baseline[:end])])
            last = end + points > len(canary)
            if score < self.marginal or (last and score < self.passing):
                return end * self.step
        return float("inf")

    def classify(self, canary: Numbers, baseline: Numbers) -> Label:
        """The metric of one run, in either direction."""
        canary, baseline = canary[~np.isnan(canary)], baseline[~np.isnan(baseline)]
        if not len(canary) or not len(baseline):
            return Label.NO_DATA
        if np.ptp(np.concatenate((canary, baseline))) == 0:
            return Label.PASS  # there is no interval when all are tied
        found = shift(canary, baseline, self.confidence)
        bound = self.tolerance * abs(found.estimate)
        if found.low > bound:
            return Label.HIGH
        return Label.LOW if found.high < -bound else Label.PASS

    def score(self, labels: Sequence[Label]) -> float:
        """The percentage that passes of the metrics that have data; 100 when none has."""
        judged = [label for label in labels if label is not Label.NO_DATA]
        return 100.0 * judged.count(Label.PASS) / len(judged) if judged else 100.0


def shift(x: Numbers, y: Numbers, confidence: float) -> Shift:
    """How far x lies above y, by the Mann-Whitney (Wilcoxon rank-sum) test turned round.

    The estimate is the median of all differences; the ends are the differences of the rank that the test's
    normal approximation, corrected for continuity and ties, just does not reject (Hollander & Wolfe,
    Nonparametric Statistical Methods, 4.2 and 4.3; R's `wilcox.test(conf.int = TRUE, exact = FALSE)`).
    """
    differences = np.sort(np.subtract.outer(x, y), axis=None)
    pairs, total = len(differences), len(x) + len(y)
    ties = sum(float(np.sum(counts**3 - counts)) for counts in map(_tied, (x, y)))
    deviation = sqrt(pairs / 12 * (total + 1 - ties / (total * (total - 1))))
    quantile = NormalDist().inv_cdf((1 + confidence) / 2)
    rank = min(pairs, ceil(pairs / 2 + 0.5 + quantile * deviation))
    return Shift(
        float(differences[pairs - rank]), float(np.median(differences)), float(differences[rank - 1])
    )


def _tied(values: Numbers) -> Numbers:
    return np.unique(values, return_counts=True)[1].astype(float)
