"""Comparisons: each asks its sequential test exactly what it says, worked out by hand."""

import math
from typing import Any

import pytest

from guarded_rollout.gates.detector import NONE
from guarded_rollout.gates.judges.comparisons import (
    AmountComparison,
    Compared,
    LevelComparison,
    RatesBefore,
    RatesComparison,
    TimesBefore,
    TimesComparison,
    beyond,
)
from guarded_rollout.gates.sequential import LimitDetector, RatioDetector, ShareDetector, SignDetector
from guarded_rollout.gates.statistics import rate_at_most

ALPHA = 1e-4
EDGES = (1.0, 2.0, 4.0, 8.0, math.inf)


def test_both_values_are_told_with_their_unit_and_how_many_times_as_much_that_is() -> None:
    found = Compared(6, 1.5, " %")
    assert (found.words, found.ratio) == ("6 % against stable's 1.5 %", 4)
    assert Compared(6, 0).ratio is None
    assert Compared(0, 6).ratio == 0


def test_a_share_is_held_against_stables_meanwhile() -> None:
    one, test = RatesComparison(2, ALPHA), RatioDetector(2, ALPHA)
    one.take((9, 40), (1, 60), 5, 60)
    test.take((9, 40), (1, 60), 60)
    assert one.evidence == test.evidence != NONE
    assert one.compared((9, 45), (1, 50)) == Compared(20, 2, " %")
    assert one.compared((1, 1), (0, 1)) == Compared(100, 0, " %")
    assert one.compared((0, 1), (1, 1)) == Compared(0, 100, " %")
    assert one.compared((0, 0), (1, 50)) is None
    assert one.compared((9, 45), (0, 0)) is None


def test_a_share_is_held_against_what_stables_was_at_most() -> None:
    one, test = RatesBefore(2, ALPHA, (3, 200)), LimitDetector(2 * rate_at_most(3, 200, ALPHA), ALPHA)
    one.take((20, 40), (), 5, 60)
    test.take(20, 40, 60)
    assert one.evidence == test.evidence != NONE
    assert one.compared((1, 4), ()) == Compared(25, 1.5, " %")
    assert one.compared((0, 1), ()) == Compared(0, 1.5, " %")
    assert one.compared((0, 0), ()) is None


@pytest.mark.parametrize(
    ("q", "ratio", "least", "found"),
    [
        (0.5, 2, 0, (2, 1)),
        (0.6, 2, 0, (2, 1)),  # six of ten are within 2
        (0.61, 2, 0, (3, 2)),
        (0.5, 2.1, 0, (3, 1)),
        (0.5, 4.04, 0, (3, 1)),  # nearly 8
        (0.5, 4.05, 0, (4, 1)),
        (0.5, 2, 8, (3, 2)),
        (0.5, 2, 8.1, (4, 3)),
        (0.5, 2, 2, (2, 1)),
    ],
)
def test_a_quantile_is_asked_at_its_own_edge_and_at_the_one_so_many_times_as_far(
    q: float, ratio: float, least: float, found: tuple[int, int]
) -> None:
    assert beyond(q, ratio, EDGES, (0, 6, 8, 9, 10), least) == found


def test_times_are_held_against_stables_from_the_second_reading_on() -> None:
    one, test = TimesComparison(2, ALPHA, 0.5, EDGES, 0), ShareDetector(ALPHA)
    stable = (0, 6, 8, 9, 10)
    one.take((0, 0, 0, 20, 20), stable, 5, 5)
    assert one.evidence is NONE
    one.take((0, 1, 2, 20, 22), (1, 9, 9, 9, 9), 5, 10)
    test.take((20, 22), (0, 9), 4.5 / 11, 10)  # four of ten were above 2
    assert one.evidence == test.evidence != NONE
    one.take((0, 1, 2, 20, 22), (0, 0, 0, 0, 8), 5, 15)
    test.take((20, 22), (8, 8), 4.5 / 20, 15)  # four of nineteen
    assert one.evidence == test.evidence


def test_the_least_time_that_matters_and_the_last_bucket_are_no_evidence() -> None:
    least, last = TimesComparison(2, ALPHA, 0.5, EDGES, 8), TimesComparison(8, ALPHA, 0.5, EDGES, 0)
    test = ShareDetector(ALPHA)
    for one in (least, last):
        one.take((0, 0, 0, 20, 20), (0, 6, 8, 10, 10), 5, 5)
        one.take((0, 0, 0, 0, 20), (0, 6, 8, 10, 10), 5, 10)
    test.take((20, 20), (2, 10), 2.5 / 11, 10)
    assert least.evidence == test.evidence != NONE
    assert last.evidence is NONE
    vars(last)["_detector"] = None  # it is asked nothing
    last.take((0, 0, 0, 0, 20), (0, 6, 8, 10, 10), 5, 15)


def test_a_stable_that_has_seen_one_request_is_asked() -> None:
    one = TimesComparison(2, ALPHA, 0.5, EDGES, 0)
    one.take((0, 0, 0, 0, 0), (0, 1, 1, 1, 1), 5, 5)
    one.take((0, 0, 0, 0, 20), (0, 6, 6, 6, 6), 5, 10)
    assert one.evidence != NONE


def test_the_quantiles_of_both_are_told() -> None:
    times = TimesComparison(2, ALPHA, 0.5, EDGES, 0)
    before = TimesBefore(2, ALPHA, 0.5, EDGES, 0, (0, 10, 10, 10, 10))
    mine, stable, none = (0, 0, 10, 10, 10), (0, 10, 10, 10, 10), (0, 0, 0, 0, 0)
    assert times.compared(mine, stable) == before.compared(mine, ()) == Compared(3, 1.5)
    assert times.compared(none, stable) is times.compared(mine, none) is before.compared(none, ()) is None


def test_times_are_held_against_what_stables_were_before() -> None:
    one = TimesBefore(2, ALPHA, 0.5, EDGES, 0, (0, 600, 800, 900, 1000))
    test = LimitDetector(rate_at_most(400, 1000, ALPHA), ALPHA)
    one.take((0, 1, 1, 10, 12), (), 5, 10)
    test.take(11, 12, 10)
    assert one.evidence == test.evidence != NONE
    assert not one.evidence.conclusive


class Answers(list[tuple[bool, float]]):
    """What was asked, in a sign test's place: whether a reading was beyond, and when."""

    def take(self, beyond_: bool, at: float) -> None:
        self.append((beyond_, at))


@pytest.mark.parametrize(
    ("least", "mine", "stable", "above"),
    [
        (0, (899, 3), (300, 2), False),
        (0, (900, 3), (300, 2), False),
        (0, (901, 3), (300, 2), True),
        (0, (0.5, 1), (0, 1), True),
        (100, (100, 1), (4, 1), False),
        (100, (101, 1), (4, 1), True),
    ],
)
def test_a_level_is_beyond_what_is_so_many_times_stables_and_enough_to_matter(
    least: float, mine: tuple[float, float], stable: tuple[float, float], above: bool
) -> None:
    one, spy = LevelComparison(2, ALPHA, least), Answers()
    vars(one)["_detector"] = spy
    one.take(mine, stable, 5, 10)
    assert spy == [(above, 10)]


def test_levels_are_told_and_judged_by_their_signs() -> None:
    one, test = LevelComparison(2, ALPHA, 0), SignDetector(ALPHA)
    for at in range(5, 30, 5):
        one.take((901, 3), (300, 2), 5, at)
        test.take(True, at)
    assert one.evidence == test.evidence != NONE
    assert one.compared((900, 3), (300, 2)) == Compared(300, 150)
    assert one.compared((1, 1), (0, 1)) == Compared(1, 0)
    assert one.compared((0, 1), (1, 1)) == Compared(0, 1)
    assert one.compared((0, 0), (1, 1)) is one.compared((1, 1), (0, 0)) is None


# ---- an amount for each event


Reading = tuple[tuple[float, float], tuple[float, float]]


def amount(*readings: Reading, seconds: float = 10) -> tuple[Any, Answers]:
    """Whether the candidate used more than twice as much, asked after each of these readings of both."""
    one, spy = AmountComparison(2, ALPHA), Answers()
    vars(one)["_detector"] = spy
    for number, (mine, stable) in enumerate(readings, start=1):
        one.take(mine, stable, seconds, 10 * number)
    return one, spy


def asked(*readings: Reading) -> list[tuple[bool, float]]:
    return amount(*readings)[1]


USUAL = (5.0, 100.0)


@pytest.mark.parametrize(("used", "above"), [(10.0, False), (10.1, True)])
def test_the_first_reading_is_learnt_and_the_next_held_against_it(used: float, above: bool) -> None:
    assert asked((USUAL, USUAL)) == []
    assert asked((USUAL, USUAL), *[((used, 100.0), USUAL)] * 2) == [(above, 20), (above, 30)]


def test_amounts_are_told_and_judged_by_their_signs() -> None:
    one, test = AmountComparison(2, ALPHA), SignDetector(ALPHA)
    one.take(USUAL, USUAL, 10, 10)
    for at in (20, 30, 40):
        one.take((10.1, 100), USUAL, 10, at)
        test.take(True, at)
    assert one.evidence == test.evidence != NONE
    assert one.compared((10, 100), (5, 100)) == Compared(0.1, 0.05)
    assert one.compared((1, 1), (0, 1)) == Compared(1, 0)
    assert one.compared((0, 1), (1, 1)) == Compared(0, 1)
    assert one.compared((0, 0), (5, 100)) is one.compared((5, 100), (0, 0)) is None


@pytest.mark.parametrize(("used", "above"), [(15.2, False), (15.3, True)])
def test_what_slows_stable_is_no_fault_of_the_candidate(used: float, above: bool) -> None:
    """Stable took 5 and then 10 s; 0.9 of the first count beside the second: 14.5 s for what took 9.5 s."""
    found = asked((USUAL, USUAL), ((10.1, 100), USUAL), ((used, 100), (10, 100)))
    assert found == [(True, 20), (above, 30)]


def test_a_stable_that_got_faster_makes_the_candidate_no_slower() -> None:
    assert asked((USUAL, USUAL), ((10.1, 100), USUAL), ((9.9, 100), (2, 100)))[1:] == [(False, 30)]


def test_a_stable_that_used_nothing_and_now_does_is_slower_than_it_was() -> None:
    """It used 5 s where nothing was usual, and 5 where 1.67 were: 9.5 for 1.67, and twice that is 19 s."""
    for used, above in ((18.9, False), (19.1, True)):
        found = asked((USUAL, (0, 100)), ((0, 100), (0, 100)), ((0, 100), USUAL), ((used, 100), USUAL))
        assert found == [(False, 20), (False, 30), (above, 40)]


@pytest.mark.parametrize(("used", "above"), [(0.39, False), (0.41, True)])
def test_less_than_five_events_wait_for_the_next_reading(used: float, above: bool) -> None:
    assert asked((USUAL, USUAL), ((used, 4), USUAL), ((used, 4), USUAL)) == [(above, 30)]
    assert asked((USUAL, USUAL), ((used * 5 / 4, 5), USUAL)) == [(above, 20)]


@pytest.mark.parametrize(("used", "above"), [(9.9, False), (10.1, True)])
def test_five_of_stables_are_learnt_as_one_reading(used: float, above: bool) -> None:
    assert asked((USUAL, (0.1, 4)), (USUAL, (0.15, 1)), ((used, 100), USUAL)) == [(above, 30)]


@pytest.mark.parametrize(("used", "above"), [(20.7, False), (20.9, True)])
def test_a_candidate_that_idles_may_use_what_stable_would(used: float, above: bool) -> None:
    """Stable uses 1 s a second, and 0.1 s for each event: for 8 events in 20 s that is 20.8 s."""
    readings = [(USUAL, (10 + rate, rate * 10)) for rate in (5, 10, 15, 20, 25, 30)]
    busy = (40.0, 300.0)
    assert asked(*readings, ((used, 4), busy), ((used, 4), busy))[-1] == (above, 80)


def learnt(*readings: tuple[float, float]) -> Any:
    """After stable has used so much a second for so many events a second."""
    pairs = [((5.0, 100.0), (used * 10, events * 10)) for events, used in readings]
    return amount(*pairs)[0]


def test_what_stable_uses_while_it_idles_is_told_apart_once_its_readings_differ_enough() -> None:
    rates = (5, 10, 15, 20, 25, 30)
    apart = learnt(*[(rate, 1 + 0.1 * rate) for rate in rates])
    assert apart._expected(2) == pytest.approx(1.2)
    seven = learnt(*[(rate, 1 + 0.1 * rate) for rate in (*rates, 35)])
    assert seven._expected(2) == pytest.approx(1.2)
    five = learnt(*[(rate, 1 + 0.1 * rate) for rate in rates[:5]])
    assert five._expected(2) == pytest.approx(2 * 12.5 / 75)
    for distance, expected in ((2.9, 2 * 2 / 10), (3, 2 * 2 / 10), (3.1, 1.2)):
        near = learnt(*[(10 + sign * distance, 2 + 0.1 * sign * distance) for sign in (1, -1) * 3])
        assert near._expected(2) == pytest.approx(expected)
    falling = learnt(*[(rate, 10 - 0.1 * rate) for rate in rates])
    assert falling._expected(2) == pytest.approx(2 * (60 - 10.5) / 105)
    level = learnt(*[(rate, 2) for rate in rates])
    assert level._expected(2) == pytest.approx(2 * 12 / 105)
    steep = learnt(*[(rate, 0.2 * rate - 0.5) for rate in rates])
    assert steep._expected(2) == pytest.approx(0.4), "idling costs no less than nothing"
    assert learnt()._expected(2) is None
