"""Candidate against stable, over the same time."""

from guarded_rollout.clock import duration
from guarded_rollout.config.kinds import Decision, RegressionGate
from guarded_rollout.gates.detector import RatioDetector
from guarded_rollout.gates.judges.base import Judge, percent, summed
from guarded_rollout.gates.samples import Sample, Side
from guarded_rollout.gates.statistics import quantile_range
from guarded_rollout.gates.verdict import GateOutcome, Verdict
from guarded_rollout.gates.window import CounterWindow, Difference

Comparison = tuple[GateOutcome, str, float | None]  # with the reason, and the candidate's value over stable's
COMPARISON_Z = 3.72  # one in 10,000 that a quantile's range misses it


class RegressionJudge(Judge):
    """The candidate is worse than stable, over the same time, by more than a factor."""

    def __init__(self, name: str, gate: RegressionGate, began_at: float) -> None:
        super().__init__(name, gate, gate.source, began_at)
        self._gate = gate
        self._limit = gate.threshold.limit
        self._detector = RatioDetector(gate.threshold.limit)
        self._windows = {side: CounterWindow(gate.threshold.window_seconds) for side in Side}
        self._waiting: dict[Side, tuple[float, float]] = {}
        self._edges: tuple[float, ...] = ()
        self._since = began_at

    def _wants(self, sample: Sample) -> bool:
        return True

    def _learn(self, sample: Sample) -> str:
        counts = self._counts(sample)
        if counts is None:
            return f"{self._gate.histogram or ' '.join(self._gate.numerator or ())} is not published"
        increment = self._windows[sample.side].take(sample.at, counts, sample.started_at)
        if increment is not None and self._gate.histogram is None:
            self._pair(sample.side, increment, sample.at)
        return ""

    def _pair(self, side: Side, increment: tuple[float, ...], at: float) -> None:
        """Compare only what was counted over the same time: when both sides were read."""
        before = self._waiting.get(side, (0.0, 0.0))
        self._waiting[side] = (before[0] + increment[0], before[1] + increment[1])
        if len(self._waiting) == len(Side):
            candidate, stable = (self._waiting[one] for one in Side)
            self._detector.take(candidate, stable, since=self._since)
            self._waiting.clear()
            self._since = at

    def _counts(self, sample: Sample) -> tuple[float, ...] | None:
        if self._gate.histogram is None:
            assert self._gate.numerator is not None
            assert self._gate.denominator is not None
            return summed(sample, self._gate.numerator, self._gate.denominator)
        histogram = sample.histograms.get(self._gate.histogram)
        if histogram is None:
            return None
        if histogram.edges != self._edges:  # two releases with other buckets cannot be compared
            self._edges = histogram.edges
            self._windows = {side: CounterWindow(self._gate.threshold.window_seconds) for side in Side}
        return histogram.counts

    def _judge(self, now: float, decision: Decision) -> Verdict:
        seen = [self._windows[side].difference(now) for side in Side]
        fewest = min(window.values[-1] if window.values else 0 for window in seen)
        needed = self._gate.threshold.min_samples
        compare = self._compare_rates if self._gate.histogram is None else self._compare_times
        outcome, reason, value = compare(*seen) if fewest > 0 else (GateOutcome.INSUFFICIENT, "", None)
        early = outcome is GateOutcome.FAIL and self._gate.histogram is None  # conclusive from fewer samples
        if fewest < needed and not early:
            reason = f"{fewest:g} of {needed} samples on the side that has fewer"
            outcome = GateOutcome.INSUFFICIENT
        return Verdict(
            self.name,
            outcome,
            reason,
            self._limit,
            "×",
            value,
            samples=fewest,
            needed=needed,
            full=all(window.full for window in seen),
            conclusive=outcome is GateOutcome.FAIL,
        )

    def _compare_rates(self, mine: Difference, stable: Difference) -> Comparison:
        evidence = self._detector.evidence
        rates = [percent(window.values[0], window.values[1]) for window in (mine, stable)]
        value = rates[0] / rates[1] if rates[1] else None
        what = f"{rates[0]:.3g} % against stable's {rates[1]:.3g} % over {duration(mine.seconds)}"
        if evidence.conclusive:
            reason = f"{what}: conclusive that it is more than {self._limit:g} times as bad"
            return GateOutcome.FAIL, reason, value
        return GateOutcome.PASS, f"{what}: not conclusively more than {self._limit:g} times as bad", value

    def _compare_times(self, mine: Difference, stable: Difference) -> Comparison:
        q = self._gate.quantile
        one, other = (
            quantile_range(q, self._edges, window.values, COMPARISON_Z) for window in (mine, stable)
        )
        assert one is not None
        assert other is not None
        value = one.value / other.value if other.value else None
        what = (
            f"{one.value:.4g} (at least {one.low:g}) against stable's {other.value:.4g} "
            f"(at most {other.high:g}) over {duration(mine.seconds)}"
        )
        if one.low > self._limit * other.high:
            return GateOutcome.FAIL, f"{what}: surely more than {self._limit:g} times as long", value
        return GateOutcome.PASS, f"{what}: not surely more than {self._limit:g} times as long", value
