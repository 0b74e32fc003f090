"""Other people's rules, on counts small enough to be worked out by hand."""

import math

import numpy as np
import pytest
from bench.peers.argo import Argo
from bench.peers.counts import Counts
from bench.peers.flagger import Flagger
from bench.peers.kayenta import Kayenta, Label, shift


def minutes(*pairs: tuple[int, int]) -> Counts:
    """One window of minutes, each (failed, asked)."""
    failed, asked = np.array(pairs, dtype=float).T
    return Counts(failed[:, None], asked[:, None], 60.0)


def series(*values: float) -> np.ndarray:
    return np.array(values)


GOOD, LIMIT, BAD, SILENT = (0, 100), (5, 100), (6, 100), (0, 0)


# ---- counts


def test_readings_add_up_to_intervals_and_the_last_half_one_is_left_out() -> None:
    counts = Counts(np.array([[1.0], [2], [3], [4], [5]]), np.full((5, 1), 10.0), 5.0)
    pairs = counts.every(10.0)
    assert (pairs.failed.ravel().tolist(), pairs.asked.ravel().tolist()) == ([3, 7], [20, 20])
    assert pairs.failure.ravel() == pytest.approx([0.15, 0.35])


# ---- Flagger


def test_flagger_rolls_back_at_the_threshold_of_failed_checks() -> None:
    assert Flagger(0.95, threshold=3).decided(minutes(BAD, BAD, BAD, GOOD)) == [180]


def test_flagger_forgets_no_failed_check() -> None:
    window = minutes(BAD, *[GOOD] * 10, BAD, *[GOOD] * 10, BAD)
    assert Flagger(0.95, threshold=3).decided(window) == [23 * 60]


def test_flagger_keeps_what_is_exactly_at_the_limit() -> None:
    assert Flagger(0.95, threshold=1).decided(minutes(LIMIT, LIMIT)) == [math.inf]


def test_flagger_counts_an_interval_without_requests_as_failed() -> None:
    assert Flagger(0.95, threshold=2).decided(minutes(SILENT, GOOD, SILENT)) == [180]


def test_flagger_judges_each_window_alone() -> None:
    failed = np.array([[6.0, 0, 0], [0, 0, 6], [6, 0, 6]])
    counts = Counts(failed, np.full(failed.shape, 100.0), 60.0)
    assert Flagger(0.95, threshold=2).decided(counts).tolist() == [180, math.inf, 180]


# ---- Argo Rollouts


def test_argo_fails_only_beyond_the_limit_of_failed_measurements() -> None:
    assert Argo(0.95, interval=60, failure_limit=2).decided(minutes(BAD, BAD, GOOD)) == [math.inf]
    assert Argo(0.95, interval=60, failure_limit=2).decided(minutes(BAD, BAD, GOOD, BAD)) == [240]


def test_argo_measures_over_its_whole_interval() -> None:
    mixed = minutes((10, 100), (0, 100), (6, 100), (0, 100))  # 5 %, 3 % of two minutes each
    assert Argo(0.95, interval=120, failure_limit=0).decided(mixed) == [math.inf]
    assert Argo(0.95, interval=60, failure_limit=0).decided(mixed) == [60]


def test_argo_is_done_after_count_measurements() -> None:
    window = minutes(GOOD, GOOD, BAD)
    assert Argo(0.95, interval=60, failure_limit=0, count=2).decided(window) == [math.inf]
    assert Argo(0.95, interval=60, failure_limit=0, count=3).decided(window) == [180]


def test_argo_does_not_count_an_interval_without_requests() -> None:
    assert Argo(0.95, interval=60, failure_limit=0).decided(minutes(SILENT, GOOD)) == [math.inf]


# ---- Kayenta


def test_the_shift_is_the_published_one_with_its_interval_of_98_percent() -> None:
    # SAS/STAT, NPAR1WAY, "Hodges-Lehmann Estimation": reaction times, alpha 0.02, asymptotic 0.00 to 0.82.
    first = series(*[1.94] * 2, *[2.92] * 4, *[3.27] * 4, *[3.70] * 2, 3.74)
    second = series(*[3.27] * 3, *[3.70] * 2, 3.74)
    found = shift(second, first, 0.98)
    assert (found.low, found.estimate, found.high) == pytest.approx((0.0, 0.35, 0.82))


def test_the_shift_of_the_placenta_is_the_published_one() -> None:
    # Hollander & Wolfe, Nonparametric Statistical Methods, table 4.1 and comment 4.2: 0.305.
    term = series(0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46)
    early = series(1.15, 0.88, 0.90, 0.74, 1.21)
    assert shift(term, early, 0.95).estimate == pytest.approx(0.305)


def test_the_ends_are_the_ranks_worked_out_by_hand() -> None:
    # 5 × 5 without ties: deviation √(25·11/12) = 4.787; 12.5 + 0.5 + 2.326·4.787 = 24.14, so rank 25 of 25.
    # At 90 %: 13 + 1.645·4.787 = 20.87, rank 21 of 9.6 9.7 9.8 9.9 10.0 10.6 … 13.6 13.7 13.8 13.9 14.0.
    x, y = series(10, 11, 12, 13, 14), series(0.0, 0.1, 0.2, 0.3, 0.4)
    assert shift(x, y, 0.98).low == pytest.approx(9.6)
    assert shift(x, y, 0.98).high == pytest.approx(14.0)
    assert shift(x, y, 0.90).low == pytest.approx(10.0)
    assert shift(x, y, 0.90).high == pytest.approx(13.6)


def test_few_points_give_the_widest_interval_there_is() -> None:
    found = shift(series(5, 6), series(1, 2), 0.98)
    assert (found.low, found.high) == (3, 5)


def test_kayenta_calls_what_is_clearly_above_high_and_below_low() -> None:
    high, low = np.linspace(0.30, 0.39, 10), np.linspace(0.01, 0.019, 10)
    judge = Kayenta()
    assert judge.classify(high, low) is Label.HIGH
    assert judge.classify(low, high) is Label.LOW


def test_kayenta_passes_what_differs_by_less_than_the_tolerance_of_its_estimate() -> None:
    # The differences reach from 0 to 0.9 around 0.3: their low end is not above a quarter of the estimate.
    canary, baseline = np.linspace(0.0, 0.9, 10), np.linspace(0.0, 0.3, 10)
    assert shift(canary, baseline, 0.98).low < 0.25 * shift(canary, baseline, 0.98).estimate
    assert Kayenta().classify(canary, baseline) is Label.PASS


def test_kayenta_has_no_label_for_no_data_and_leaves_out_missing_points() -> None:
    judge, missing = Kayenta(), math.nan
    assert judge.classify(series(missing, missing), series(0.1, 0.2)) is Label.NO_DATA
    with_gaps = np.append(np.linspace(0.30, 0.39, 10), missing)
    assert judge.classify(with_gaps, np.linspace(0.01, 0.019, 10)) is Label.HIGH


def test_kayenta_passes_what_never_varies() -> None:
    assert Kayenta().classify(np.zeros(9), np.zeros(7)) is Label.PASS


@pytest.mark.parametrize(
    ("labels", "score"), [("PPPP", 100), ("PHPL", 50), ("HHHH", 0), ("PHNN", 50), ("NN", 100)]
)
def test_the_score_is_the_share_of_metrics_with_data_that_pass(labels: str, score: float) -> None:
    named = {label.name[0]: label for label in Label}
    assert Kayenta().score([named[letter] for letter in labels]) == score


def test_kayenta_decides_at_the_end_of_the_run_that_fails() -> None:
    baseline = minutes(*[(n % 3, 100) for n in range(40)])
    canary = minutes(*[(n % 3, 100) for n in range(10)], *[(60 + n % 3, 100) for n in range(30)])
    # After 30 minutes 600 of 900 differences are large, and 450.5 + 2.326·67.0 = 606.4 have to be;
    # after 40, 1200 of 1600, and 800.5 + 2.326·102.9 = 1039.9 have to be.
    assert Kayenta(interval=600).decided(canary, baseline) == [2400]
    assert Kayenta(interval=600).decided(baseline, baseline) == [math.inf]
