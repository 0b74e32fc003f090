"""What grows steadily towards a limit."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from guarded_rollout.clock import duration
from guarded_rollout.config.kinds import TrendGate
from guarded_rollout.config.terms import Action, Decision
from guarded_rollout.gates.judges.base import Judge
from guarded_rollout.gates.samples import SIDES, Histogram, Sample, Side
from guarded_rollout.gates.statistics import quantile
from guarded_rollout.gates.verdict import GateOutcome, Verdict

BLOCKS = 12  # the readings are averaged in so many, or what follows itself would pass for evidence
REMEMBERED = 1024  # readings; then every second is left out
LOOK_BACK = 3600.0
ALONE_SECONDS = 900.0  # where there is no stable to compare with, a new process may warm up as long
DEVIATIONS = 8.0  # for ten degrees of freedom six in a million, as this is asked again and again
STEADY = 0.6  # later growth over earlier: what only warms up slows down
HOUR = 3600.0
FEWEST = 20  # values in a reading of a quantile; where there are fewer, they wait for the next
ALERT_LEVEL = 1.1  # times stable's


@dataclass(frozen=True, slots=True)
class Slope:
    """Growth in a second, give or take `error`, and whether it goes on as it began."""

    value: float
    error: float
    steady: bool
    seconds: float  # that were looked at
    level: float  # of late
    grown: float

    @property
    def low(self) -> float:
        return self.value - self.error

    def at_least_twice(self, other: "Slope") -> bool:
        """Return True if it grows at least twice as fast, whatever chance did to both."""
        return self.value / 2 - other.value > math.hypot(self.error / 2, other.error)


def slope_of(points: Sequence[tuple[float, float]]) -> Slope | None:
    """Fit a line to (seconds, level) in twelve blocks; None if that are too few points for it."""
    if len(points) < BLOCKS:
        return None
    bounds = [len(points) * n // BLOCKS for n in range(BLOCKS + 1)]
    ats, levels = zip(*points, strict=True)
    x = [sum(ats[low:high]) / (high - low) for low, high in pairwise(bounds)]
    y = [sum(levels[low:high]) / (high - low) for low, high in pairwise(bounds)]
    middle, mean = sum(x) / BLOCKS, sum(y) / BLOCKS
    spread = sum((one - middle) ** 2 for one in x)
    if not spread:
        return None
    value = sum((one - middle) * (level - mean) for one, level in zip(x, y, strict=True)) / spread
    left = sum((level - mean - value * (one - middle)) ** 2 for one, level in zip(x, y, strict=True))
    error = DEVIATIONS * math.sqrt(left / (BLOCKS - 2) / spread)
    third = BLOCKS // 3
    begin, half, end = (sum(y[n : n + third]) for n in range(0, BLOCKS, third))
    steady = end - half >= STEADY * (half - begin) > 0
    return Slope(value, error, steady, points[-1][0] - points[0][0], y[-1], y[-1] - y[0])


class TrendJudge(Judge):
    """Judges the growth of a gauge, or of a quantile, of the candidate beside stable's."""

    def __init__(self, name: str, gate: TrendGate, began_at: float) -> None:
        super().__init__(name, gate, gate.source, began_at)
        self._gate = gate
        self._points: dict[Side, deque[tuple[float, float]]] = {side: deque() for side in SIDES}
        self._limit = gate.threshold.max_value or math.inf
        self._read: dict[Side, Histogram] = {}  # what the newest point was read from

    def _wants(self, sample: Sample) -> bool:
        return sample.side in SIDES

    def _learn(self, sample: Sample) -> str:
        if self._gate.histogram is not None:
            histogram = sample.histograms.get(self._gate.histogram)
            if histogram is None:
                return f"{self._gate.histogram} is not published"
            if (level := self._since(sample.side, histogram)) is None:
                return ""
        elif (level := sample.gauges.get(self._gate.metric or "")) is None:
            return f"{self._gate.metric} is not published"
        points = self._points[sample.side]
        points.append((sample.at, level))
        while points[0][0] < sample.at - LOOK_BACK:
            points.popleft()
        if len(points) > REMEMBERED:
            self._points[sample.side] = deque(list(points)[::2])
        if sample.side is Side.CANDIDATE and self._gate.limit_metric is not None:
            self._limit = sample.gauges.get(self._gate.limit_metric, math.inf)
        return ""

    def _since(self, side: Side, read: Histogram) -> float | None:
        """Return the quantile of what came since the last point; None while that is too little."""
        before = self._read.get(side)
        if before is None or before.edges != read.edges or read.counts[-1] < before.counts[-1]:
            self._read[side] = read  # the first, or of a new process
            return None
        counts = [new - old for new, old in zip(read.counts, before.counts, strict=True)]
        if counts[-1] < FEWEST:
            return None
        self._read[side] = read
        found = quantile(self._gate.quantile, read.edges, counts)
        return found.value if found else None

    def by_action(self, now: float) -> dict[Action, Verdict]:
        found = self._slope()
        return {action: self._with_silence(self._judged(action, found), now) for action in Action}

    def _judge(self, now: float, decision: Decision) -> Verdict:
        return self._judged(Action.AUTO_ROLLBACK, self._slope())

    def _slope(self) -> Slope | None:
        return slope_of(list(self._points[Side.CANDIDATE]))

    def _judged(self, action: Action, found: Slope | None) -> Verdict:
        threshold = self._gate.threshold
        if found is None or self._limit == math.inf:
            return self._verdict(GateOutcome.INSUFFICIENT, "too few readings for a trend", None)
        left, share = self._limit - found.level, 100 * found.level / self._limit
        what = f"{self._gate.what} is {self._shown(found.level)} of {self._shown(self._limit)}"
        if found.low <= 0 or not found.steady or found.grown < threshold.min_growth:
            return self._verdict(GateOutcome.PASS, f"{what} and does not grow steadily", share)
        what += (
            f", and grows by {self._shown(found.value * HOUR)} an hour (at least "
            f"{self._shown(found.low * HOUR)}): used up in {duration(max(0.0, left / found.value))}"
        )
        if left / found.low <= threshold.return_minutes * 60:
            return self._verdict(GateOutcome.FAIL, what, share)
        if left / found.low > threshold.horizon_hours * HOUR:
            return self._verdict(GateOutcome.PASS, what, share)
        leaks, why = self._leaks(found, action)
        outcome = GateOutcome.FAIL if leaks else GateOutcome.PASS
        return self._verdict(outcome, f"{what}; {why}", share)

    def _leaks(self, found: Slope, action: Action) -> tuple[bool, str]:
        """Return True if this is no new process that only warms up to what stable uses, and why."""
        points = self._points[Side.STABLE]
        if not points:
            alone = found.seconds >= ALONE_SECONDS and action is Action.ALERT
            return alone, "there is no stable release to compare it with"
        stable, level = slope_of(list(points)), points[-1][1]
        if stable is None or not found.at_least_twice(stable):
            return False, "stable grows as well"
        times = ALERT_LEVEL if action is Action.ALERT else self._gate.threshold.times_stable
        above = found.level > times * level
        return above, f"stable does not grow so, and stands at {self._shown(level)}"

    def _shown(self, value: float) -> str:
        return f"{value * self._gate.scale:.4g} {self._gate.unit}".rstrip()

    def _verdict(self, outcome: GateOutcome, reason: str, share: float | None) -> Verdict:
        return Verdict(
            self.name,
            outcome,
            reason,
            100.0,
            "%",
            share,
            samples=len(self._points[Side.CANDIDATE]),
            needed=BLOCKS,
            conclusive=outcome is GateOutcome.FAIL,
        )
