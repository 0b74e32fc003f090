"""Rates and quantiles over a window, decided literally or guarded."""

from dataclasses import dataclass

from guarded_rollout.clock import duration
from guarded_rollout.config.kinds import QuantileGate, RatioGate
from guarded_rollout.config.terms import Decision
from guarded_rollout.gates.detector import Evidence, RateDetector
from guarded_rollout.gates.judges.base import Judge, percent, summed
from guarded_rollout.gates.samples import Sample
from guarded_rollout.gates.statistics import binomial_tail, quantile
from guarded_rollout.gates.verdict import GateOutcome, Verdict
from guarded_rollout.gates.window import AverageWindow, CounterWindow, Difference

GAUGE_READINGS = 3  # a gauge does not say how many requests it stands for; so many readings are asked for


@dataclass(frozen=True, slots=True)
class _Seen:
    """A window's value beside the limit, or none yet."""

    value: float | None
    over: bool  # more than the limit
    sure: bool  # enough evidence for the full window
    what: str
    samples: float
    needed: int
    window: Difference
    low: float | None = None
    high: float | None = None


class WindowJudge(Judge):
    """A rate or a quantile over a window, decided literally or guarded."""

    def __init__(
        self, name: str, gate: RatioGate | QuantileGate, limit_as_rate: float, began_at: float
    ) -> None:
        super().__init__(name, gate, gate.source, began_at)
        self._limit, self._unit = gate.threshold.limit, gate.unit
        self._min_samples = gate.threshold.min_samples
        self._confidence = gate.full_window_confidence
        self._gauge = gate.gauge
        self._window = CounterWindow(gate.threshold.window_seconds)
        self._averages = AverageWindow(gate.threshold.window_seconds)
        self._seconds = gate.threshold.window_seconds
        self._detector = RateDetector(limit_as_rate)
        self._last_at = began_at
        self._example = ""
        self._counted = False  # counters were seen, so the gauge is not asked any more

    def _learn(self, sample: Sample) -> str:
        counts = self._counts(sample)
        if counts is not None:
            self._counted, self._example = True, sample.example
            increment = self._window.take(sample.at, counts, sample.started_at)
            if increment is not None:
                self._detector.take(*self._bad_and_total(increment), since=self._last_at)
            self._last_at = max(self._last_at, sample.at)
            return ""
        gauge = sample.gauges.get(self._gauge)
        if gauge is None or self._counted:
            return self._missing()
        self._averages.take(sample.at, gauge)
        return ""

    def _judge(self, now: float, decision: Decision) -> Verdict:
        seen = self._seen(now) if self._counted else self._seen_by_gauge(now)
        outcome, reason = self._decide(seen, decision, self._detector.evidence, now)
        if outcome is GateOutcome.FAIL and self._example:
            reason += f"; such as {self._example}"
        return Verdict(
            self.name,
            outcome,
            reason,
            self._limit,
            self._unit,
            seen.value,
            seen.low,
            seen.high,
            seen.samples,
            seen.needed,
            seen.window.full,
            conclusive=outcome is GateOutcome.FAIL and self._detector.evidence.conclusive,
        )

    def _decide(
        self, seen: _Seen, decision: Decision, evidence: Evidence, now: float
    ) -> tuple[GateOutcome, str]:
        guarded = decision is Decision.GUARDED
        if guarded and evidence.conclusive:
            bad, total = evidence.counts
            found = f"{self._bad_words(bad, total)} in {duration(max(0.0, now - evidence.since))}"
            return GateOutcome.FAIL, f"{found}: conclusive that it is over {self._limit:g} {self._unit}"
        if seen.value is None or seen.samples < seen.needed:
            return GateOutcome.INSUFFICIENT, f"{seen.samples:g} of {seen.needed} samples"
        over = f"{seen.what} is {'over' if seen.over else 'within'} {self._limit:g} {self._unit}"
        if not seen.over:
            return GateOutcome.PASS, over
        if not guarded or (seen.window.full and seen.sure):
            return GateOutcome.FAIL, over
        if not seen.window.full:
            return GateOutcome.INSUFFICIENT, f"{over}, but the window is not full and this is not conclusive"
        return (
            GateOutcome.INSUFFICIENT,
            f"{over}, but not with the confidence asked for ({self._confidence:g})",
        )

    def _seen_by_gauge(self, now: float) -> _Seen:
        average, window = self._averages.average(now)
        (readings,) = window.values
        value = average if readings else None
        over = duration(window.seconds)
        what = f"the service's own figure, {average:.4g} {self._unit} on average over {over},"
        # The average says nothing of how much it stands for, so no further confidence can be asked of it.
        return _Seen(value, average > self._limit * (1 + 1e-9), True, what, readings, GAUGE_READINGS, window)

    def _counts(self, sample: Sample) -> tuple[float, ...] | None:
        raise NotImplementedError

    def _bad_and_total(self, increment: tuple[float, ...]) -> tuple[float, float]:
        raise NotImplementedError

    def _bad_words(self, bad: float, total: float) -> str:
        raise NotImplementedError

    def _missing(self) -> str:
        raise NotImplementedError

    def _seen(self, now: float) -> _Seen:
        raise NotImplementedError


class RatioJudge(WindowJudge):
    """Too large a share of bad events."""

    def __init__(self, name: str, gate: RatioGate, began_at: float) -> None:
        super().__init__(name, gate, gate.threshold.limit / 100, began_at)
        self._numerator, self._denominator = gate.numerator, gate.denominator

    def _counts(self, sample: Sample) -> tuple[float, ...] | None:
        return summed(sample, self._numerator, self._denominator)

    def _bad_and_total(self, increment: tuple[float, ...]) -> tuple[float, float]:
        return increment[0], increment[1]

    def _bad_words(self, bad: float, total: float) -> str:
        return f"{bad:g} of {total:g} failed ({percent(bad, total):.3g} %)"

    def _missing(self) -> str:
        return f"the counters {' '.join((*self._numerator, *self._denominator))} are not published"

    def _seen(self, now: float) -> _Seen:
        window = self._window.difference(now)
        bad, total = window.values
        share = percent(bad, total)
        over = 100 * bad > self._limit * total
        sure = self._confidence is None or (
            over and binomial_tail(bad, total, self._limit / 100) <= 1 - self._confidence
        )
        what = f"{share:.4g} % ({bad:g} of {total:g}) over {duration(window.seconds)}"
        return _Seen(share if total else None, over, sure, what, total, self._min_samples, window)


class QuantileJudge(WindowJudge):
    """A quantile over the limit, which is the same as: more than 1−q of all values beyond the limit."""

    def __init__(self, name: str, gate: QuantileGate, began_at: float) -> None:
        super().__init__(name, gate, 1 - gate.quantile, began_at)
        self._histogram, self._q, self._scale = gate.histogram, gate.quantile, gate.factor
        self._edges: tuple[float, ...] = ()
        self._sure_edge: int  # values beyond this edge are surely beyond the limit

    def _counts(self, sample: Sample) -> tuple[float, ...] | None:
        histogram = sample.histograms.get(self._histogram)
        if histogram is None:
            return None
        edges = tuple(edge * self._scale for edge in histogram.edges)
        if edges != self._edges:
            self._edges = edges
            self._sure_edge = next(n for n, edge in enumerate(edges) if edge >= self._limit)
            self._window = CounterWindow(self._seconds)
        return histogram.counts

    def _bad_and_total(self, increment: tuple[float, ...]) -> tuple[float, float]:
        return increment[-1] - increment[self._sure_edge], increment[-1]

    def _bad_words(self, bad: float, total: float) -> str:
        return f"{bad:g} of {total:g} took longer than {self._edges[self._sure_edge]:g} {self._unit}".rstrip()

    def _missing(self) -> str:
        return f"the histogram {self._histogram} is not published"

    def _seen(self, now: float) -> _Seen:
        window = self._window.difference(now)
        counts = window.values
        total = counts[-1]
        found = quantile(self._q, self._edges, counts)
        if found is None:
            return _Seen(None, False, False, "", 0, self._min_samples, window)
        over = found.value > self._limit
        beyond = total - counts[self._sure_edge]
        sure = self._confidence is None or binomial_tail(beyond, total, 1 - self._q) <= 1 - self._confidence
        what = (
            f"{found.value:.4g} {self._unit} (between {found.low:g} and {found.high:g}, "
            f"{total:g} values) over {duration(window.seconds)}"
        )
        return _Seen(found.value, over, sure, what, total, self._min_samples, window, found.low, found.high)
