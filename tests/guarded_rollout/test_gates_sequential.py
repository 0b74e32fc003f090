"""Sequential tests hold whenever they are looked at, and see what comes late as well."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from guarded_rollout.gates.detector import NONE, Evidence
from guarded_rollout.gates.sequential import LimitDetector, RatioDetector, ShareDetector, SignDetector
from guarded_rollout.gates.statistics import rate_at_most

ALPHA = 0.05  # large, so that too many wrong decisions would show in a few hundred windows
WINDOWS, READINGS = 120, 120


# ---- what the tests must say, from their definitions


def wealth(factors: Sequence[Sequence[float]], at: Sequence[float]) -> float:
    """All stakes together after these readings: half of them laid at the start, half of the rest by 1800 s.

    `factors` has, for each reading, what each alternative's stake is multiplied by.
    """
    shares, total = [time / (time + 1800) for time in (0.0, *at)], 0.0
    for alternative in zip(*factors, strict=True):
        total += 0.5 * math.prod(alternative)
        for begun in range(len(at)):
            total += 0.5 * (shares[begun + 1] - shares[begun]) * math.prod(alternative[begun:])
    return total / len(factors[0])


def strength(factors: Sequence[Sequence[float]], at: Sequence[float], alpha: float = 1e-4) -> float:
    return math.log(wealth(factors, at)) / math.log(1 / alpha)


AT = (60.0, 150.0, 900.0)


def test_the_ratio_test_pays_how_much_likelier_each_worse_ratio_makes_what_was_counted() -> None:
    detector, factors = RatioDetector(2, 1e-4), []
    for (bad, n), (stable_bad, m), at in zip(
        ((6, 40), (7, 35), (5, 50)), ((1, 60), (0, 80), (1, 70)), AT, strict=True
    ):
        detector.take((bad, n), (stable_bad, m), at)
        chances = [n * ratio / (n * ratio + m) for ratio in (2, 3, 4, 8, 20, 100)]
        limit, *worse = chances
        factors.append([(q / limit) ** bad * ((1 - q) / (1 - limit)) ** stable_bad for q in worse])
    assert detector.evidence.strength == pytest.approx(strength(factors, AT))
    assert detector.evidence.counts == (18, 125)


def test_the_share_test_pays_how_much_likelier_a_worse_share_is_than_a_common_one() -> None:
    guesses = (0.1, 0.0, 1.0)  # too sure a guess is none
    detector, factors = ShareDetector(1e-3), []
    for (some, n), (stable_some, m), guess, at in zip(
        ((9, 20), (0, 5), (19, 19)), ((2, 20), (0, 4), (2, 3)), guesses, AT, strict=True
    ):
        detector.take((some, n), (stable_some, m), guess, at)
        guess, factors = min(max(guess, 0.001), 0.95), [*factors, []]
        for times in (2, 6, 30):
            worse = times * guess / (1 - guess + times * guess)
            mean = (n * worse + m * guess) / (n + m)
            mine = (worse / mean) ** some * ((1 - worse) / (1 - mean)) ** (n - some)
            factors[-1].append(
                mine * (guess / mean) ** stable_some * ((1 - guess) / (1 - mean)) ** (m - stable_some)
            )
    assert detector.evidence.strength == pytest.approx(strength(factors, AT, 1e-3))
    assert detector.evidence.counts == (28, 44)


def test_the_limit_test_pays_how_much_likelier_each_worse_rate_makes_what_was_counted() -> None:
    detector, factors = LimitDetector(0.2, 1e-4), []
    for (bad, total), at in zip(((6, 10), (1, 6), (2, 5)), AT, strict=True):
        detector.take(bad, total, at)
        worse = [0.25 * times / (1 + 0.25 * times) for times in (2, 3, 6, 12)] + [0.99]
        factors.append([(q / 0.2) ** bad * ((1 - q) / 0.8) ** (total - bad) for q in worse])
    assert detector.evidence.strength == pytest.approx(strength(factors, AT))
    assert detector.evidence.counts == (9, 21)


def test_the_sign_test_pays_for_readings_that_are_beyond_more_often_than_not() -> None:
    detector = SignDetector(1e-4)
    for beyond, at in zip((True, False, True, True), (*AT, 1000.0), strict=True):
        detector.take(beyond, at)
    assert detector.evidence == NONE  # what was bet on is not won back
    for at in (1001.0, 1002.0, 1003.0):
        detector.take(True, at)
    signs = (True, False, True, True, True, True, True)
    factors = [[2 * one if beyond else 2 * (1 - one) for one in (0.7, 0.9, 0.99)] for beyond in signs]
    times = (*AT, 1000.0, 1001.0, 1002.0, 1003.0)
    assert detector.evidence.strength == pytest.approx(strength(factors, times))


def test_evidence_counts_from_when_the_stakes_last_stood_where_they_began() -> None:
    detector = SignDetector(1e-4)
    for at in (10.0, 20.0, 30.0):
        detector.take(False, at)
    assert detector.evidence == NONE
    for at in range(40, 400, 10):
        detector.take(True, at)
        found = detector.evidence
        if found.strength > 0:
            break
    since = found.since  # the reading before the one that brought them above
    assert found.counts == (1, 1)
    assert since == at - 10
    detector.take(True, at + 10)
    assert (detector.evidence.counts, detector.evidence.since) == ((2, 2), since)
    detector.take(False, at + 20)
    assert detector.evidence.counts in ((2, 3), ())


def test_conclusive_evidence_is_held_at_the_threshold_and_stays_until_all_of_it_is_gone() -> None:
    detector, readings = RatioDetector(1, 1e-4), 0
    detector.take((160, 1000), (40, 1000), 5)
    assert detector.evidence == Evidence(pytest.approx(1), 0.0, (160, 1000), True)  # type: ignore[arg-type]
    while detector.evidence.strength > 0:
        assert detector.evidence.conclusive
        readings += 1
        detector.take((1, 1000), (1, 1000), 5 + readings)
    assert detector.evidence == NONE
    worn = -math.log(0.8 / 0.5) - math.log(0.2 / 0.5)  # by a reading, of a stake on four times as many
    assert readings == math.ceil(math.log(1e4) / worn)
    detector.take((9, 1000), (0, 1000), 6 + readings)
    assert 0 < detector.evidence.strength < 1
    assert not detector.evidence.conclusive, "what is new has to become so again"


def test_evidence_is_conclusive_from_the_threshold_on_and_not_before() -> None:
    detector, at = SignDetector(1e-4), 0
    while detector.evidence.strength < 1:
        assert not detector.evidence.conclusive
        detector.take(True, at)
        at += 1
    assert detector.evidence.conclusive
    assert detector.evidence.strength == pytest.approx(1)
    once = RatioDetector(1, 1e-4)
    once.take((9, 100), (0, 100), 5)
    assert 0 < once.evidence.strength < 1
    assert not once.evidence.conclusive


def test_nothing_to_compare_with_changes_nothing() -> None:
    ratio, share = RatioDetector(1, 1e-4), ShareDetector(1e-4)
    for mine, stable in (((5, 10), (0, 0)), ((0, 0), (5, 10)), ((5, 10), (0, -1)), ((5, -1), (0, 10))):
        ratio.take(mine, stable, 3600)
        share.take(mine, stable, 0.5, 3600)
    fresh, other = RatioDetector(1, 1e-4), ShareDetector(1e-4)
    for at in range(9):  # one event on a side is enough
        for one in (ratio, fresh):
            one.take((1, 1), (0, 1), at)
        for another in (share, other):
            another.take((1, 1), (0, 1), 0.1, at)
    assert ratio.evidence == fresh.evidence != NONE
    assert share.evidence == other.evidence != NONE


def test_a_reading_that_comes_late_counts_as_of_the_one_before() -> None:
    late, usual = SignDetector(1e-4), SignDetector(1e-4)
    for detector, second in ((late, 10.0), (usual, 100.0)):
        detector.take(True, 100.0)
        for at in (second, 200.0, 300.0, 400.0):
            detector.take(True, at)
    assert late.evidence == usual.evidence


# ---- how often they are wrong, and how soon they are right


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
    detector = RatioDetector(2, 1e-4)
    for step in range(good):
        detector.take((0, 90), (0, 10), step * 5)
    for step in range(bad_readings):
        detector.take((30, 90), (0, 10), (good + step) * 5)
    return detector.evidence


def test_forty_good_minutes_cost_a_later_failure_a_minute_and_no_more() -> None:
    assert not after(480, 4).conclusive
    assert after(480, 16).conclusive


def test_evidence_is_gone_once_good_times_have_worn_it_down() -> None:
    detector = RatioDetector(1, 1e-4)
    detector.take((50, 100), (0, 100), 0)
    assert detector.evidence.conclusive
    for step in range(40):
        detector.take((1, 100), (1, 100), step * 5)
    assert not detector.evidence.conclusive


def test_one_reading_beyond_says_next_to_nothing_however_far_it_is() -> None:
    detector = SignDetector(1e-4)
    for step in range(12):
        detector.take(step % 2 == 0, step * 5)
    assert not detector.evidence.conclusive
    for step in range(12, 40):
        detector.take(True, step * 5)
    assert detector.evidence.conclusive


def test_a_limit_of_everything_is_never_passed() -> None:
    detector = LimitDetector(1.0, 1e-4)
    detector.take(100, 100, 0)
    assert not detector.evidence.conclusive


@pytest.mark.parametrize(("bad", "total", "rate"), [(0, 1000, 0.00917), (5, 5, 1.0), (10, 1000, 0.0273)])
def test_the_highest_rate_that_goes_with_a_count_is_clopper_and_pearsons(
    bad: float, total: float, rate: float
) -> None:
    assert rate_at_most(bad, total, 1e-4) == pytest.approx(rate, rel=0.02)
