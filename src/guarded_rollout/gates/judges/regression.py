"""Candidate against stable, over the same time."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import add, itemgetter

from guarded_rollout.clock import duration
from guarded_rollout.config.kinds import RegressionGate
from guarded_rollout.config.terms import Action, Decision
from guarded_rollout.gates.detector import NONE, Evidence
from guarded_rollout.gates.judges.base import Judge, summed
from guarded_rollout.gates.judges.comparisons import (
    AmountComparison,
    Compared,
    Comparison,
    LevelComparison,
    RatesBefore,
    RatesComparison,
    TimesBefore,
    TimesComparison,
    Values,
)
from guarded_rollout.gates.samples import SIDES, Sample, Side
from guarded_rollout.gates.verdict import GateOutcome, Verdict
from guarded_rollout.gates.window import CounterWindow, Difference

SUPPORT = 0.1  # of conclusive evidence; the other comparison has to say so much as well
_ROUTE = re.compile(r'.*(\{route="[^"]*"\})')


@dataclass(slots=True)
class _Tests:
    """The tests of one action: beside stable now, and beside what it was before the rollout."""

    now: Comparison
    before: Comparison | None = None

    def take(self, mine: Values, stable: Values, seconds: float, at: float) -> None:
        if stable[-1]:
            self.now.take(mine, stable, seconds, at)
        if self.before is not None:
            self.before.take(mine, stable, seconds, at)

    def evidence(self, alone: bool, lesser: Evidence) -> Evidence:
        """Return what one of them found conclusive and the other one does not speak against.

        What slows the whole machine slows stable too; and a stable that has little traffic now is faster than
        it was with all of it. `alone` says that stable has no traffic now. `lesser` is what speaks beside
        stable now for the least ratio that matters: where stable has a twentieth of the traffic that is
        conclusive long before this ratio is, and the values themselves are held against this one.
        """
        if self.before is None:
            return self.now.evidence
        if alone:
            return self.before.evidence
        one, other = self.now.evidence, self.before.evidence
        strong, weak = (one, other) if one.strength >= other.strength else (other, one)
        supported = weak.strength >= SUPPORT or (weak is one and lesser.conclusive)
        return strong if supported or not strong.conclusive else NONE


class _Question:
    """One comparison, of all requests or of a route's, at the ratio of each action."""

    def __init__(self, gate: RegressionGate, label: str, alphas: Mapping[Action, float]) -> None:
        self.label = label
        self._gate, self._alphas = gate, alphas
        self._windows = {side: CounterWindow(gate.threshold.window_seconds) for side in SIDES}
        self._tests: dict[Action, _Tests] = {}
        self._edges: tuple[float, ...] | None = None
        self._before: Values | None = None
        self._waiting: dict[Side, Values] = {}
        self._levels: dict[Side, Values] = {}
        self._paired_at = -math.inf

    def learn(self, sample: Sample, began_at: float) -> bool:
        """Take a sample; False if what is compared is not in it."""
        counts = self._counts(sample)
        if counts is None:
            return False
        if sample.side is Side.BEFORE:
            self._before = counts
            self._begin()
            return True
        increment = self._windows[sample.side].take(sample.at, counts, sample.started_at)
        if increment is None:  # what the other side has counted until now has no pair
            self._paired_at = max(self._paired_at, sample.at)
            self._waiting.clear()
            return True
        before = self._waiting.get(sample.side)
        self._waiting[sample.side] = tuple(map(add, before, increment)) if before else increment
        if len(self._waiting) == len(SIDES):  # only what was counted over the same time is compared
            seconds = sample.at - self._paired_at
            mine, stable = self._waiting[Side.CANDIDATE], self._waiting[Side.STABLE]
            if seconds > 0:
                for test in self._tests.values():
                    test.take(mine, stable, seconds, sample.at - began_at)
            self._waiting.clear()
            self._paired_at = max(self._paired_at, sample.at)
        return True

    def _counts(self, sample: Sample) -> Values | None:
        gate = self._gate
        if gate.histogram is not None:
            histogram = sample.histograms.get(gate.histogram + self.label)
            if histogram is None:
                return None
            self._fit(histogram.edges)
            return histogram.counts
        self._fit(())
        if gate.gauge is not None:
            level = sample.gauges.get(gate.gauge)
            if level is None:
                return None
            total, readings = self._levels.get(sample.side, (0.0, 0.0))
            self._levels[sample.side] = total + level, readings + 1
            return self._levels[sample.side]
        bad = gate.numerator or (gate.amount or "",)
        all_ = gate.denominator or (gate.per or "",)
        return summed(sample, [one + self.label for one in bad], [one + self.label for one in all_])

    def _fit(self, edges: tuple[float, ...]) -> None:
        """Begin again where a release has other buckets: these cannot be compared."""
        if edges != self._edges:
            self._edges, self._before = edges, None
            self._begin()

    def _begin(self) -> None:
        self._windows = {side: CounterWindow(self._gate.threshold.window_seconds) for side in SIDES}
        self._waiting.clear()
        limits = {Action.AUTO_ROLLBACK: self._gate.threshold.limit}
        if self._gate.threshold.alert_ratio is not None:
            limits[Action.ALERT] = min(self._gate.threshold.alert_ratio, self._gate.threshold.limit)
        self._tests = {
            action: _Tests(self._now(ratio, self._alphas[action]), self._then(ratio, self._alphas[action]))
            for action, ratio in limits.items()
        }

    def _now(self, ratio: float, alpha: float) -> Comparison:
        gate, least = self._gate, self._gate.threshold.min_value
        if gate.histogram is not None:
            return TimesComparison(ratio, alpha, gate.quantile, self._edges or (), least)
        if gate.gauge is not None:
            return LevelComparison(ratio, alpha, least)
        return RatesComparison(ratio, alpha) if gate.numerator else AmountComparison(ratio, alpha)

    def _then(self, ratio: float, alpha: float) -> Comparison | None:
        gate = self._gate
        if self._before is None or self._before[-1] < gate.threshold.min_samples:
            return None
        if gate.histogram is not None:
            least, edges = gate.threshold.min_value, self._edges or ()
            return TimesBefore(ratio, alpha, gate.quantile, edges, least, self._before)
        return RatesBefore(ratio, alpha, self._before) if gate.numerator else None

    def _of(self, action: Action) -> _Tests | None:
        return self._tests.get(action) or self._tests.get(Action.AUTO_ROLLBACK)

    def evidence(self, action: Action, now: float) -> Evidence:
        test = self._of(action)
        if test is None:
            return NONE
        least = self._tests.get(Action.ALERT, test)
        return test.evidence(self._alone(now), least.now.evidence)

    def _alone(self, now: float) -> bool:
        """True while stable has no traffic: what there is to compare with is what it was before."""
        return self._windows[Side.STABLE].last_counted(now) <= 0

    def seen(
        self, now: float, since: float = -math.inf
    ) -> tuple[Compared | None, tuple[float, Side], Difference]:
        """Return both values over the window, the fewer samples and whose they are, and the window.

        Or all of that over the window's part from `since` on.
        """
        mine, stable = (self._windows[side].difference(now, since) for side in SIDES)
        test = self._of(Action.AUTO_ROLLBACK)
        if test is not None and test.before is not None and self._alone(now):
            fewest, full = (mine.samples, Side.CANDIDATE), mine.full
            compared = test.before.compared(mine.values, ()) if fewest[0] > 0 else None
        else:
            fewest = min((mine.samples, Side.CANDIDATE), (stable.samples, Side.STABLE), key=itemgetter(0))
            full = mine.full and stable.full
            compared = test.now.compared(mine.values, stable.values) if test and fewest[0] > 0 else None
        return compared, fewest, Difference(mine.values, mine.seconds, full)


class RegressionJudge(Judge):
    """The candidate is worse than stable, over the same time, by more than a factor."""

    def __init__(
        self, name: str, gate: RegressionGate, began_at: float, alphas: Mapping[Action, float]
    ) -> None:
        super().__init__(name, gate, gate.source, began_at)
        self._gate, self._began_at, self._alphas = gate, began_at, alphas
        self._questions: dict[str, _Question] = {}

    def _wants(self, sample: Sample) -> bool:
        return True

    def _learn(self, sample: Sample) -> str:
        found = [self._question(label).learn(sample, self._began_at) for label in self._labels(sample)]
        return "" if found[0] else f"{self._asked} is not published"

    @property
    def _asked(self) -> str:
        gate = self._gate
        return gate.histogram or gate.gauge or gate.amount or " ".join(gate.numerator or ())

    def _labels(self, sample: Sample) -> Iterator[str]:
        """All requests first, then each route's."""
        yield ""
        if self._gate.by_route:
            names = sample.histograms if self._gate.histogram else sample.counters
            first = self._gate.histogram or (self._gate.numerator or ("",))[0]
            for name in names:
                if name.startswith(first) and (found := _ROUTE.fullmatch(name)):
                    yield found[1]

    def _question(self, label: str) -> _Question:
        """The chance of a false alarm is split over the questions: 1/2, 1/6, 1/12 …, which add up to one."""
        if label not in self._questions:
            nth = len(self._questions) + 1
            share = 1 / (nth * (nth + 1)) if self._gate.by_route else 1.0
            alphas = {action: alpha * share for action, alpha in self._alphas.items()}
            self._questions[label] = _Question(self._gate, label, alphas)
        return self._questions[label]

    def by_action(self, now: float) -> dict[Action, Verdict]:
        return {action: self._with_silence(self._judged(now, action), now) for action in Action}

    def _judge(self, now: float, decision: Decision) -> Verdict:
        return self._judged(now, Action.AUTO_ROLLBACK)

    def _judged(self, now: float, action: Action) -> Verdict:
        """The verdict of the question that has the strongest evidence."""
        verdicts = [
            (evidence.conclusive, evidence.strength, question)
            for question in self._questions.values()
            for evidence in (question.evidence(action, now),)
        ]
        if not verdicts:
            return self._verdict(GateOutcome.INSUFFICIENT, "nothing was compared yet", action)
        failing = [found for found in verdicts if found[0]]
        for _, _, question in sorted(failing, key=lambda found: -found[1]):
            verdict = self._of(question, now, action)
            if verdict.failed:
                return verdict
        return self._of(verdicts[0][2], now, action)

    def _of(self, question: _Question, now: float, action: Action) -> Verdict:
        needed, limit = self._gate.threshold.min_samples, self._limit(action)
        evidence = question.evidence(action, now)
        compared, (fewest, side), window = question.seen(now)
        if evidence.conclusive and compared is not None and not self._worse(compared, limit):
            # Worse since less than the window: the good times before it are no credit.
            of_late = question.seen(now, self._began_at + evidence.since)
            if of_late[1][0] >= needed:
                compared, (fewest, side), window = of_late
        if compared is None:
            reason = self._too_few(fewest, side)
            return self._verdict(GateOutcome.INSUFFICIENT, reason, action, samples=fewest)
        where = f" of {question.label[8:-2]}" if question.label else ""
        what = f"{self._what}{where} {compared.words} over {duration(window.seconds)}".strip()
        early = self._gate.histogram is None or fewest >= needed
        if early and evidence.conclusive and self._worse(compared, limit):
            outcome = GateOutcome.FAIL
            reason = f"{what}: conclusive that it is more than {limit:g} times as much"
        elif fewest < needed:
            outcome = GateOutcome.INSUFFICIENT
            reason = self._too_few(fewest, side)
        else:
            outcome, reason = GateOutcome.PASS, f"{what}: not conclusively more than {limit:g} times as much"
        return self._verdict(outcome, reason, action, compared.ratio, fewest, full=window.full)

    def _worse(self, compared: Compared, limit: float) -> bool:
        """Return True if the values themselves are beyond the limit, and enough to matter."""
        beyond = compared.ratio is None or compared.ratio > limit or self._gate.amount is not None
        return beyond and compared.mine >= self._gate.threshold.min_value

    def _too_few(self, fewest: float, side: Side) -> str:
        threshold = self._gate.threshold
        who = "the candidate" if side is Side.CANDIDATE else "stable"
        if not fewest:
            over = duration(threshold.window_seconds)
            return f"{who} had no traffic over {over}: there is nothing to compare"
        return f"{who} has {fewest:g} of the {threshold.min_samples} samples that it takes to compare"

    @property
    def _what(self) -> str:
        gate = self._gate
        if gate.histogram:
            return f"the {gate.quantile:.4g} quantile"
        return f"{gate.amount} for each of {gate.per}" if gate.amount else gate.gauge or ""

    def _limit(self, action: Action) -> float:
        threshold = self._gate.threshold
        alert = threshold.alert_ratio if action is Action.ALERT else None
        return min(alert or threshold.limit, threshold.limit)

    def _verdict(
        self,
        outcome: GateOutcome,
        reason: str,
        action: Action,
        value: float | None = None,
        samples: float = 0,
        *,
        full: bool = False,
    ) -> Verdict:
        return Verdict(
            self.name,
            outcome,
            reason,
            self._limit(action),
            "×",
            value,
            samples=samples,
            needed=self._gate.threshold.min_samples,
            full=full,
            conclusive=outcome is GateOutcome.FAIL,
        )
