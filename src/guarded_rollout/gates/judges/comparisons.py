"""The four things that are compared between candidate and stable, each with its sequential test."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import add
from typing import Protocol

from guarded_rollout.gates.detector import Evidence
from guarded_rollout.gates.judges.base import percent
from guarded_rollout.gates.sequential import LimitDetector, RatioDetector, ShareDetector, SignDetector
from guarded_rollout.gates.statistics import quantile, rate_at_most

Values = tuple[float, ...]
FEWEST_EVENTS = 5  # a reading's amount for each event means little below
FORGET = 0.9  # of what was before a reading counts so much beside it
FEWEST_READINGS = 6  # before what stable uses when it idles is told from what it uses for its events
SAME_EDGE = 0.99  # 1.995 times is taken for twice: buckets that grow by tenths of a decade


@dataclass(frozen=True, slots=True)
class Compared:
    """Both sides' values over a window, in words and as numbers."""

    mine: float
    stable: float
    unit: str = ""

    @property
    def ratio(self) -> float | None:
        return self.mine / self.stable if self.stable else None

    @property
    def words(self) -> str:
        return f"{self.mine:.3g}{self.unit} against stable's {self.stable:.3g}{self.unit}"


class Comparison(Protocol):
    """A test at one ratio. `take` gets what was counted on each side between the same two readings."""

    def take(self, mine: Values, stable: Values, seconds: float, at: float) -> None: ...

    def compared(self, mine: Values, stable: Values) -> Compared | None:
        """Return the values over a window; None where a side has none."""
        ...

    @property
    def evidence(self) -> Evidence: ...


class RatesComparison:
    """The share of bad events; values are (bad, total)."""

    def __init__(self, ratio: float, alpha: float) -> None:
        self._detector = RatioDetector(ratio, alpha)

    def take(self, mine: Values, stable: Values, seconds: float, at: float) -> None:
        self._detector.take((mine[0], mine[1]), (stable[0], stable[1]), at)

    def compared(self, mine: Values, stable: Values) -> Compared | None:
        if not (mine[1] and stable[1]):
            return None
        return Compared(percent(mine[0], mine[1]), percent(stable[0], stable[1]), " %")

    @property
    def evidence(self) -> Evidence:
        return self._detector.evidence


class TimesComparison:
    """A quantile; values are a histogram's cumulative counts.

    If the candidate takes at most r times as long, no more of its values lie above r·e than of stable's above
    e, for each e. Asked where stable's quantile was so far, at edges of buckets: r is taken up to the next.
    """

    def __init__(self, ratio: float, alpha: float, q: float, edges: Sequence[float], least: float) -> None:
        self._ratio, self._q, self._edges, self._least = ratio, q, edges, least
        self._detector = ShareDetector(alpha)
        self._stable: Values = (0.0,) * len(edges)

    def take(self, mine: Values, stable: Values, seconds: float, at: float) -> None:
        total = self._stable[-1]
        if total > 0:
            far, edge = beyond(self._q, self._ratio, self._edges, self._stable, self._least)
            if self._edges[far] < math.inf:
                guess = (total - self._stable[edge] + 0.5) / (total + 1)
                self._detector.take(
                    (mine[-1] - mine[far], mine[-1]), (stable[-1] - stable[edge], stable[-1]), guess, at
                )
        self._stable = tuple(map(add, self._stable, stable))

    def compared(self, mine: Values, stable: Values) -> Compared | None:
        one, other = quantile(self._q, self._edges, mine), quantile(self._q, self._edges, stable)
        if one is None or other is None:
            return None
        return Compared(one.value, other.value)

    @property
    def evidence(self) -> Evidence:
        return self._detector.evidence


class RatesBefore:
    """The share of bad events, beside stable's before the rollout."""

    def __init__(self, ratio: float, alpha: float, before: Values) -> None:
        self._before = before
        self._detector = LimitDetector(ratio * rate_at_most(before[0], before[1], alpha), alpha)

    def take(self, mine: Values, stable: Values, seconds: float, at: float) -> None:
        self._detector.take(mine[0], mine[1], at)

    def compared(self, mine: Values, stable: Values) -> Compared | None:
        if not mine[1]:
            return None
        return Compared(percent(*mine), percent(*self._before), " %")

    @property
    def evidence(self) -> Evidence:
        return self._detector.evidence


class TimesBefore:
    """A quantile, beside stable's before the rollout."""

    def __init__(
        self, ratio: float, alpha: float, q: float, edges: Sequence[float], least: float, before: Values
    ) -> None:
        self._q, self._edges, self._before = q, edges, before
        self._beyond, edge = beyond(q, ratio, edges, before, least)
        share = rate_at_most(before[-1] - before[edge], before[-1], alpha)
        self._detector = LimitDetector(share, alpha)

    def take(self, mine: Values, stable: Values, seconds: float, at: float) -> None:
        self._detector.take(mine[-1] - mine[self._beyond], mine[-1], at)

    def compared(self, mine: Values, stable: Values) -> Compared | None:
        one, other = quantile(self._q, self._edges, mine), quantile(self._q, self._edges, self._before)
        return Compared(one.value, other.value) if one and other else None

    @property
    def evidence(self) -> Evidence:
        return self._detector.evidence


def beyond(q: float, ratio: float, edges: Sequence[float], counts: Values, least: float) -> tuple[int, int]:
    """Return the edge at `ratio` times the q-quantile and at `least` or above, and the quantile's own."""

    def first(value: float) -> int:
        return next(n for n, edge in enumerate(edges) if edge >= value)

    own = next(n for n, count in enumerate(counts) if count >= q * counts[-1])
    own = max(own, first(least / ratio))
    return first(edges[own] * ratio * SAME_EDGE), own


class AmountComparison:
    """An amount for each event, such as CPU time for each request; values are (amount, events).

    A process uses something while it idles too, which weighs more on the side with fewer events. So what
    stable uses is taken apart, as far as its readings tell, and the candidate's reading is held against what
    stable would have used for as many events in the same time.
    """

    def __init__(self, ratio: float, alpha: float) -> None:
        self._ratio = ratio
        self._detector = SignDetector(alpha)
        self._sums = [0.0] * 5  # of 1, events/s, amount/s, events², events × amount of stable's readings
        self._mine = self._stable = (0.0, 0.0, 0.0)
        self._now = (1e-9, 1e-9)

    def take(self, mine: Values, stable: Values, seconds: float, at: float) -> None:
        self._mine = _plus(self._mine, (*mine, seconds))
        self._stable = _plus(self._stable, (*stable, seconds))
        if self._mine[1] < FEWEST_EVENTS:
            return
        used, events, took = self._mine
        expected = self._expected(events / took)
        if expected is not None:
            self._follow(*self._stable)
            busier = max(1.0, self._now[0] / self._now[1])
            self._detector.take(used / took > self._ratio * busier * expected, at)
        if self._stable[1] >= FEWEST_EVENTS or expected is not None:
            self._learn(*self._stable)
            self._stable = (0.0, 0.0, 0.0)
        self._mine = (0.0, 0.0, 0.0)

    def _follow(self, used: float, events: float, seconds: float) -> None:
        """Whatever slows the machine slows both: what stable uses of late, against what it used to."""
        usual = (self._expected(events / seconds) or 0.0) * seconds
        self._now = (FORGET * self._now[0] + used, FORGET * self._now[1] + usual)

    def _learn(self, used: float, events: float, seconds: float) -> None:
        x, y = events / seconds, used / seconds
        self._sums = [one + more for one, more in zip(self._sums, (1.0, x, y, x * x, x * y), strict=True)]

    def _expected(self, rate: float) -> float | None:
        """Return what stable would use in a second of so many events; None while that is not known."""
        count, x, y, xx, xy = self._sums
        if not x:
            return None
        for_each, idle = y / x, 0.0
        spread = xx / count - (x / count) ** 2
        if count >= FEWEST_READINGS and spread > (0.3 * x / count) ** 2:  # else there is no telling
            slope = (xy / count - x * y / count**2) / spread
            if slope > 0:
                for_each, idle = slope, max(0.0, (y - slope * x) / count)
        return idle + for_each * rate

    def compared(self, mine: Values, stable: Values) -> Compared | None:
        if not (mine[1] and stable[1]):
            return None
        return Compared(mine[0] / mine[1], stable[0] / stable[1])

    @property
    def evidence(self) -> Evidence:
        return self._detector.evidence


class LevelComparison:
    """A gauge, reading by reading; values are (sum of readings, their number)."""

    def __init__(self, ratio: float, alpha: float, least: float) -> None:
        self._ratio, self._least = ratio, least
        self._detector = SignDetector(alpha)

    def take(self, mine: Values, stable: Values, seconds: float, at: float) -> None:
        level, other = mine[0] / mine[1], stable[0] / stable[1]
        self._detector.take(level > max(self._least, self._ratio * other), at)

    def compared(self, mine: Values, stable: Values) -> Compared | None:
        if not (mine[1] and stable[1]):
            return None
        return Compared(mine[0] / mine[1], stable[0] / stable[1])

    @property
    def evidence(self) -> Evidence:
        return self._detector.evidence


def _plus(one: tuple[float, float, float], more: Sequence[float]) -> tuple[float, float, float]:
    return one[0] + more[0], one[1] + more[1], one[2] + more[2]
