"""The base of all judges."""

from collections.abc import Iterable
from dataclasses import replace

from guarded_rollout.clock import duration
from guarded_rollout.config.kinds import Gate
from guarded_rollout.config.terms import Action, Decision, Source
from guarded_rollout.gates.samples import Sample, Side
from guarded_rollout.gates.verdict import GateOutcome, Verdict


class Judge:
    """Takes the samples a gate wants, and knows since when they are missing."""

    def __init__(self, name: str, gate: Gate, source: Source, began_at: float) -> None:
        self.name = name
        self.gate = gate
        self.side = Side.CANDIDATE  # whose samples bring a verdict
        self._source = source
        self._heard_at = began_at
        self._silence = "nothing was heard yet"

    def take(self, sample: Sample) -> bool:
        """Learn from a sample; return False if the gate does not use it (another source or side)."""
        if sample.source is not self._source or not self._wants(sample):
            return False
        missing = sample.problem or self._learn(sample)
        if sample.side is Side.CANDIDATE:
            self._silence = missing or ""
            if not missing:
                self._heard_at = max(self._heard_at, sample.at)
        return True

    def verdict(self, now: float, decision: Decision | None = None) -> Verdict:
        """Return the verdict now, by this decision rule (the gate's own for a rollback, if none is named)."""
        return self._with_silence(self._judge(now, decision or Decision.GUARDED), now)

    def by_action(self, now: float) -> dict[Action, Verdict]:
        """Return the verdict that decides whether each action follows."""
        rules = {action: self.gate.decision_for(action) for action in Action}
        by_rule = {rule: self.verdict(now, rule) for rule in {*rules.values()}}
        return {action: by_rule[rule] for action, rule in rules.items()}

    def _with_silence(self, said: Verdict, now: float) -> Verdict:
        if not self._silence:
            return said
        silent = max(0.0, now - self._heard_at)
        reason = f"no data for {duration(silent)}: {self._silence}"
        return replace(said, outcome=GateOutcome.NO_DATA, reason=reason, value=None, silent_seconds=silent)

    def _wants(self, sample: Sample) -> bool:
        return sample.side is Side.CANDIDATE

    def _learn(self, sample: Sample) -> str:
        """Learn what this gate needs; return what is missing."""
        raise NotImplementedError

    def _judge(self, now: float, decision: Decision) -> Verdict:
        raise NotImplementedError


def summed(
    sample: Sample, numerator: Iterable[str], denominator: Iterable[str]
) -> tuple[float, float] | None:
    """Return (bad, total) of a sample; None if a counter is not published."""
    try:
        bad = sum(sample.counters[name] for name in numerator)
        return bad, sum(sample.counters[name] for name in denominator)
    except KeyError:
        return None


def percent(part: float, whole: float) -> float:
    """Return `part` of `whole` in percent; nothing of nothing is 0."""
    return 100 * part / whole if whole > 0 else 0.0
