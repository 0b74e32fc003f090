"""Judges, one for each kind of gate: they take samples as they come and give a verdict at any time.

The memory and the cost of a verdict are bounded, however long the evaluation window is.
"""

from collections.abc import Mapping

from guarded_rollout.config.kinds import (
    ConsecutiveGate,
    Gate,
    GaugeGate,
    QuantileGate,
    RatioGate,
    RegressionGate,
    TrendGate,
)
from guarded_rollout.config.terms import Action
from guarded_rollout.gates.judges.base import Judge
from guarded_rollout.gates.judges.gauge import GaugeJudge
from guarded_rollout.gates.judges.health import ConsecutiveJudge
from guarded_rollout.gates.judges.regression import RegressionJudge
from guarded_rollout.gates.judges.trend import TrendJudge
from guarded_rollout.gates.judges.windowed import QuantileJudge, RatioJudge

__all__ = ["ALPHAS", "Judge", "judge_of"]

ALPHAS = {Action.ALERT: 1e-4, Action.AUTO_ROLLBACK: 1e-4}
"""A gate's chance of a false alarm in a whole window, where nobody splits one over several gates."""


def judge_of(name: str, gate: Gate, began_at: float = 0.0, alphas: Mapping[Action, float] = ALPHAS) -> Judge:
    """Make the judge of a gate, which begins to listen at `began_at`.

    `alphas` is how often, in a whole window, a sequential comparison may be wrong by action.
    """
    match gate:
        case ConsecutiveGate():
            return ConsecutiveJudge(name, gate, began_at)
        case GaugeGate():
            return GaugeJudge(name, gate, began_at)
        case RatioGate():
            return RatioJudge(name, gate, began_at)
        case QuantileGate():
            return QuantileJudge(name, gate, began_at)
        case RegressionGate():
            return RegressionJudge(name, gate, began_at, alphas)
        case TrendGate():
            return TrendJudge(name, gate, began_at)
    raise TypeError(f"no judge for {type(gate).__name__}")
