"""Formulas, at points that are worked out by hand."""

import math

import pytest

from guarded_rollout.gates.statistics import (
    Quantile,
    binomial_tail,
    incomplete_beta,
    quantile,
    rate_at_most,
)

EDGES = (1.0, 2.0, math.inf)


@pytest.mark.parametrize(
    ("q", "counts", "found"),
    [
        (0.5, (2, 4, 4), Quantile(1.0, 0.0, 1.0)),
        (0.25, (2, 4, 4), Quantile(0.5, 0.0, 1.0)),
        (0.6, (2, 4, 4), Quantile(1.5, 1.0, 2.0)),  # the third of four, half-way in its bucket
        (0.99, (2, 4, 4), Quantile(2.0, 1.0, 2.0)),
        (0.5, (0, 0, 4), Quantile(2.0, 2.0, math.inf)),
        (0.07, (7, 100, 100), Quantile(1.0, 0.0, 1.0)),  # 0.07 × 100 is a little more than 7
        (0.5, (1, 1, 1), Quantile(1.0, 0.0, 1.0)),
        (0.5, (0, 0, 0), None),
        (0.5, (-1, -1, -1), None),
    ],
)
def test_a_quantile_is_interpolated_in_its_bucket(
    q: float, counts: tuple[float, ...], found: Quantile | None
) -> None:
    assert quantile(q, EDGES, counts) == found


def test_the_first_bucket_begins_at_zero_or_below_it_at_its_edge() -> None:
    assert quantile(0.5, (-3.0, math.inf), (4, 4)) == Quantile(-3.0, -3.0, -3.0)
    assert quantile(0.5, (0.5, math.inf), (4, 4)) == Quantile(0.25, 0.0, 0.5)


def test_rounding_carries_no_quantile_over_its_edge() -> None:
    """As where the limit is one: 0.3 + (0.9 - 0.3) is more than 0.9."""
    assert quantile(1.0, (0.3, 0.9, math.inf), (1, 4, 4)) == Quantile(0.9, 0.3, 0.9)


@pytest.mark.parametrize(
    ("successes", "trials", "rate", "chance"),
    [
        (0, 5, 0.3, 1.0),
        (-1, 5, 0.3, 1.0),
        (6, 5, 0.3, 0.0),
        (1, 5, 0.3, 1 - 0.7**5),
        (5, 5, 0.3, 0.3**5),
        (2, 3, 0.5, 0.5),
        (1, 1, 0.25, 0.25),
        (0.5, 1, 0.25, incomplete_beta(0.5, 1.5, 0.25)),
        (3, 5, 0.0, 0.0),
        (3, 5, 1.0, 1.0),
    ],
)
def test_the_chance_of_so_many_or_more(successes: float, trials: float, rate: float, chance: float) -> None:
    assert binomial_tail(successes, trials, rate) == pytest.approx(chance, rel=1e-12)


@pytest.mark.parametrize(("least", "rate"), [(60, 0.05), (940, 0.95), (500, 0.5), (3, 0.01), (1000, 0.99)])
def test_the_chance_of_so_many_of_a_thousand_is_the_sum_of_its_terms(least: int, rate: float) -> None:
    terms = [math.comb(1000, n) * rate**n * (1 - rate) ** (1000 - n) for n in range(least, 1001)]
    assert binomial_tail(least, 1000, rate) == pytest.approx(math.fsum(terms), rel=1e-11)


@pytest.mark.parametrize(
    ("a", "b", "x"), [(1, 1, 0.3), (3, 1, 0.9), (1, 4, 0.05), (2.5, 1, 0.7), (1, 7, 0.9)]
)
def test_the_incomplete_beta_function_is_a_power_where_one_of_both_is_one(
    a: float, b: float, x: float
) -> None:
    exact = x**a if b == 1 else 1 - (1 - x) ** b
    assert incomplete_beta(a, b, x) == pytest.approx(exact, rel=1e-13)
    assert incomplete_beta(b, a, 1 - x) == pytest.approx(1 - exact, rel=1e-12)


def test_the_incomplete_beta_function_is_nothing_below_its_range_and_all_above() -> None:
    assert [incomplete_beta(2, 3, x) for x in (-1.0, 0.0, 1.0, 2.0)] == [0, 0, 1, 1]


def test_the_incomplete_beta_function_is_symmetric_in_the_middle() -> None:
    for a in (0.5, 1.0, 20.0, 5000.0, 1e6):
        assert incomplete_beta(a, a, 0.5) == pytest.approx(0.5, rel=1e-9)


@pytest.mark.parametrize(
    ("bad", "total", "alpha", "rate"),
    [
        (0, 10, 0.05, 1 - 0.05**0.1),
        (1, 1, 0.05, 1.0),
        (3, 2, 0.05, 1.0),
        (9, 10, 0.05, 0.95 ** (1 / 10)),
        (0, 1, 0.2, 0.8),
    ],
)
def test_the_highest_rate_that_goes_with_a_count(bad: float, total: float, alpha: float, rate: float) -> None:
    assert rate_at_most(bad, total, alpha) == pytest.approx(rate, rel=1e-12)
