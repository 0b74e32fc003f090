"""The limits of the gates, and the units that they can be converted between."""

from collections.abc import Mapping
from enum import StrEnum

from pydantic import Field

from guarded_rollout.config.terms import Minutes, Model, Percent, Seconds


class ConsecutiveThreshold(Model):
    limit: int = Field(
        alias="consecutive_failures", ge=0, le=10_000, description="more than this many in a row"
    )
    check_interval_seconds: Seconds


class GaugeThreshold(Model):
    limit: float = Field(alias="max_value")
    alert_value: float | None = Field(
        None, description="alerts above this; the limit is then for the rollback alone"
    )
    check_interval_seconds: Seconds

    @property
    def alert_limit(self) -> float:
        """What alerts above; never later than the rollback."""
        return self.limit if self.alert_value is None else min(self.alert_value, self.limit)


class QueueThreshold(GaugeThreshold):
    limit: float = Field(alias="max_queue_length", ge=0)


class MemoryThreshold(GaugeThreshold):
    limit: Percent = Field(alias="max_usage_percentage")


class WindowThreshold(Model):
    limit: float
    window_minutes: Minutes = Field(
        alias="evaluation_window_minutes", description="how far the gate looks back"
    )
    min_samples: int = Field(alias="min_sample_size", ge=1, description="with fewer there is no verdict")

    @property
    def window_seconds(self) -> float:
        return self.window_minutes * 60


class RatioThreshold(WindowThreshold):
    limit: Percent = Field(alias="max_percentage")


class FailureThreshold(RatioThreshold):
    limit: Percent = Field(alias="max_failure_percentage")


class ErrorThreshold(RatioThreshold):
    limit: Percent = Field(alias="max_error_percentage")


class QuantileThreshold(WindowThreshold):
    limit: float = Field(alias="max_value", gt=0)


class TimeThreshold(QuantileThreshold):
    limit: float = Field(alias="max_time_ms", gt=0)


class RegressionThreshold(WindowThreshold):
    limit: float = Field(alias="max_ratio", ge=1, le=1000, description="candidate's value over stable's")
    alert_ratio: float | None = Field(
        None, ge=1, le=1000, description="alerts from here on; max_ratio is then for the rollback alone"
    )
    min_value: float = Field(
        0.0,
        ge=0,
        description="a candidate below this is well, whatever stable is: percent, or the metric's unit",
    )


class TrendThreshold(Model):
    horizon_hours: float = Field(
        default=24, gt=0, le=8760, description="what would be used up within it alerts"
    )
    return_minutes: Minutes = Field(
        default=2, description="to drain and return; what would be used up within it rolls back"
    )
    min_growth: float = Field(
        default=0.0, ge=0, description="less growth than this, in the metric's unit, is none"
    )
    times_stable: float = Field(
        default=1.5, ge=1, le=1000, description="a leak rolls back from so many times stable's level on"
    )
    max_value: float | None = Field(
        default=None, gt=0, description="what a quantile can grow to, in the histogram's unit"
    )


class MetricUnit(StrEnum):
    """The units that a metric and its limit can be converted between."""

    SECONDS = "s"
    MILLISECONDS = "ms"
    BYTES = "bytes"
    KIB = "KiB"
    MIB = "MiB"
    GIB = "GiB"


TIMES: Mapping[str, float] = {"s": 1.0, "ms": 1e-3}
SIZES: Mapping[str, float] = {"bytes": 1.0, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30}
MEASURED = Field(default=None, description="the metric's own unit, where the limit's `unit` is another")


def factor_of(metric: MetricUnit | None, unit: str) -> float:
    """What converts a metric's unit into the limit's. Raises `ValueError` if nothing does."""
    if metric is None:
        return 1.0
    for known in (TIMES, SIZES):
        if metric in known and unit in known:
            return known[metric] / known[unit]
    raise ValueError(f"{metric} cannot be compared with a limit in {unit!r}; say the limit's unit in `unit`")
