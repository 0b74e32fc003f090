"""The few formulas that gates need, each with its source."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quantile:
    """An estimate, and the bucket's edges, between which the true value surely is."""

    value: float
    low: float
    high: float


def quantile(q: float, edges: Sequence[float], counts: Sequence[float]) -> Quantile | None:
    """Estimate the q-quantile of a cumulative histogram; None when it is empty.

    The true quantile is the value of rank ⌈q·n⌉, which is surely inside the bucket that holds this rank.
    Within it, interpolated as Prometheus's `histogram_quantile` does; in the last bucket its lower edge.
    """
    total = counts[-1]
    if total <= 0:
        return None
    rank = math.ceil(q * total - 1e-9)
    found = next(position for position, count in enumerate(counts) if count >= rank)
    low, below = (edges[found - 1], counts[found - 1]) if found else (min(0.0, edges[0]), 0.0)
    high = edges[found]
    if high == math.inf:
        return Quantile(low, low, high)
    inside = low + (high - low) * (rank - below) / (counts[found] - below)
    return Quantile(min(inside, high), low, high)  # rounding must not carry it over an edge that is a limit


def binomial_tail(successes: float, trials: float, rate: float) -> float:
    """Return P(X ≥ successes) for X ~ binomial(trials, rate), which is I_rate(k, n−k+1) (DLMF 8.17.5)."""
    if successes <= 0:
        return 1.0
    if successes > trials:
        return 0.0
    return incomplete_beta(successes, trials - successes + 1, rate)


def rate_at_most(bad: float, total: float, alpha: float) -> float:
    """Return the highest rate at which so few are bad more often than alpha (Clopper & Pearson)."""
    if bad >= total:
        return 1.0
    low, high = bad / total, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if 1 - binomial_tail(bad + 1, total, middle) > alpha:
            low = middle
        else:
            high = middle
    return high


def incomplete_beta(a: float, b: float, x: float) -> float:
    """Return the regularized incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22).

    Lentz's method converges fast for x < (a+1)/(a+b+2); the symmetry serves the rest.
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1.0 - incomplete_beta(b, a, 1 - x)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    tiny = 1e-300
    c, d = 1.0, 1.0 / _off_zero(1.0 - (a + b) * x / (a + 1), tiny)
    fraction = d
    for m in range(1, 10_000):
        for factor in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 / _off_zero(1.0 + factor * d, tiny)
            c = _off_zero(1.0 + factor / c, tiny)
            fraction *= c * d
        if abs(c * d - 1.0) < 1e-14:
            break
    return front * fraction / a


def _off_zero(value: float, tiny: float) -> float:
    return value if abs(value) > tiny else tiny
