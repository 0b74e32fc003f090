"""Trends: a leak is seen well before its limit, and a new process may warm up."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from guarded_rollout.config.terms import Action, Source
from guarded_rollout.gates.judges import Judge, judge_of
from guarded_rollout.gates.judges.trend import Slope, slope_of
from guarded_rollout.gates.samples import Histogram, Sample, Side
from guarded_rollout.gates.verdict import GateOutcome, Verdict
from tests.guarded_rollout.gatekit import edge, gate, times

LIMIT = 1024.0


def reading(at: float, level: float, side: Side = Side.CANDIDATE) -> Sample:
    return Sample(Source.SYSTEM, at, side, gauges={"descriptors": level, "descriptors_limit": LIMIT})


def trend() -> Judge:
    own = gate("leak", kind="trend", metric="descriptors", limit_metric="descriptors_limit")
    return judge_of("leak", own)


def judged(slope: float, *, stable: float | None = 0.0, seconds: int = 180) -> dict[Action, GateOutcome]:
    """The verdicts after the candidate has grown by so much a second from 100, stable by `stable`."""
    one = trend()
    for at in range(0, seconds, 5):
        one.take(reading(at, 100 + slope * at + at % 3))
        if stable is not None:
            one.take(reading(at, 100 + stable * at + at % 2, Side.STABLE))
    return {action: verdict.outcome for action, verdict in one.by_action(seconds).items()}


def test_a_leak_that_stable_does_not_have_rolls_back() -> None:
    assert judged(0.5)[Action.AUTO_ROLLBACK] is GateOutcome.FAIL


def test_a_slow_leak_alerts_before_it_is_large_beside_stable() -> None:
    assert judged(0.2) == {Action.ALERT: GateOutcome.FAIL, Action.AUTO_ROLLBACK: GateOutcome.PASS}


def test_growth_that_stable_has_as_well_is_no_leak_of_the_candidate() -> None:
    assert judged(0.5, stable=0.5) == dict.fromkeys(Action, GateOutcome.PASS)


def test_what_is_used_up_before_there_is_time_to_return_rolls_back_whatever_stable_does() -> None:
    assert judged(4.5, stable=4.5)[Action.AUTO_ROLLBACK] is GateOutcome.FAIL


def test_without_a_stable_release_a_young_process_is_let_be() -> None:
    assert judged(0.5, stable=None) == dict.fromkeys(Action, GateOutcome.PASS)
    alone = judged(0.3, stable=None, seconds=1200)
    assert alone == {Action.ALERT: GateOutcome.FAIL, Action.AUTO_ROLLBACK: GateOutcome.PASS}


def timed(*, grown: float, stable: float, requests: int = 25) -> dict[Action, GateOutcome]:
    """The verdicts after so many requests in each of 40 readings, whose times grow to these seconds."""
    own = TIMES | {"threshold": {"max_value": 4, "min_growth": 0.05}}
    one = judge_of("slower", gate("slower", kind="trend", **own))
    spent: dict[Side, list[float]] = {Side.CANDIDATE: [], Side.STABLE: []}
    for turn in range(40):
        for side, end in ((Side.STABLE, stable), (Side.CANDIDATE, grown)):
            middle = 0.1 + (end - 0.1) * turn / 39
            spent[side] += [middle * (0.5 + number / requests) for number in range(requests)]
            one.take(edge(5.0 * turn, side, requests=len(spent[side]), seconds=times(spent[side])))
    return {action: verdict.outcome for action, verdict in one.by_action(200).items()}


def test_answers_that_take_longer_and_longer_roll_back_unless_stables_do_too() -> None:
    assert timed(grown=0.6, stable=0.1) == dict.fromkeys(Action, GateOutcome.FAIL)
    assert timed(grown=0.6, stable=0.6) == dict.fromkeys(Action, GateOutcome.PASS)
    assert timed(grown=0.1, stable=0.1) == dict.fromkeys(Action, GateOutcome.PASS)


def test_a_few_answers_at_a_time_are_no_readings_of_their_own() -> None:
    assert timed(grown=0.6, stable=0.1, requests=2) == dict.fromkeys(Action, GateOutcome.INSUFFICIENT)


@pytest.mark.parametrize(
    "given",
    [
        {"metric": "threads"},
        {"histogram": "seconds"},
        {"metric": "threads", "limit_metric": "most", "histogram": "seconds", "threshold": {"max_value": 1}},
    ],
)
def test_a_trend_follows_one_thing_to_its_limit(given: dict[str, object]) -> None:
    with pytest.raises(AssertionError, match="follows a metric to its limit_metric, or a histogram"):
        gate("odd", kind="trend", **given)


def test_a_process_that_warms_up_is_let_be() -> None:
    one = trend()
    for at in range(0, 600, 5):
        one.take(reading(at, 300 - 200 * math.exp(-at / 40)))
        one.take(reading(at, 310, Side.STABLE))
        assert not any(verdict.failed for verdict in one.by_action(at).values())


def test_few_readings_say_nothing() -> None:
    assert judged(5, seconds=40)[Action.ALERT] is GateOutcome.INSUFFICIENT


@pytest.mark.parametrize("noise", [0.0, 5.0])
def test_a_slope_lies_in_its_range(noise: float) -> None:
    found = slope_of([(at, 10 + 2.0 * at + noise * (-1) ** at) for at in range(240)])
    assert found is not None
    assert found.low <= 2.0 + 1e-9
    assert found.value + found.error >= 2.0 - 1e-9
    assert found.steady


def test_a_step_is_no_slope() -> None:
    found = slope_of([(at, 100.0 if at < 120 else 200.0) for at in range(240)])
    assert found is not None
    assert found.low <= 0


# ---- worked out by hand


PASS, FAIL, INSUFFICIENT = GateOutcome.PASS, GateOutcome.FAIL, GateOutcome.INSUFFICIENT


def slope(levels: Iterable[float]) -> Slope:
    """The slope of what was read every second."""
    found = slope_of(list(enumerate(levels)))
    assert found is not None
    return found


def test_a_line_is_found_as_it_is() -> None:
    assert slope(10.0 + 2 * at for at in range(24)) == Slope(2.0, 0.0, True, 23, 55.0, 44.0)
    assert slope(100.0 - at for at in range(12)) == Slope(-1.0, 0.0, False, 11, 89.0, -11.0)


def test_twelve_readings_at_different_times_make_a_slope() -> None:
    assert slope_of([(at, 1.0) for at in range(11)]) is None
    assert slope_of([(at, 1.0) for at in range(12)]) is not None
    assert slope_of([(5, float(level)) for level in range(12)]) is None
    assert slope_of([(at / 20, 1.0) for at in range(12)]) is not None


def test_the_error_is_eight_deviations_of_the_line_through_twelve_averages() -> None:
    random = np.random.default_rng(5)
    x, y = 100 + np.arange(31.0) * 5, random.normal(100, 3, 31)
    blocks = [slice(31 * n // 12, 31 * (n + 1) // 12) for n in range(12)]
    at, level = (np.array([values[block].mean() for block in blocks]) for values in (x, y))
    (value, _), ((deviation, _), _) = np.polyfit(at, level, 1, cov=True)
    found = slope_of([*zip(x.tolist(), y.tolist(), strict=True)])
    assert found is not None
    assert (found.value, found.error) == (pytest.approx(value), pytest.approx(8 * math.sqrt(deviation)))
    assert (found.low, found.seconds) == (pytest.approx(value - found.error), 150)


@pytest.mark.parametrize(
    ("thirds", "steady"),
    [
        ((0, 10, 16), True),
        ((0, 10, 15.9), False),
        ((0, 0, 5), False),
        ((0, 0.5, 1), True),
        ((5, 0, 9), False),
    ],
)
def test_growth_is_steady_if_the_later_is_three_fifths_of_the_earlier(thirds: Any, steady: bool) -> None:
    assert slope(level for level in thirds for _ in range(4)).steady is steady


def test_twice_as_fast_is_so_beyond_the_errors_of_both() -> None:
    def of(value: float, error: float) -> Slope:
        return Slope(value, error, True, 100, 1, 1)

    assert not of(2, 0).at_least_twice(of(1, 0))
    assert of(2.1, 0).at_least_twice(of(1, 0))
    assert not of(12, 6).at_least_twice(of(1, 4))  # 5 is no more than √(3² + 4²)
    assert of(12, 5.9).at_least_twice(of(1, 4))
    assert of(12, 6).at_least_twice(of(1, 3.9))


def led(
    *levels: float,
    stable: Iterable[float] = (),
    limit: float = LIMIT,
    step: float = 1,
    unit: str = "",
    scale: float = 1,
    **threshold: float,
) -> dict[Action, Verdict]:
    """The verdicts after these readings of the candidate, and of a stable that may grow to 5000."""
    metrics = {"metric": "descriptors", "limit_metric": "descriptors_limit"}
    own = gate("leak", kind="trend", unit=unit, scale=scale, threshold=threshold, **metrics)
    one = judge_of("leak", own)
    for turn, level in enumerate(levels):
        gauges = {"descriptors": level, "descriptors_limit": limit}
        one.take(Sample(Source.SYSTEM, turn * step, gauges=gauges))
    for turn, level in enumerate(stable):
        gauges = {"descriptors": level, "descriptors_limit": 5000}
        one.take(Sample(Source.SYSTEM, turn * step, Side.STABLE, gauges=gauges))
    return one.by_action(len(levels) * step)


def outcomes(*levels: float, **given: Any) -> list[GateOutcome]:
    """Of the alert and of the rollback."""
    verdicts = led(*levels, **given)
    return [verdicts[action].outcome for action in (Action.ALERT, Action.AUTO_ROLLBACK)]


LINE = tuple(float(at) for at in range(89, 101))  # to 100, one a second


def test_what_is_used_up_within_the_time_to_return_rolls_back() -> None:
    assert outcomes(*LINE, limit=220) == [FAIL, FAIL]
    assert outcomes(*LINE, limit=220.01) == [PASS, PASS]
    assert outcomes(*LINE, limit=280, return_minutes=3) == [FAIL, FAIL]


def test_what_is_used_up_after_the_horizon_is_no_concern() -> None:
    still = [10.0] * 12
    assert outcomes(*LINE, stable=still, limit=100 + 86400) == [FAIL, FAIL]
    assert outcomes(*LINE, stable=still, limit=100 + 86400.1) == [PASS, PASS]
    assert outcomes(*LINE, stable=still, limit=100 + 3600, horizon_hours=1) == [FAIL, FAIL]
    assert outcomes(*LINE, stable=still, limit=100 + 3600.1, horizon_hours=1) == [PASS, PASS]
    faster = [2 * level for level in LINE]
    assert outcomes(*faster, stable=still, limit=200 + 7200, horizon_hours=1) == [FAIL, FAIL]
    assert outcomes(*faster, stable=still, limit=200 + 7200.1, horizon_hours=1) == [PASS, PASS]
    assert "used up in 2 h;" in led(*faster, stable=still, limit=200 + 14400)[Action.ALERT].reason


def test_a_leak_is_judged_by_how_far_above_stable_it_has_come() -> None:
    assert outcomes(*LINE, stable=[50.0] * 12, times_stable=2) == [FAIL, PASS]
    assert outcomes(*LINE, stable=[49.9] * 12, times_stable=2) == [FAIL, FAIL]
    assert outcomes(*LINE, stable=[95.0] * 12) == [PASS, PASS]
    assert outcomes(*LINE, stable=[90.0] * 12) == [FAIL, PASS]
    assert outcomes(*LINE, stable=[*[90.0] * 11, 50.0]) == [PASS, PASS]  # who knows what that one does
    assert outcomes(*LINE, stable=[10.0] * 11) == [PASS, PASS]
    found = led(*LINE, stable=[*[10.0] * 11, 10.2])[Action.ALERT]
    assert found.reason.endswith("; stable does not grow so, and stands at 10.2")
    assert led(*LINE, stable=[10.0] * 11)[Action.ALERT].reason.endswith("; stable grows as well")


def test_alone_it_alerts_after_a_quarter_of_an_hour() -> None:
    ages = [100.0 + turn for turn in range(13)]
    assert outcomes(*ages, step=75) == [FAIL, PASS]
    assert outcomes(*ages, step=74.95) == [PASS, PASS]
    assert led(*ages)[Action.ALERT].reason.endswith("; there is no stable release to compare it with")


def test_less_growth_than_matters_is_none() -> None:
    assert outcomes(*LINE, limit=220, min_growth=11) == [FAIL, FAIL]
    assert outcomes(*LINE, limit=220, min_growth=11.1) == [PASS, PASS]


def test_growth_within_its_error_is_none() -> None:
    wavering = [level + 2 * (-1) ** turn for turn, level in enumerate(LINE)]
    found = slope(wavering)
    assert -1 < found.low <= 0 < found.value
    assert found.steady
    assert outcomes(*wavering, limit=220) == [PASS, PASS]


def test_a_trend_is_told_in_its_unit_with_when_it_ends() -> None:
    found = led(*LINE, stable=[10.0] * 12, limit=1100, unit="k", scale=0.001)[Action.ALERT]
    assert found.reason == (
        "descriptors is 0.1 k of 1.1 k, and grows by 3.6 k an hour (at least 3.6 k): used up in 16 min 40 s;"
        " stable does not grow so, and stands at 0.01 k"
    )
    assert found.value == pytest.approx(100 * 100 / 1100)
    assert (found.limit, found.unit, found.samples, found.needed) == (100, "%", 12, 12)
    assert found.conclusive
    calm = led(*[5.0] * 12)[Action.ALERT]
    assert (calm.reason, calm.conclusive) == ("descriptors is 5 of 1024 and does not grow steadily", False)
    over = led(*LINE, limit=90)[Action.ALERT]
    assert over.reason.endswith("used up in 0 s")
    assert led(1.0)[Action.ALERT].reason == "too few readings for a trend"


def test_without_a_limit_there_is_no_trend() -> None:
    one = trend()
    for at in range(24):
        one.take(Sample(Source.SYSTEM, at, gauges={"descriptors": 100.0 + at}))
    assert one.verdict(24).outcome is INSUFFICIENT
    assert trend().take(Sample(Source.SYSTEM, 0, Side.BEFORE)) is False


def test_what_is_not_published_is_named() -> None:
    one, timed_ = trend(), judge_of("slower", gate("slower", kind="trend", **TIMES))
    one.take(Sample(Source.SYSTEM, 5))
    timed_.take(edge(5, requests=0))
    assert one.verdict(5).reason == "no data for 5 s: descriptors is not published"
    assert timed_.verdict(5).reason == "no data for 5 s: seconds is not published"


def test_an_hour_of_readings_is_kept_and_of_many_every_second() -> None:
    one = trend()
    one.take(reading(0, 1))
    one.take(reading(3600, 1))
    assert one.verdict(3600).samples == 2
    one.take(reading(3600.5, 1))
    assert one.verdict(3601).samples == 2
    many = trend()
    for at in range(1024):
        many.take(reading(at, 1))
    assert many.verdict(1024).samples == 1024
    many.take(reading(1024, 1))
    assert many.verdict(1025).samples == 513


TIMES = {"source": "edge", "histogram": "seconds", "threshold": {"max_value": 4}}


def test_a_reading_of_times_is_twenty_values_that_came_since_of_the_same_process() -> None:
    one = judge_of("slower", gate("slower", kind="trend", **TIMES))

    def points(at: float, values: int, *, edges: tuple[float, ...] | None = None) -> float:
        seconds = times([0.2] * values) if edges is None else Histogram(edges, (values,) * len(edges))
        one.take(edge(at, requests=values, seconds=seconds))
        return one.verdict(at).samples

    assert points(0, 100) == 0, "what was counted before it is nobody's"
    assert points(5, 119) == 0
    assert points(10, 120) == 1
    assert points(15, 139) == 1
    assert points(20, 30) == 1, "another process began to count"
    assert points(25, 50) == 2
    assert points(30, 70, edges=(1.0, math.inf)) == 2
    assert points(35, 90, edges=(1.0, math.inf)) == 3
    assert points(40, 110) == 3, "other edges again"
    assert points(45, 130) == 4


def test_times_beyond_the_last_edge_are_values_as_well() -> None:
    one = judge_of("slower", gate("slower", kind="trend", **TIMES))
    for turn in range(4):
        one.take(edge(5.0 * turn, requests=20 * turn, seconds=times([9.0] * 20 * turn)))
    assert one.verdict(15).samples == 3
    for at, values in ((20, 30), (25, 50)):  # of another process
        one.take(edge(at, requests=values, seconds=times([0.2] * values)))
    assert one.verdict(25).samples == 4


def test_the_growth_of_times_is_that_of_their_quantile() -> None:
    own = TIMES | {"quantile": 0.9}
    one, values = judge_of("slower", gate("slower", kind="trend", **own)), list[float]()
    one.take(edge(0, requests=0, seconds=times(values)))
    for turn in range(1, 13):
        values += [0.05] * 17 + [1.5] * 3  # of twenty the eighteenth is between 1 and 2 s
        one.take(edge(5.0 * turn, requests=len(values), seconds=times(values)))
    assert one.verdict(60).value == pytest.approx(100 * (1 + 1 / 3) / 4)
    assert one.verdict(60).reason.startswith("the 0.9 quantile of seconds is 1.333 of 4 and does not grow")
