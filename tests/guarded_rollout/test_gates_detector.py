"""Evidence: conclusive where it should be, held until it is worn down, and never from good times."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guarded_rollout.gates.detector import NONE, THRESHOLD, Evidence, RateDetector, weights
from guarded_rollout.gates.sequential import RatioDetector
from guarded_rollout.gates.statistics import binomial_tail, incomplete_beta


def test_four_failures_in_a_row_are_conclusive_against_five_percent() -> None:
    detector = RateDetector(0.05)
    for number in range(1, 5):
        detector.take(1, 1, since=number)
        assert detector.evidence.conclusive is (number == 4)
    assert detector.evidence.counts == (4, 4)
    assert detector.evidence.since == 1


def test_forty_good_minutes_are_no_credit() -> None:
    fresh, old = RateDetector(0.05), RateDetector(0.05)
    for _ in range(480):
        old.take(0, 100)
    for detector in (fresh, old):
        detector.take(30, 100)
    assert fresh.evidence.conclusive
    assert old.evidence.conclusive


def test_evidence_stays_conclusive_until_good_times_have_worn_it_down() -> None:
    detector = RateDetector(0.05)
    detector.take(100, 100)
    detector.take(0, 20)
    assert detector.evidence.conclusive
    detector.take(0, 1000)
    assert not detector.evidence.conclusive
    assert detector.evidence.strength == 0


def test_what_begins_after_conclusive_evidence_is_worn_down_begins_with_nothing() -> None:
    detector = RateDetector(0.05)
    detector.take(100, 100, since=5)
    detector.take(0, 1000, since=10)
    assert detector.evidence == NONE == Evidence(0.0, 0.0, (), False)
    detector.take(1, 1, since=15)
    assert (detector.evidence.conclusive, detector.evidence.since) == (False, 15)
    assert detector.evidence.counts == (1, 1)


def test_the_counts_of_evidence_are_all_since_it_began() -> None:
    detector = RateDetector(0.05)
    detector.take(1, 2)
    detector.take(2, 5, since=9)
    assert (detector.evidence.counts, detector.evidence.since) == ((3, 7), 0)
    assert detector.evidence.strength == pytest.approx(
        max(3 * for_bad + 4 * for_good for for_bad, for_good in weights(0.05)) / THRESHOLD
    )
    odd = RateDetector(0.05)
    odd.take(5, 4)  # more were bad than there were
    assert odd.evidence.counts == (5, 5)


@pytest.mark.parametrize(
    ("limit", "worse"),
    [
        (0.2, [1 / 3, 3 / 7, 3 / 5, 3 / 4, 0.99]),
        (0.01, [times / (99 + times) for times in (2, 3, 6, 12)] + [0.99]),
        (0.005, [times / (199 + times) for times in (2, 3, 6, 12, 100)] + [0.99]),
        (0.0, [times / (9999 + times) for times in (2, 3, 6, 12, 100)] + [0.99]),
        (0.995, [199 * times / (1 + 199 * times) for times in (2, 3, 6, 12)] + [0.9975]),
        (1.0, []),
        (1.5, []),
    ],
)
def test_the_weights_are_how_much_likelier_a_worse_rate_makes_an_event(
    limit: float, worse: list[float]
) -> None:
    limit_ = max(limit, 1e-4)
    found = [(math.exp(bad) * limit_, 1 - math.exp(good) * (1 - limit_)) for bad, good in weights(limit)]
    assert found == [pytest.approx((rate, rate)) for rate in worse]


def test_a_rate_at_the_limit_is_hardly_ever_conclusive() -> None:
    random = np.random.default_rng(7)
    decided = 0
    for _ in range(50):
        detector = RateDetector(0.05)
        for bad in random.binomial(100, 0.05, 100):
            detector.take(float(bad), 100)
            decided += detector.evidence.conclusive
    assert decided == 0


@pytest.mark.parametrize("limit", [0.0, 1e-9, 0.5, 0.9, 0.99, 0.999, 1.0])
def test_any_limit_is_usable(limit: float) -> None:
    detector = RateDetector(limit)
    detector.take(1000, 1000)
    assert detector.evidence.conclusive is (limit <= 0.9)


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0.001, 0.99))
def test_evidence_is_finite_whatever_was_counted(bad: float, total: float, limit: float) -> None:
    detector = RateDetector(limit)
    detector.take(bad, total)
    assert 0 <= detector.evidence.strength <= 1


# ---- candidate against stable


def compared(mine: float, stable: float, ratio: float, *, share: float = 0.5, readings: int = 240) -> bool:
    """Whether so many readings of 100 requests are conclusive, at these true rates."""
    random = np.random.default_rng(3)
    detector = RatioDetector(ratio, 1e-4)
    n = round(100 * share)
    for _ in range(readings):
        mine_bad, stable_bad = random.binomial(n, mine), random.binomial(100 - n, stable)
        detector.take((float(mine_bad), n), (float(stable_bad), 100 - n), 0)
        if detector.evidence.conclusive:
            return True
    return False


def test_twice_as_bad_as_before_is_conclusive_under_any_absolute_limit() -> None:
    assert compared(0.04, 0.02, ratio=1)
    assert compared(0.04, 0.02, ratio=1, share=0.1)


def test_as_bad_as_before_is_not() -> None:
    assert not compared(0.04, 0.04, ratio=1, readings=2000)
    assert not compared(0.5, 0.5, ratio=1, readings=2000)
    assert not compared(0.028, 0.02, ratio=1.5, readings=2000)
    assert not compared(0.01, 0.02, ratio=1, readings=2000)


def test_without_traffic_on_one_side_nothing_is_compared() -> None:
    detector = RatioDetector(1, 1e-4)
    detector.take((100, 100), (0, 0), 0)
    assert detector.evidence.strength == 0


@given(
    st.floats(0, 1),
    st.floats(0, 1),
    st.integers(1, 40),
    st.integers(1, 40),
    st.floats(1, 3),
    st.floats(1.5, 10),
)
def test_a_reading_gains_nothing_on_average_while_the_ratio_is_kept(
    stable: float, within: float, n: int, m: int, ratio: float, times_worse: float
) -> None:
    """The proof of the docstring, checked by exact expectation over both binomials."""
    mine = min(1.0, stable * ratio) * within
    q = n * ratio / (n * ratio + m)
    worse = n * ratio * times_worse / (n * ratio * times_worse + m)
    expectation = (1 + mine * (worse / q - 1)) ** n * (1 + stable * ((1 - worse) / (1 - q) - 1)) ** m
    assert expectation <= 1 + 1e-9


# ---- formulas


def exact_tail(k: int, n: int, p: float) -> float:
    return sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))


@given(st.integers(0, 60), st.integers(1, 60), st.floats(0.001, 0.999))
def test_the_binomial_tail_is_the_sum_of_its_terms(k: int, n: int, p: float) -> None:
    assert binomial_tail(k, n, p) == pytest.approx(exact_tail(k, n, p), rel=1e-9, abs=1e-12)


def test_the_binomial_tail_is_right_for_large_numbers() -> None:
    assert binomial_tail(3600, 72_000, 0.05) == pytest.approx(0.5025, abs=0.001)
    assert incomplete_beta(2, 3, 0.0) == 0
    assert incomplete_beta(2, 3, 1.0) == 1


def test_the_threshold_is_one_in_ten_thousand() -> None:
    assert pytest.approx(10_000) == math.exp(THRESHOLD)
