"""What clients got, as lines over time for each side: requests a second, failures and latency.

They come from the samples of the edge's log, which counts answers of the public port. Each point covers the
time since the one before it.
"""

from collections.abc import Mapping

from guarded_rollout.config.terms import Source
from guarded_rollout.gates.samples import SIDES, Sample, Side
from guarded_rollout.gates.statistics import quantile
from guarded_rollout.monitor.edge_log import FAILED, PASSED_ON, REQUESTS, SECONDS
from guarded_rollout.status.chart_line import ChartLine, Dot

REQUEST_RATE, FAILURE_SHARE, P50, P95 = "edge requests", "edge failures", "edge p50", "edge p95"
UNITS: Mapping[str, str] = {REQUEST_RATE: "/s", FAILURE_SHARE: "%", P50: "ms", P95: "ms"}
LEAST_SECONDS = 2.0  # that a point covers


class EdgeLines:
    """The lines by name and side, with the totals behind them."""

    def __init__(self) -> None:
        self.lines: dict[str, dict[Side, ChartLine]] = {}
        self.totals: dict[Side, dict[str, float]] = {}
        self._before: dict[Side, Sample] = {}

    def take(self, sample: Sample) -> list[Dot]:
        """Add the points that a sample makes, and return them."""
        if sample.source is not Source.EDGE or sample.side not in SIDES or not sample.ok:
            return []
        before = self._before.get(sample.side)
        if before is not None and before.started_at == sample.started_at:
            if sample.at - before.at < LEAST_SECONDS:
                return []
            values = _between(before, sample)
        else:
            values = {}
        self._before[sample.side] = sample
        self._count(before, sample)
        return [
            self.lines.setdefault(name, {})
            .setdefault(sample.side, ChartLine())
            .add(name, sample.side, sample.at, value)
            for name, value in values.items()
        ]

    def _count(self, before: Sample | None, sample: Sample) -> None:
        """Add up over the sessions of a window: a resumed one counts from its own beginning."""
        same = before is not None and before.started_at == sample.started_at
        totals = self.totals.setdefault(sample.side, dict.fromkeys((REQUESTS, FAILED, PASSED_ON), 0.0))
        for name in totals:
            earlier = before.counters.get(name, 0.0) if same and before else 0.0
            totals[name] += max(0.0, sample.counters.get(name, 0.0) - earlier)


def _between(before: Sample, sample: Sample) -> dict[str, float | None]:
    """The values of the time between two samples; None where nothing was asked."""
    gained = {
        name: max(0.0, sample.counters.get(name, 0.0) - before.counters.get(name, 0.0))
        for name in (REQUESTS, FAILED)
    }
    requests = gained[REQUESTS]
    values: dict[str, float | None] = {
        REQUEST_RATE: requests / (sample.at - before.at),
        FAILURE_SHARE: 100 * gained[FAILED] / requests if requests else None,
    }
    later, earlier = sample.histograms.get(SECONDS), before.histograms.get(SECONDS)
    for name, share in ((P50, 0.5), (P95, 0.95)):
        found = None
        if later is not None:
            base = earlier.counts if earlier is not None else (0.0,) * len(later.counts)
            counts = [max(0.0, one - two) for one, two in zip(later.counts, base, strict=True)]
            found = quantile(share, later.edges, counts)
        values[name] = None if found is None else found.value * 1000
    return values
