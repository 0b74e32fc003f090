"""The newest value of a gauge."""

import math

from guarded_rollout.config.kinds import GaugeGate
from guarded_rollout.config.terms import Action, Decision
from guarded_rollout.gates.judges.base import Judge
from guarded_rollout.gates.samples import Sample
from guarded_rollout.gates.verdict import GateOutcome, Verdict


class GaugeJudge(Judge):
    """The newest value of a gauge is above the limit."""

    def __init__(self, name: str, gate: GaugeGate, began_at: float) -> None:
        super().__init__(name, gate, gate.source, began_at)
        self._metric, self._unit = gate.metric, gate.unit
        self._limit, self._factor = gate.threshold.limit, gate.factor
        self._alert_limit = gate.threshold.alert_limit
        self._newest = -math.inf
        self._value: float | None = None
        self._readings = 0
        self._example = ""

    def _learn(self, sample: Sample) -> str:
        value = sample.gauges.get(self._metric)
        if value is None:
            return f"the gauge {self._metric} is not published"
        if sample.at > self._newest:
            self._newest, self._value = sample.at, value * self._factor
            self._readings, self._example = self._readings + 1, sample.example
        return ""

    def by_action(self, now: float) -> dict[Action, Verdict]:
        limits = {Action.ALERT: self._alert_limit, Action.AUTO_ROLLBACK: self._limit}
        return {action: self._with_silence(self._beside(limit), now) for action, limit in limits.items()}

    def _judge(self, now: float, decision: Decision) -> Verdict:
        return self._beside(self._limit)

    def _beside(self, limit: float) -> Verdict:
        value, unit = self._value, self._unit
        if value is None:
            return Verdict(self.name, GateOutcome.INSUFFICIENT, "not read yet", limit, unit, needed=1)
        over = value > limit
        reason = f"{value:g} is {'more than' if over else 'within'} {limit:g} {unit}".rstrip()
        outcome = GateOutcome.FAIL if over else GateOutcome.PASS
        if over and self._example:
            reason += f"; such as {self._example}"
        return Verdict(
            self.name, outcome, reason, limit, unit, value, samples=self._readings, needed=1, full=True
        )
