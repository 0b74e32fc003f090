"""Sequential tests of candidate against stable that hold whenever they are looked at.

Each reading of both sides pays a bet whose stake does not grow on average while the candidate is no worse
than its limit. By Ville's inequality the chance that the stakes ever reach 1/alpha, in a window of any
length, is at most alpha (Howard, Ramdas, McAuliffe & Sekhon, Annals of Statistics 49, 2021; for releases
Lindon, Sanden & Shirikian, KDD 2022).
"""

import math
from collections.abc import Sequence

from guarded_rollout.gates.detector import NONE, Evidence, weights

BEGINNING = 0.5  # of the stakes is bet on a difference from the start
HALF_SECONDS = 1800.0  # half of the rest is bet on one that begins within this time

Counted = tuple[float, float]  # bad, total


class Stakes:
    """Stakes on several alternatives, some from the start, the others from each reading on.

    So that good times are no credit to what comes later, new stakes are laid at every reading; over all time
    they add up to one, which keeps Ville's inequality. Evidence is held at the threshold, so that good times
    wear it down at once, and stays conclusive until all of it is gone.
    """

    def __init__(self, alternatives: int, alpha: float) -> None:
        self._threshold = math.log(1 / alpha)
        share = 1 / alternatives
        self._logs = [math.log(BEGINNING * share)] * alternatives
        self._share = (1 - BEGINNING) * share
        self._laid_at = 0.0
        self._counts, self._since = (0.0, 0.0), 0.0
        self._conclusive = False

    def pay(self, gains: Sequence[float], at: float, counts: Counted) -> None:
        """Multiply each stake by exp(gain); `at` is the reading's time since the beginning, in seconds."""
        at = max(at, self._laid_at)
        fresh = HALF_SECONDS / (HALF_SECONDS + self._laid_at) - HALF_SECONDS / (HALF_SECONDS + at)
        if self.nats <= 0:
            self._counts, self._since = (0.0, 0.0), self._laid_at
        if fresh > 0:
            self._logs = [_log_add(one, math.log(self._share * fresh)) for one in self._logs]
        self._laid_at = at
        self._logs = [one + gain for one, gain in zip(self._logs, gains, strict=True)]
        self._counts = (self._counts[0] + counts[0], self._counts[1] + counts[1])
        if (over := self.nats - self._threshold) >= 0:
            self._logs = [one - over for one in self._logs]
            self._conclusive = True
        elif self.nats <= 0:
            self._conclusive = False

    @property
    def nats(self) -> float:
        """The logarithm of all stakes together."""
        highest = max(self._logs)
        return highest + math.log(sum(math.exp(one - highest) for one in self._logs))

    @property
    def evidence(self) -> Evidence:
        """The evidence; its counts are the candidate's, `since` is seconds after the beginning."""
        nats = self.nats
        if nats <= 0:
            return NONE
        return Evidence(nats / self._threshold, self._since, self._counts, self._conclusive)


class RatioDetector:
    """A test of whether the candidate's rate of bad events is above `ratio` times stable's.

    A bad event is the candidate's with chance q = n·r/(n·r + m), where n and m are the events of candidate
    and stable meanwhile and r the ratio of their rates (Przyborowski & Wilenski, Biometrika 31, 1940).
    Worse ratios are bet on against `ratio`; for any true rates within it, a reading multiplies the stake on
    average by at most (1 + c·(a−1))ⁿ·(1 + s·(b−1))ᵐ ≤ exp(n·c·(a−1) + m·s·(b−1)) ≤ 1, with a and b the
    pay-offs of a bad event on either side. So the test holds for rates of any size.
    """

    def __init__(
        self, ratio: float, alpha: float, times_worse: Sequence[float] = (1.5, 2.0, 4.0, 10.0, 50.0)
    ) -> None:
        self._ratio = ratio
        self._times_worse = times_worse
        self._stakes = Stakes(len(times_worse), alpha)

    def take(self, candidate: Counted, stable: Counted, at: float) -> None:
        """Add (bad, total) of each side, counted between the same two readings."""
        (bad, n), (stable_bad, m) = candidate, stable
        if n <= 0 or m <= 0:
            return  # nothing to compare with
        q = n * self._ratio / (n * self._ratio + m)
        worse = [n * self._ratio * times / (n * self._ratio * times + m) for times in self._times_worse]
        gains = [bad * math.log(w / q) + stable_bad * math.log((1 - w) / (1 - q)) for w in worse]
        self._stakes.pay(gains, at, (bad, n))

    @property
    def evidence(self) -> Evidence:
        """The evidence; its counts are the candidate's (bad, total)."""
        return self._stakes.evidence


class ShareDetector:
    """A test of whether the candidate's share of some events is above stable's, for shares of any size.

    For a guess of stable's share and a worse one of the candidate's, the likelihood is held against that of
    their common mean, weighted by the events of either side. Whatever the shares are in truth, if the
    candidate's is not above stable's the stake does not grow on average (Turner, Ly & Grünwald, Generic
    e-variables for exact sequential k-sample tests, 2021). The guess may follow from earlier readings.
    """

    TIMES_WORSE = (2.0, 6.0, 30.0)  # as odds

    def __init__(self, alpha: float) -> None:
        self._stakes = Stakes(len(self.TIMES_WORSE), alpha)

    def take(self, candidate: Counted, stable: Counted, guess: float, at: float) -> None:
        """Add (some, all) of each side, counted between the same two readings."""
        (n_bad, n), (m_bad, m) = candidate, stable
        if n <= 0 or m <= 0:
            return
        guess = min(0.95, max(1e-3, guess))
        gains = []
        for times in self.TIMES_WORSE:
            odds = times * guess / (1 - guess)
            worse = odds / (1 + odds)
            mean = (n * worse + m * guess) / (n + m)
            gains.append(
                n_bad * math.log(worse / mean)
                + (n - n_bad) * math.log((1 - worse) / (1 - mean))
                + m_bad * math.log(guess / mean)
                + (m - m_bad) * math.log((1 - guess) / (1 - mean))
            )
        self._stakes.pay(gains, at, candidate)

    @property
    def evidence(self) -> Evidence:
        return self._stakes.evidence


class LimitDetector:
    """A test of whether the candidate's share of bad events is above a limit (0 to 1) known before."""

    def __init__(self, limit: float, alpha: float) -> None:
        self._weights = weights(limit)
        self._stakes = Stakes(len(self._weights), alpha) if self._weights else None

    def take(self, bad: float, total: float, at: float) -> None:
        if self._stakes is not None:
            gains = [bad * for_bad + (total - bad) * for_good for for_bad, for_good in self._weights]
            self._stakes.pay(gains, at, (bad, total))

    @property
    def evidence(self) -> Evidence:
        """The evidence; its counts are (bad, total)."""
        return self._stakes.evidence if self._stakes is not None else NONE


class SignDetector:
    """A test of whether readings are beyond a limit more often than not, whatever their distribution.

    A reading counts once however far beyond it is, so a single outlier says next to nothing.
    """

    CHANCES = (0.7, 0.9, 0.99)

    def __init__(self, alpha: float) -> None:
        self._stakes = Stakes(len(self.CHANCES), alpha)

    def take(self, beyond: bool, at: float) -> None:
        gains = [math.log(2 * (chance if beyond else 1 - chance)) for chance in self.CHANCES]
        self._stakes.pay(gains, at, (float(beyond), 1.0))

    @property
    def evidence(self) -> Evidence:
        """The evidence; its counts are (beyond, readings)."""
        return self._stakes.evidence


def _log_add(one: float, other: float) -> float:
    high, low = max(one, other), min(one, other)
    return high + math.log1p(math.exp(low - high))
