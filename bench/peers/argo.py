"""Argo Rollouts' rule: an AnalysisRun with a success condition and a limit of failed measurements."""

from dataclasses import dataclass

from bench.peers.counts import Counts, Numbers, first


@dataclass(frozen=True, slots=True)
class Argo:
    """An AnalysisTemplate's `successCondition: result >= success`, `interval`, `failureLimit`, `count`.

    Each interval the success rate over that interval is measured; a measurement that does not meet the
    condition failed. The run fails, and the rollout is aborted, once `failed > failureLimit`; measurements
    that met it take nothing away. Without `count` it goes on until the rollout ends. An interval without
    requests has no result, which is not a failed one. (Argo Rollouts 1.8, docs/features/analysis.md,
    "Background Analysis", whose example the defaults are, with `rate` over the interval where it has
    `irate`, which sees the last two readings only; argoproj/argo-rollouts, analysis/analysis.go,
    assessMetricFailureInconclusiveOrError.)
    """

    success: float
    interval: float = 300.0
    failure_limit: int = 3
    count: int | None = None

    def decided(self, counts: Counts) -> Numbers:
        """Seconds until the run fails, by window; infinite where never."""
        failed = (counts.every(self.interval).success < self.success)[: self.count]
        return first(failed.cumsum(axis=0) > self.failure_limit, self.interval)
