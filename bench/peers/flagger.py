"""Flagger's rule: checks that failed are counted, and never forgotten while the analysis runs."""

from dataclasses import dataclass

from bench.peers.counts import Counts, Numbers, first


@dataclass(frozen=True, slots=True)
class Flagger:
    """`analysis.interval`, `analysis.threshold` and the `thresholdRange.min` of `request-success-rate`.

    Each interval the success rate over that interval is checked. One below `minimum` (0 to 1), or none
    because nothing was asked ("no values found"), adds one to the failed checks; good intervals take nothing
    away. At `threshold` failed checks it rolls back: "interval * threshold" at the earliest. (Flagger
    documentation, "Metrics Analysis" and "Deployment Strategies"; fluxcd/flagger, pkg/controller/scheduler.go
    and scheduler_metrics.go, branch main of 2025. There the counter is looked at before the next check, so
    that the rollback comes one interval later than documented; here it is counted as documented.) The
    defaults are those of the documents' example of a canary.
    """

    minimum: float
    interval: float = 60.0
    threshold: int = 5

    def decided(self, counts: Counts) -> Numbers:
        """Seconds until it rolls back, by window; infinite where never."""
        kept = counts.every(self.interval).success >= self.minimum  # not a number is not kept
        return first((~kept).cumsum(axis=0) >= self.threshold, self.interval)
