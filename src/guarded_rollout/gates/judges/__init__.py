"""A judge for each kind of gate: it takes samples as they come and gives a verdict at any time.

A judge's memory and the cost of a verdict are bounded, however long its evaluation window is.
"""

from collections.abc import Iterable

from guarded_rollout.config.kinds import (
    ConsecutiveGate,
    Gate,
    GaugeGate,
    QuantileGate,
    RatioGate,
    RegressionGate,
)
from guarded_rollout.gates.judges.base import Judge
from guarded_rollout.gates.judges.gauge import GaugeJudge
from guarded_rollout.gates.judges.health import ConsecutiveJudge
from guarded_rollout.gates.judges.regression import RegressionJudge
from guarded_rollout.gates.judges.windowed import QuantileJudge, RatioJudge
from guarded_rollout.gates.samples import Sample
from guarded_rollout.gates.verdict import Verdict

__all__ = ["Judge", "judge", "judge_of"]


def judge_of(name: str, gate: Gate, began_at: float = 0.0) -> Judge:
    """The judge for a gate, which begins to listen at `began_at`."""
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
            return RegressionJudge(name, gate, began_at)
    raise TypeError(f"no judge for {type(gate).__name__}")


def judge(name: str, gate: Gate, samples: Iterable[Sample], now: float, began_at: float = 0.0) -> Verdict:
    """Return the verdict of a gate on these samples."""
    one = judge_of(name, gate, began_at)
    for sample in samples:
        one.take(sample)
    return one.verdict(now)
