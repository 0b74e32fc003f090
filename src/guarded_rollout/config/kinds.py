"""The kinds of gate, as frozen models of what a gates file may say.

The guide's gate names are presets of five generic kinds; a gate of any other name says its `kind`.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.config import JsonDict, JsonValue

from guarded_rollout.config.terms import Action, Counting, Decision, Metric, Metrics, Model, Seconds, Source
from guarded_rollout.config.thresholds import (
    MEASURED,
    ConsecutiveThreshold,
    ErrorThreshold,
    FailureThreshold,
    GaugeThreshold,
    MemoryThreshold,
    MetricUnit,
    QuantileThreshold,
    QueueThreshold,
    RatioThreshold,
    RegressionThreshold,
    TimeThreshold,
    TrendThreshold,
    factor_of,
)


class NoDataPolicy(Model):
    """The response to a gate's silent source. Silence is never a pass."""

    after_seconds: Seconds = 120
    actions: tuple[Action, ...] = (Action.ALERT,)


class ByAction(Model):
    """A rule for each action: crying wolf is cheap, rolling back a healthy release is not."""

    alert: Decision = Decision.GUARDED
    auto_rollback: Decision = Decision.GUARDED


class Gate(Model):
    """The settings that every gate has."""

    enabled: bool = True
    description: str = ""
    actions: tuple[Action, ...] = (Action.ALERT,)
    quarantine: bool = Field(
        default=False, description="with a rollback, what the release wrote is taken out of search"
    )
    on_no_data: NoDataPolicy | tuple[NoDataPolicy, ...] = Field(
        NoDataPolicy(), description="one policy, or several that follow each other"
    )

    @property
    def no_data_policies(self) -> tuple[NoDataPolicy, ...]:
        given = self.on_no_data
        return (given,) if isinstance(given, NoDataPolicy) else given

    def decision_for(self, action: Action) -> Decision:
        """Return the rule that decides whether this action follows."""
        return Decision.LITERAL


class DecidedGate(Gate):
    """A gate that may decide early."""

    decision: Decision | ByAction = Decision.GUARDED
    full_window_confidence: float | None = Field(
        None, ge=0.5, lt=1, description="evidence asked of the full window too, 0.99 say"
    )

    def decision_for(self, action: Action) -> Decision:
        if isinstance(self.decision, Decision):
            return self.decision
        return self.decision.alert if action is Action.ALERT else self.decision.auto_rollback


class ConsecutiveGate(Gate):
    """Fails when more than `limit` probes in a row were not OK."""

    kind: Literal["consecutive"]
    source: Literal[Source.PROBE, Source.CHECKS] = Source.PROBE
    side: Literal["candidate", "stable"] = Field(
        "candidate", description="the release that is asked; stable's can break through a migration"
    )
    path: str = Field("", pattern=r"^(/\S*)?$", description="asked instead of health_check_endpoint")
    slow_after_seconds: Seconds | None = Field(None, description="a slower answer of `path` is none")
    decision: Literal[Decision.LITERAL] = Decision.LITERAL
    threshold: ConsecutiveThreshold

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.source is Source.CHECKS and (self.path or self.slow_after_seconds):
            raise ValueError("checks say themselves what they ask, and how long that may take")
        if self.slow_after_seconds and not self.path:
            raise ValueError("slow_after_seconds is that of a `path` of the gate's own")
        return self


class GaugeGate(Gate):
    """Fails when the newest value of a gauge is above the limit."""

    kind: Literal["gauge"]
    source: Literal[Source.SERVICE, Source.STALL, Source.CRASHES, Source.WRITES] = Source.SERVICE
    metric: Metric
    unit: str = ""
    metric_unit: MetricUnit | None = MEASURED
    decision: Literal[Decision.LITERAL] = Decision.LITERAL
    threshold: GaugeThreshold

    @property
    def factor(self) -> float:
        """The metric's values times this are in the limit's unit."""
        return factor_of(self.metric_unit, self.unit)

    @model_validator(mode="after")
    def _units_fit(self) -> Self:
        self.factor  # noqa: B018  # raises
        return self


class RatioGate(DecidedGate):
    """Fails when counted bad events are too large a share, in percent, of all events in the window."""

    kind: Literal["ratio"]
    source: Counting = Source.SERVICE
    numerator: Metrics = Field(description="cumulative counters; several are added up")
    denominator: Metrics
    gauge: str = Field("", description="read where the counters are not published: the rate in percent")
    threshold: RatioThreshold

    unit: ClassVar[str] = "%"


class QuantileGate(DecidedGate):
    """Fails when a quantile of a histogram over the window is above the limit."""

    kind: Literal["quantile"]
    source: Counting = Source.SERVICE
    histogram: Metric
    quantile: float = Field(0.95, gt=0, lt=1)
    scale: float = Field(1.0, gt=0, description="the histogram's values times this are in the limit's unit")
    unit: str = ""
    metric_unit: MetricUnit | None = MEASURED
    gauge: str = Field("", description="read where the histogram is not published: the quantile itself")
    threshold: QuantileThreshold

    @property
    def factor(self) -> float:
        """The histogram's values times this are in the limit's unit."""
        return factor_of(self.metric_unit, self.unit) if self.metric_unit else self.scale

    @model_validator(mode="after")
    def _units_fit(self) -> Self:
        if self.metric_unit and "scale" in self.model_fields_set:
            raise ValueError("metric_unit stands beside scale; give one of the two")
        self.factor  # noqa: B018  # raises
        return self


def _given(*names: str) -> JsonDict:
    return {"required": [*names], "properties": {name: {"not": {"type": "null"}} for name in names}}


def _not_given(*names: str) -> JsonDict:
    return {"properties": {name: {"type": "null"} for name in names}}


def _one_of(*asked: list[str]) -> JsonDict:
    """Say in a JSON Schema that exactly one of these groups of keys is given, and all of it."""
    choices: list[JsonValue] = [_given(*names) for names in asked]
    pairs = [names for names in asked if len(names) > 1]
    return {
        "oneOf": choices,
        "dependentRequired": {
            name: [one for one in names if one != name] for names in pairs for name in names
        },
    }


class RegressionGate(Gate):
    """Fails when the candidate is worse than stable was over the same time, by more than a factor.

    Compares one of: the share of bad events, a quantile of a histogram, an amount for each event, a level.
    """

    model_config = ConfigDict(
        json_schema_extra=_one_of(["numerator", "denominator"], ["histogram"], ["amount", "per"], ["gauge"])
    )

    kind: Literal["regression"]
    source: Counting = Source.SERVICE
    numerator: Metrics | None = None
    denominator: Metrics | None = None
    histogram: Metric | None = None
    quantile: float = Field(0.95, gt=0, lt=1)
    amount: Metric | None = Field(None, description="a counter of what is used up, such as CPU seconds")
    per: Metric | None = Field(None, description="the counter of the events that it is used up for")
    gauge: Metric | None = Field(None, description="a level, such as memory")
    by_route: bool = Field(False, description="each route of the edge's log by itself as well")
    decision: Literal[Decision.GUARDED] = Decision.GUARDED
    threshold: RegressionThreshold

    unit: ClassVar[str] = "×"

    def decision_for(self, action: Action) -> Decision:
        return Decision.GUARDED

    @model_validator(mode="after")
    def _one_question(self) -> Self:
        pairs = ((self.numerator, self.denominator), (self.amount, self.per))
        if any((one is None) != (other is None) for one, other in pairs):
            raise ValueError(
                "numerator goes with denominator, and amount with per: one of the two is missing"
            )
        asked = [pairs[0][0], self.histogram, pairs[1][0], self.gauge]
        if sum(one is not None for one in asked) != 1:
            words = "rates (numerator and denominator), a histogram, an amount (with per) or a gauge"
            raise ValueError(f"compares {words}, one of the four")
        return self


_ONE_TREND: JsonDict = {
    "oneOf": [
        {
            "allOf": [_given("metric", "limit_metric"), _not_given("histogram")],
            "properties": {"threshold": _not_given("max_value")},
        },
        {
            "allOf": [_given("histogram", "threshold"), _not_given("metric", "limit_metric")],
            "properties": {"threshold": _given("max_value")},
        },
    ]
}


class TrendGate(Gate):
    """Fails when a gauge, or a quantile of a histogram, grows so steadily that its limit will be reached.

    Alerts when that is within the horizon. Rolls back when there is only time to drain and return, and when
    the candidate leaks so and stable does not.
    """

    model_config = ConfigDict(json_schema_extra=_ONE_TREND)

    kind: Literal["trend"]
    source: Literal[Source.SERVICE, Source.SYSTEM, Source.EDGE] = Source.SYSTEM
    metric: Metric | None = None
    limit_metric: Metric | None = Field(None, description="the gauge of what the metric can grow to")
    histogram: Metric | None = Field(None, description="a quantile of it, which can grow to max_value")
    quantile: float = Field(0.5, gt=0, lt=1)
    unit: str = ""
    scale: float = Field(1.0, gt=0, description="the metric times this is in the unit")
    decision: Literal[Decision.GUARDED] = Decision.GUARDED
    threshold: TrendThreshold = TrendThreshold()

    def decision_for(self, action: Action) -> Decision:
        return Decision.GUARDED

    @property
    def what(self) -> str:
        """What is followed, in words."""
        return self.metric or f"the {self.quantile:.4g} quantile of {self.histogram}"

    @model_validator(mode="after")
    def _one_trend(self) -> Self:
        gauge, times = (self.metric, self.limit_metric), (self.histogram, self.threshold.max_value)
        given = [pair for pair in (gauge, times) if any(one is not None for one in pair)]
        if len(given) != 1 or None in given[0]:
            raise ValueError(
                "follows a metric to its limit_metric, or a histogram to max_value: one of the two"
            )
        return self


OwnGate = Annotated[
    ConsecutiveGate | GaugeGate | RatioGate | QuantileGate | RegressionGate | TrendGate,
    Field(discriminator="kind"),
]


# ---- gates: the guide's names


class HealthGate(ConsecutiveGate):
    kind: Literal["consecutive"] = "consecutive"


class ExtractionFailureRateGate(RatioGate):
    kind: Literal["ratio"] = "ratio"
    numerator: Metrics = ("images_failed_total",)
    denominator: Metrics = ("images_ok_total", "images_failed_total")
    gauge: str = "extraction_failure_rate"
    threshold: FailureThreshold


class HashTimeGate(QuantileGate):
    kind: Literal["quantile"] = "quantile"
    histogram: Metric = "hash_seconds"
    scale: float = Field(1000.0, gt=0)
    unit: str = "ms"
    gauge: str = "p95_hash_time_ms"
    threshold: TimeThreshold


class QueueGate(GaugeGate):
    kind: Literal["gauge"] = "gauge"
    metric: Metric = "low_confidence_queue_length"
    unit: str = "items"
    threshold: QueueThreshold


class MemoryGate(GaugeGate):
    kind: Literal["gauge"] = "gauge"
    metric: Metric = "memory_usage_percentage"
    unit: str = "%"
    threshold: MemoryThreshold


class ErrorRateGate(RatioGate):
    kind: Literal["ratio"] = "ratio"
    numerator: Metrics = ("server_errors_total",)
    denominator: Metrics = ("requests_total",)
    gauge: str = "error_rate"
    threshold: ErrorThreshold


class ClientErrorRateGate(RatioGate):
    """Beyond the guide: what clients saw, for a release whose own metrics lie."""

    kind: Literal["ratio"] = "ratio"
    source: Counting = Source.PROXY
    numerator: Metrics = ("responses_failed_total",)
    denominator: Metrics = ("responses_total",)
    threshold: ErrorThreshold
