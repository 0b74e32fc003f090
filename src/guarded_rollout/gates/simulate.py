"""Simulates how often the rules roll back a healthy release, and how fast a bad one, over many windows.

Requests arrive at random (Poisson) and fail with a given chance. All windows are drawn at once, one NumPy
column each.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from guarded_rollout.config.gates import PollIntervals
from guarded_rollout.gates.detector import THRESHOLD, weights
from guarded_rollout.gates.statistics import binomial_tail

Numbers = NDArray[np.float64]
RULES = ("literal", "guarded", "early alone")


@dataclass(frozen=True, slots=True)
class Scenario:
    """The simulated service and window. Rates are shares (0 to 1), times are seconds."""

    rate: float  # true failure rate
    limit: float
    rps: float
    windows: int = 1000
    later_rate: float | None = None  # the true rate from `change_at` on
    change_at: float = 0.0
    window: float = 3600.0  # how long is watched
    evaluation: float = 600.0
    min_samples: int = 20
    counter_interval: float = 5.0
    intervals: PollIntervals = field(default_factory=PollIntervals)
    full_window_confidence: float | None = None
    seed: int = 1


@dataclass(frozen=True, slots=True)
class RuleResult:
    """The decisions of one rule. `delays` are seconds from the first bad failure to the decision."""

    rule: str
    windows: int
    decided: int  # windows that were decided against, at any time
    too_early: int  # of these, before the rate changed: false
    delays: tuple[float, ...]

    @property
    def decided_share(self) -> float:
        return self.decided / self.windows

    @property
    def false_share(self) -> float:
        return self.too_early / self.windows

    @property
    def median_delay(self) -> float:
        """The delay within which half of the windows were decided; infinite if fewer ever were."""
        ordered = sorted(self.delays) + [math.inf] * (self.windows - self.too_early - len(self.delays))
        return ordered[len(ordered) // 2] if ordered else math.inf


def simulate(scenario: Scenario) -> tuple[RuleResult, ...]:
    """Return the results of the literal rule, the guarded one, and of the latter's early decisions alone."""
    bad, total, first_bad = draw(scenario)
    times = np.arange(1, len(bad) + 1, dtype=np.float64) * scenario.counter_interval
    literal, full = _by_words(scenario, bad, total, times)
    early = _by_evidence(scenario, bad, total, times)
    decisions = (literal, np.minimum(early, full), early)
    return tuple(
        result_of(scenario, rule, decided, first_bad) for rule, decided in zip(RULES, decisions, strict=True)
    )


def draw(scenario: Scenario) -> tuple[Numbers, Numbers, Numbers]:
    """Draw failures and requests by reading and window, and the time of each window's first bad failure.

    The same scenario draws the same windows, so that rules can be compared.
    """
    random = np.random.default_rng(scenario.seed)
    step = scenario.counter_interval
    shape = (round(scenario.window / step), scenario.windows)
    # The change falls anywhere between two readings, as it does in life.
    phase = random.uniform(0, step, scenario.windows)
    change = scenario.change_at + phase if scenario.later_rate is not None else np.full(shape[1], np.inf)
    begin = np.arange(shape[0])[:, None] * step
    after = np.clip((begin + step - change) / step, 0, 1)  # the share of each interval after the change
    old = random.poisson(scenario.rps * step * (1 - after))
    new = random.poisson(scenario.rps * step * after)
    later = scenario.rate if scenario.later_rate is None else scenario.later_rate
    new_bad = random.binomial(new, later)
    bad = random.binomial(old, scenario.rate) + new_bad
    failing = new_bad > 0
    seen = np.where(failing.any(axis=0), failing.argmax(axis=0), shape[0])
    # The first of k failures, uniform in the part of the interval after the change.
    place = np.minimum(seen, shape[0] - 1)
    columns = np.arange(shape[1])
    share, count = after[place, columns], np.maximum(new_bad[place, columns], 1)
    first = (place + 1) * step - share * step * random.beta(count, 1)
    return bad.astype(float), (old + new).astype(float), np.where(seen < shape[0], first, np.inf)


def _by_words(scenario: Scenario, bad: Numbers, total: Numbers, times: Numbers) -> tuple[Numbers, Numbers]:
    """Return when the literal rule decides, and when the full window does; infinite where never."""
    back = round(scenario.evaluation / scenario.counter_interval)
    sums = [np.vstack([np.zeros(counts.shape[1]), counts.cumsum(axis=0)]) for counts in (bad, total)]
    literal = np.full(bad.shape[1], np.inf)
    full = literal.copy()
    for poll in polls(scenario):
        end = min(round(poll / scenario.counter_interval), len(bad))
        failed, asked = (cumulative[end] - cumulative[max(0, end - back)] for cumulative in sums)
        over = (asked >= scenario.min_samples) & (failed > scenario.limit * asked)
        literal = np.where(over & np.isinf(literal), times[end - 1], literal)
        if end >= back:
            sure = over & _sure(scenario, failed, asked)
            full = np.where(sure & np.isinf(full), times[end - 1], full)
    return literal, full


def _sure(scenario: Scenario, failed: Numbers, asked: Numbers) -> NDArray[np.bool_]:
    if scenario.full_window_confidence is None:
        return np.ones(len(failed), dtype=bool)
    allowed = 1 - scenario.full_window_confidence
    pairs = zip(failed.tolist(), asked.tolist(), strict=True)
    return np.array([binomial_tail(k, n, scenario.limit) <= allowed for k, n in pairs])


def _by_evidence(scenario: Scenario, bad: Numbers, total: Numbers, times: Numbers) -> Numbers:
    """Return when the change detector decides; infinite where never."""
    decided = np.full(bad.shape[1], np.inf)
    good = total - bad
    for for_bad, for_good in weights(scenario.limit):
        gains = bad * for_bad + good * for_good
        level = np.zeros(bad.shape[1])
        for at, gain in zip(times, gains, strict=True):
            level = np.maximum(level + gain, 0)
            decided = np.where((level >= THRESHOLD) & (at < decided), at, decided)
    return decided


def polls(scenario: Scenario) -> Iterator[float]:
    """Yield the poll times of a window, in seconds."""
    at = 0.0
    while (at := at + scenario.intervals.at(at)) <= scenario.window:
        yield at


def result_of(scenario: Scenario, rule: str, decided: Numbers, first_bad: Numbers) -> RuleResult:
    """Sum up a rule that decided each window at these seconds (infinite where never)."""
    early = np.isfinite(decided) & (decided < first_bad)
    late = np.isfinite(decided) & ~early
    delays = decided[late] - first_bad[late]
    return RuleResult(
        rule, scenario.windows, int(np.isfinite(decided).sum()), int(early.sum()), tuple(delays.tolist())
    )
