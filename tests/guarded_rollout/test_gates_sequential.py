"""Sequential tests hold whenever they are looked at, and see what comes late as well."""

import math

import numpy as np
import pytest

from guarded_rollout.gates.detector import Evidence
from guarded_rollout.gates.sequential import LimitDetector, RatioDetector, ShareDetector, SignDetector
from guarded_rollout.gates.statistics import rate_at_most

ALPHA = 0.05  # large, so that too many wrong decisions would show in a few hundred windows
WINDOWS, READINGS = 120, 120


def wrong(seed: int, share: float, *, swinging: bool) -> int:
    """How many windows of two equal releases are decided against, looked at after each reading."""
    random = np.random.default_rng(seed)
    decided = 0
    for _ in range(WINDOWS):
        detector = ShareDetector(ALPHA)
        for step in range(READINGS):
            chance = 0.3 + 0.25 * math.sin(step / 9) if swinging else 0.3
            n = round(40 * share)
            mine, stable = random.binomial(n, chance), random.binomial(40 - n, chance)
            detector.take((mine, n), (stable, 40 - n), 0.3, step * 5)
            if detector.evidence.conclusive:
                decided += 1
                break
    return decided


@pytest.mark.parametrize("share", [0.5, 0.95])
@pytest.mark.parametrize("swinging", [False, True])
def test_equal_releases_are_told_apart_more_rarely_than_alpha(share: float, swinging: bool) -> None:
    assert wrong(1, share, swinging=swinging) <= ALPHA * WINDOWS


def test_a_rate_that_is_at_the_ratio_is_decided_against_more_rarely_than_alpha() -> None:
    random = np.random.default_rng(2)
    decided = 0
    for _ in range(WINDOWS):
        detector = RatioDetector(2, ALPHA)
        for step in range(READINGS):
            detector.take((random.binomial(20, 0.1), 20), (random.binomial(20, 0.05), 20), step * 5)
            if detector.evidence.conclusive:
                decided += 1
                break
    assert decided <= ALPHA * WINDOWS


def after(good: int, bad_readings: int) -> Evidence:
    detector = RatioDetector(2)
    for step in range(good):
        detector.take((0, 90), (0, 10), step * 5)
    for step in range(bad_readings):
        detector.take((30, 90), (0, 10), (good + step) * 5)
    return detector.evidence


def test_forty_good_minutes_cost_a_later_failure_a_minute_and_no_more() -> None:
    assert not after(480, 4).conclusive
    assert after(480, 16).conclusive


def test_evidence_is_gone_once_good_times_have_worn_it_down() -> None:
    detector = RatioDetector(1)
    detector.take((50, 100), (0, 100))
    assert detector.evidence.conclusive
    for step in range(40):
        detector.take((1, 100), (1, 100), step * 5)
    assert not detector.evidence.conclusive


def test_one_reading_beyond_says_next_to_nothing_however_far_it_is() -> None:
    detector = SignDetector()
    for step in range(12):
        detector.take(step % 2 == 0, step * 5)
    assert not detector.evidence.conclusive
    for step in range(12, 40):
        detector.take(True, step * 5)
    assert detector.evidence.conclusive


def test_a_limit_of_everything_is_never_passed() -> None:
    detector = LimitDetector(1.0)
    detector.take(100, 100)
    assert not detector.evidence.conclusive


@pytest.mark.parametrize(("bad", "total", "rate"), [(0, 1000, 0.00917), (5, 5, 1.0), (10, 1000, 0.0273)])
def test_the_highest_rate_that_goes_with_a_count_is_clopper_and_pearsons(
    bad: float, total: float, rate: float
) -> None:
    assert rate_at_most(bad, total, 1e-4) == pytest.approx(rate, rel=0.02)
