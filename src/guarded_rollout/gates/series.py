"""Each gate's value over time, for the candidate and for stable, from a session's samples.

Stable's samples go to judges of their own, as if it were the candidate, so that both lines mean the same.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from guarded_rollout.config.kinds import ConsecutiveGate, Gate, RegressionGate
from guarded_rollout.gates.judges import Judge, judge_of
from guarded_rollout.gates.samples import Sample, Side
from guarded_rollout.gates.verdict import Verdict


class Point(NamedTuple):
    """A gate's measurement: `at` in the samples' time, the value in the verdict's unit."""

    side: Side
    at: float
    verdict: Verdict


class GateSeries:
    """Takes samples in the order of the session and gives a point for each gate that learns from it."""

    def __init__(self, gates: Iterable[tuple[str, Gate]], began_at: float) -> None:
        self._candidate: list[Judge] = []
        self._stable: list[Judge] = []
        for name, gate in gates:
            self._candidate.append(judge_of(name, gate, began_at))
            if not isinstance(gate, RegressionGate | ConsecutiveGate):  # these have one line by their nature
                self._stable.append(judge_of(name, gate, began_at))

    def take(self, sample: Sample) -> list[Point]:
        """Return the points that follow from this sample."""
        points = [
            Point(judge.side, sample.at, judge.verdict(sample.at))
            for judge in self._candidate
            if judge.take(sample) and sample.side is judge.side
        ]
        if sample.side is Side.STABLE:
            as_judged = replace(sample, side=Side.CANDIDATE)
            points += [
                Point(Side.STABLE, sample.at, judge.verdict(sample.at))
                for judge in self._stable
                if judge.take(as_judged)
            ]
        return points
