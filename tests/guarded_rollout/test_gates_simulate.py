"""How rarely a healthy release is rolled back, how soon a bad one; bench/gates.py has full sizes."""

import math

import pytest

from guarded_rollout.gates.detector import RateDetector
from guarded_rollout.gates.simulate import RuleResult, Scenario, draw, simulate


def early(scenario: Scenario) -> RuleResult:
    return next(result for result in simulate(scenario) if result.rule == "early alone")


def by_rule(scenario: Scenario) -> dict[str, RuleResult]:
    return {result.rule: result for result in simulate(scenario)}


@pytest.mark.parametrize("rps", [0.2, 1, 20])
@pytest.mark.parametrize("share_of_limit", [0.4, 0.6])
def test_healthy_releases_stay(rps: float, share_of_limit: float) -> None:
    result = early(Scenario(0.05 * share_of_limit, 0.05, rps, windows=500))
    assert result.false_share <= 0.002


def test_the_literal_rule_rolls_many_healthy_ones_back() -> None:
    results = by_rule(Scenario(0.03, 0.05, 1, windows=500))
    assert results["literal"].false_share > 0.25
    assert results["guarded"].false_share < results["literal"].false_share / 3


def test_confidence_keeps_a_full_window_from_crying_wolf() -> None:
    plain = by_rule(Scenario(0.02, 0.05, 0.2, windows=300))["guarded"]
    asked = by_rule(Scenario(0.02, 0.05, 0.2, windows=300, full_window_confidence=0.99))["guarded"]
    assert asked.false_share < plain.false_share / 5


@pytest.mark.parametrize("minute", [0, 40])
@pytest.mark.parametrize(("rps", "later"), [(20, 0.3), (1, 1.0)])
def test_disasters_are_decided_within_ten_seconds(minute: int, rps: float, later: float) -> None:
    result = early(Scenario(0.02, 0.05, rps, 200, later_rate=later, change_at=minute * 60))
    assert result.median_delay <= 10
    assert result.decided == 200


def test_a_late_rise_to_twice_the_limit_is_decided_within_half_a_minute() -> None:
    assert early(Scenario(0.02, 0.05, 20, 200, later_rate=0.1, change_at=2400)).median_delay <= 30


def test_the_simulation_decides_as_the_detector_does() -> None:
    scenario = Scenario(0.02, 0.05, 1, windows=20, later_rate=0.3, change_at=600)
    bad, total, first_bad = draw(scenario)
    delays = []
    for column in range(scenario.windows):
        detector = RateDetector(scenario.limit)
        for step in range(len(bad)):
            detector.take(bad[step, column], total[step, column])
            if detector.evidence.conclusive:
                delays.append((step + 1) * scenario.counter_interval - first_bad[column])
                break
    assert early(scenario).delays == pytest.approx(delays)


def test_the_same_seed_draws_the_same_windows() -> None:
    scenario = Scenario(0.05, 0.05, 1, windows=10, seed=4)
    assert simulate(scenario) == simulate(scenario)


def test_what_never_fails_is_never_decided() -> None:
    for result in simulate(Scenario(0.0, 0.05, 20, windows=10)):
        assert (result.decided, result.median_delay) == (0, math.inf)
