"""Trends: a leak is seen well before its limit, and a new process may warm up."""

import math

import pytest

from guarded_rollout.config.terms import Action, Source
from guarded_rollout.gates.judges import Judge, judge_of
from guarded_rollout.gates.judges.trend import slope_of
from guarded_rollout.gates.samples import Sample, Side
from guarded_rollout.gates.verdict import GateOutcome
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
    own = {"source": "edge", "histogram": "seconds", "threshold": {"max_value": 4, "min_growth": 0.05}}
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
