"""Consecutive failed probes."""

import math
from dataclasses import replace

from guarded_rollout.config.kinds import ConsecutiveGate
from guarded_rollout.config.terms import Decision
from guarded_rollout.gates.judges.base import Judge
from guarded_rollout.gates.samples import Sample, Side
from guarded_rollout.gates.verdict import IN_A_ROW, GateOutcome, Verdict


class ConsecutiveJudge(Judge):
    """More than `limit` probes in a row were not OK."""

    def __init__(self, name: str, gate: ConsecutiveGate, began_at: float) -> None:
        super().__init__(name, gate, gate.source, began_at)
        self.side = Side(gate.side)
        self._path = gate.path
        self._limit = gate.threshold.limit
        self._newest = -math.inf
        self._failures = 0
        self._asked = 0
        self._problem = ""

    def _wants(self, sample: Sample) -> bool:
        return sample.side is self.side and sample.path == self._path

    def take(self, sample: Sample) -> bool:
        """A probe that fails is an answer too."""
        if sample.source is not self._source or not self._wants(sample) or sample.at <= self._newest:
            return False
        self._newest = self._heard_at = sample.at
        self._silence = ""
        self._asked += 1
        self._failures = 0 if sample.ok else self._failures + 1
        self._problem = sample.problem
        return True

    def _judge(self, now: float, decision: Decision) -> Verdict:
        said = Verdict(self.name, GateOutcome.PASS, "healthy", self._limit, IN_A_ROW, value=self._failures)
        said = replace(said, samples=self._asked, needed=1, full=True)
        if self._failures > self._limit:
            reason = f"{self._failures} checks in a row were not OK, more than {self._limit}: {self._problem}"
            return replace(said, outcome=GateOutcome.FAIL, reason=reason)
        if self._failures:
            return replace(said, reason=f"{self._failures} not OK in a row: {self._problem}", calm=False)
        return said
