"""Counter differences, against a recomputation from the raw events that were counted."""

import bisect
import itertools
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guarded_rollout.config.terms import Decision
from guarded_rollout.gates.detector import THRESHOLD, RateDetector, weights
from guarded_rollout.gates.judges import judge_of
from guarded_rollout.gates.statistics import quantile
from guarded_rollout.gates.verdict import GateOutcome
from guarded_rollout.gates.window import RESOLUTION, AverageWindow, CounterWindow, Difference, RunningTotals
from tests.guarded_rollout.gatekit import EDGES, gate, service, times


def test_a_difference_is_what_was_counted_since_the_windows_beginning() -> None:
    window = CounterWindow(60)
    assert window.take(0, [100]) is None
    assert window.take(30, [110]) == (10,)
    assert window.take(60, [111]) == (1,)
    assert window.difference(60).values == (11,)
    assert window.difference(60).full
    assert window.difference(90).values == (1,)


def test_a_counter_that_falls_has_begun_again_and_so_have_all_beside_it() -> None:
    window = CounterWindow(60)
    window.take(0, [100, 1000])
    assert window.take(30, [3, 1001]) == (3, 1001)
    assert window.difference(30).values == (3, 1001)


def test_another_process_began_at_nought_though_its_counters_are_higher() -> None:
    window = CounterWindow(60)
    window.take(0, [100], started_at=1.0)
    assert window.take(30, [150], started_at=2.0) == (150,)
    assert window.take(45, [160], started_at=2.0) == (10,)


def test_missed_polls_lose_nothing() -> None:
    often, seldom = CounterWindow(60), CounterWindow(60)
    for at in range(0, 61, 5):
        often.take(at, [at * at])
    for at in (0, 40, 60):
        seldom.take(at, [at * at])
    assert often.difference(60).values == seldom.difference(60).values


def test_a_reading_older_than_the_newest_is_left_out() -> None:
    window = CounterWindow(60)
    window.take(0, [0])
    window.take(20, [20])
    assert window.take(10, [10]) is None
    assert window.take(20, [20]) is None
    assert window.difference(20).values == (20,)


def test_after_a_gap_longer_than_the_window_it_begins_anew_and_the_detector_still_learns() -> None:
    window = CounterWindow(60)
    window.take(0, [0])
    assert window.take(100, [500]) == (500,)
    assert window.difference(100).values == (0,)
    assert not window.difference(100).full


def test_what_is_closer_than_a_thousandth_of_the_window_replaces_each_other() -> None:
    window = RunningTotals(1_024_000)
    for at in (0, 512, 1000, 1535, 1537, 2559):
        window.append(at, (float(at),))
    assert [at for at, _ in window._entries] == [0, 512, 1535, 1537, 2559]


def test_a_part_of_the_window_begins_with_the_reading_before_it() -> None:
    window = CounterWindow(60)
    for at, counted in ((-20, 0), (-10, 1), (0, 3), (10, 7), (20, 15)):
        window.take(at, [counted, 100])
    for since, values, seconds in (
        (20, (0, 0), 0),
        (15, (8, 0), 10),
        (10, (8, 0), 10),
        (9, (12, 0), 20),
        (-15, (15, 0), 40),
        (-20, (15, 0), 40),
        (-50, (15, 0), 40),
    ):
        found = window.difference(20, since)
        assert (found.values, found.seconds, found.full) == (values, seconds, False)
    assert window.difference(20) == window.difference(20, -50)
    assert window.difference(39).full is False
    assert window.difference(40).full is True
    assert window.difference(41).full is True
    assert window.difference(45, 15).values == (8, 0)


def test_what_the_last_counter_counted_is_told_alone() -> None:
    window = CounterWindow(60)
    assert window.last_counted(0) == 0
    for at, counted in ((0, [5, 10, 100]), (30, [6, 12, 107]), (60, [7, 13, 109])):
        window.take(at, counted)
    assert window.last_counted(60) == 9
    assert window.last_counted(90) == 2
    assert window.last_counted(500) == 0


def test_before_the_first_reading_and_long_after_the_last_there_is_nothing() -> None:
    window = CounterWindow(60)
    found = window.difference(5)
    assert (found.values, found.seconds, found.full) == ((), 0, False)
    window.take(0, [1])
    window.take(10, [9])
    found = window.difference(100)
    assert (found.values, found.seconds, found.full) == ((0,), 0, True)


def test_another_number_of_counters_begins_again() -> None:
    window = CounterWindow(60)
    window.take(0, [1, 2])
    assert window.take(10, [3]) is None
    assert window.take(20, [5]) == (2,)
    assert window.difference(20).values == (2,)
    assert window.take(30, [6, 7]) is None
    assert window.difference(30).values == (0, 0)


def test_a_process_that_began_earlier_by_its_clock_is_another_one_too() -> None:
    window = CounterWindow(60)
    window.take(0, [100], started_at=2.0)
    assert window.take(30, [150], started_at=1.0) == (150,)


def test_an_average_counts_each_moment_once() -> None:
    window = AverageWindow(60)
    average, found = window.average(0)
    assert (average, found.values, found.seconds, found.full) == (0, (0,), 0, False)
    for at, value in ((0, 1), (10, 5), (5, 99), (10, 99)):
        window.take(at, value)
    average, found = window.average(10)
    assert (average, found.values, found.seconds, found.full) == (5, (1,), 10, False)
    early = AverageWindow(60)
    for at, value in ((-20, 9), (-10, 3), (0, 5)):
        early.take(at, value)
    assert early.average(0) == (4, Difference((2,), 20, False))


def test_a_day_of_readings_every_second_takes_no_more_memory_than_its_resolution() -> None:
    window = RunningTotals(86_400)
    for at in range(86_400):
        window.append(at, (float(at),))
    assert len(window._entries) <= RESOLUTION * 1.02
    assert window.difference(86_400).values == (86_399,)


def test_an_average_may_fall_below_nought() -> None:
    window = AverageWindow(60)
    for at, value in ((0, 5.0), (10, -5.0), (20, 1.0)):
        window.take(at, value)
    assert window.average(20)[0] == pytest.approx(-2)


# ---- against raw events


@dataclass(frozen=True)
class History:
    """What really happened: events with their badness, restarts, and when somebody looked."""

    events: list[tuple[float, bool]]
    restarts: list[float]
    looks: list[float]

    def life(self, at: float) -> int:
        """Which process ran at this time."""
        return bisect.bisect_right(self.restarts, at)

    def counters(self, at: float) -> tuple[int, int]:
        seen = [bad for when, bad in self.events if when <= at and self.life(when) == self.life(at)]
        return sum(seen), len(seen)

    def in_window(self, seconds: float, now: float) -> tuple[int, int]:
        """(bad, total) that one could see happen in the window, from the events alone."""
        looks = [look for look in self.looks if look <= now]
        begin = max([look for look in looks if look <= now - seconds], default=looks[0])
        for before, after in itertools.pairwise(looks):
            if after - before > seconds:
                begin = max(begin, after)
        seen = []
        for when, bad in self.events:
            noticed = next((look for look in looks if look >= when), None)
            lost = noticed is None or self.life(when) != self.life(noticed)
            if not lost and noticed is not None and noticed > begin:
                seen.append(bad)
        return sum(seen), len(seen)


MOMENTS = st.integers(1, 400).map(lambda tick: tick * 2.5)


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Events fall between looks and restarts, never on them."""
    events = draw(st.lists(st.tuples(st.integers(0, 1999), st.booleans()), max_size=120))
    looks = draw(st.sets(MOMENTS, min_size=1, max_size=60))
    restarts = draw(st.sets(st.integers(0, 250).map(lambda tick: tick * 4 + 1.1), max_size=4))
    return History(sorted((tick / 2 + 0.3, bad) for tick, bad in events), sorted(restarts), sorted(looks))


THRESHOLDS = {"max_error_percentage": 20, "evaluation_window_minutes": 5, "min_sample_size": 5}


@settings(max_examples=300)
@given(histories(), st.data())
def test_verdicts_equal_the_recomputation_from_raw_events(history: History, data: st.DataObject) -> None:
    one = judge_of("error_rate", gate("error_rate", threshold=THRESHOLDS))
    shuffled = list(history.looks)
    if len(shuffled) > 2 and data.draw(st.booleans()):  # an answer that comes late, after a newer one
        late = data.draw(st.integers(1, len(shuffled) - 1))
        shuffled.append(shuffled.pop(late - 1))
        history = History(history.events, history.restarts, history.looks[: late - 1] + history.looks[late:])
    newest = 0.0
    for look in shuffled:
        bad, total = History(history.events, history.restarts, []).counters(look)
        one.take(service(look, errors=bad, requests=total, started_at=history.life(look)))
        newest = max(newest, look)
        bad, total = history.in_window(300, newest)
        verdict = one.verdict(newest, Decision.LITERAL)
        if total < 5:
            assert (verdict.outcome, verdict.samples) == (GateOutcome.INSUFFICIENT, total)
        else:
            assert verdict.value == pytest.approx(100 * bad / total)
            assert verdict.failed is (bad * 5 > total)


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 40)), min_size=1, max_size=40))
def test_the_detector_decides_exactly_when_some_stretch_up_to_now_is_conclusive(
    readings: list[tuple[int, int]],
) -> None:
    detector = RateDetector(0.05)
    gains: list[list[float]] = [[] for _ in weights(0.05)]
    for bad, good in readings:
        detector.take(bad, bad + good)
        conclusive = False
        for one, (for_bad, for_good) in zip(gains, weights(0.05), strict=True):
            one.append(bad * for_bad + good * for_good)
            conclusive |= any(sum(one[start:]) >= THRESHOLD - 1e-9 for start in range(len(one)))
        assert detector.evidence.conclusive is conclusive
        if conclusive:
            return  # from here on the sum is held, which is another test's matter


@given(
    st.lists(st.floats(0.001, 8), min_size=1, max_size=200),
    st.sampled_from([0.5, 0.9, 0.95, 0.99]),
)
def test_the_true_quantile_is_within_the_bound_and_over_an_edge_exactly_when_it_is(
    values: list[float], q: float
) -> None:
    found = quantile(q, EDGES, times(values).counts)
    assert found is not None
    true = sorted(values)[-(-round(q * len(values) * 1e6) // 1_000_000) - 1]
    assert found.low < true <= found.high
    for edge in EDGES:
        assert (found.value > edge) is (true > edge) or found.value == edge == found.low


@given(
    st.lists(st.tuples(st.integers(1, 40), st.floats(-1000, 1000)), min_size=1, max_size=60),
    st.integers(10, 200),
)
def test_an_average_equals_the_integral_of_what_was_read(
    readings: list[tuple[int, float]], seconds: int
) -> None:
    window, at, seen = AverageWindow(seconds), 0, [(0, 0.0)]
    window.take(0, 0.0)
    for step, value in readings:
        at += step
        window.take(at, value)
        if step > seconds:
            seen.clear()
        seen.append((at, value))
    begin = max((when for when, _ in seen if when <= at - seconds), default=seen[0][0])
    inside = [(when, value) for when, value in seen if when > begin]
    expected, before = 0.0, begin
    for when, value in inside:
        expected += value * (when - before)
        before = when
    average, found = window.average(at)
    assert found.values == (len(inside),)
    assert average == pytest.approx(expected / (at - begin) if at > begin else 0.0, abs=1e-6)
