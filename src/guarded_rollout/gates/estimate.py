"""Estimates what the gates will be worth at the traffic that there is: how often wrong, how soon right."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from guarded_rollout.clock import duration
from guarded_rollout.config.gates import EnvironmentGates
from guarded_rollout.config.kinds import RatioGate
from guarded_rollout.config.terms import Action
from guarded_rollout.gates.samples import Sample

WINDOWS = 200  # so that a chance of one in a hundred shows
BAD = 3.0  # times the limit: what a bad release is taken to fail
WORTH_SAYING = 0.005
SURE = 0.99
LONGEST = 4 * 3600.0


@dataclass(frozen=True, slots=True)
class UsualTraffic:
    """Requests a second, and the share (0 to 1) of them that fail, of a release that is well."""

    rps: float
    failing: float

    @staticmethod
    def of(before: Sample, until: float) -> "UsualTraffic | None":
        """Read it off what the edge's log says of the time before; None if nothing was asked then."""
        requests = before.counters.get("requests_total", 0.0)
        if requests <= 0 or before.started_at is None or until <= before.started_at:
            return None
        seconds = until - before.started_at
        return UsualTraffic(requests / seconds, before.counters.get("failed_total", 0.0) / requests)


@dataclass(frozen=True, slots=True)
class Estimate:
    """How a gate would do: the share of healthy windows, and the median seconds until a bad one is seen."""

    gate: str
    false_share: float
    bad: float
    seconds: float
    advice: str = ""

    @property
    def words(self) -> str:
        seen = "hardly in one window" if math.isinf(self.seconds) else f"in {duration(self.seconds)}"
        wrong = f"{self.false_share:.1%}" if self.false_share else f"fewer than 1 of {WINDOWS}"
        said = f"{self.gate}: would take back {wrong} of healthy releases"
        said += f", and see one that fails {self.bad:.0%} {seen}"
        return f"{said}; {self.advice}" if self.advice else said


def estimates(environment: EnvironmentGates, traffic: UsualTraffic) -> Iterator[Estimate]:
    """Simulate each gate on a share of failures that may roll back. Takes some tenths of a second."""
    from guarded_rollout.gates.simulate import Scenario, simulate  # NumPy is slow to import

    seconds = min(LONGEST, environment.monitoring.window_minutes * 60)
    for name, gate in environment.quality_gates.enabled():
        if not isinstance(gate, RatioGate) or Action.AUTO_ROLLBACK not in gate.actions:
            continue
        limit = gate.threshold.limit / 100
        bad = min(1.0, BAD * limit)
        scenario = Scenario(
            min(traffic.failing, limit),
            limit,
            max(0.001, traffic.rps),
            WINDOWS,
            window=max(seconds, gate.threshold.window_seconds),
            evaluation=gate.threshold.window_seconds,
            min_samples=gate.threshold.min_samples,
            counter_interval=max(5.0, environment.monitoring.counter_interval_seconds),
            intervals=environment.monitoring.poll_intervals,
            full_window_confidence=gate.full_window_confidence,
        )
        rule = gate.decision_for(Action.AUTO_ROLLBACK).value
        healthy = next(one for one in simulate(scenario) if one.rule == rule)
        worse = next(one for one in simulate(replace(scenario, later_rate=bad)) if one.rule == rule)
        advice = ""
        if healthy.false_share > WORTH_SAYING and gate.full_window_confidence is None:
            advice = f"full_window_confidence {SURE:g}, or a longer window, would keep it from that"
        yield Estimate(name, healthy.false_share, bad, worse.median_delay, advice)
