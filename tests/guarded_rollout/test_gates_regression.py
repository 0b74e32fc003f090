"""Candidate against stable over the same time: twice as bad is caught under any absolute limit."""

from typing import Any

import numpy as np
import pytest

from guarded_rollout.config.kinds import Gate
from guarded_rollout.config.terms import Source
from guarded_rollout.gates.judges import Judge, judge_of
from guarded_rollout.gates.samples import SIDES, Histogram, Sample, Side
from guarded_rollout.gates.verdict import GateOutcome
from tests.guarded_rollout.gatekit import EDGES, gate, service, times

THRESHOLD = {"max_ratio": 1, "evaluation_window_minutes": 10, "min_sample_size": 50}


def rates(numerator: str, *others: str, **extra: Any) -> Gate:
    return gate(
        "worse",
        kind="regression",
        numerator=[numerator],
        denominator=[numerator, *others],
        threshold=THRESHOLD,
        **extra,
    )


def watched(one: Judge, mine: float, stable: float, *, counter: str, seconds: int = 600) -> GateOutcome:
    """The verdict after both sides had 10 images a second, of which these shares went to the counter."""
    random = np.random.default_rng(5)
    bad = {Side.CANDIDATE: 0, Side.STABLE: 0}
    for at in range(0, seconds + 1, 5):
        for side, share in zip(SIDES, (mine, stable), strict=True):
            bad[side] += int(random.binomial(50, share)) if at else 0
            one.take(service(at, side=side, images_ok=at * 10 - bad[side], **{counter: bad[side]}))
        if one.verdict(at).failed:
            return GateOutcome.FAIL
    return one.verdict(seconds).outcome


def test_twice_the_failures_are_caught_under_the_absolute_limit() -> None:
    own = rates("images_failed_total", "images_ok_total")
    assert watched(judge_of("worse", own), 0.03, 0.01, counter="images_failed") is GateOutcome.FAIL
    assert watched(judge_of("worse", own), 0.01, 0.01, counter="images_failed") is GateOutcome.PASS


def test_a_share_of_rejected_files_that_rises_is_caught() -> None:
    own = rates("images_rejected_total", "images_ok_total")
    assert watched(judge_of("worse", own), 0.10, 0.04, counter="images_rejected") is GateOutcome.FAIL
    assert watched(judge_of("worse", own), 0.04, 0.04, counter="images_rejected") is GateOutcome.PASS


def test_without_traffic_for_stable_there_is_nothing_to_say() -> None:
    one = judge_of("worse", rates("images_failed_total", "images_ok_total"))
    for at in range(0, 601, 5):
        one.take(service(at, images_failed=at, images_ok=at))
        one.take(service(at, side=Side.STABLE))
    verdict = one.verdict(600)
    assert verdict.outcome is GateOutcome.INSUFFICIENT
    assert verdict.reason == "stable had no traffic over 10 min: there is nothing to compare"


def test_a_stopped_stable_is_no_silence_of_the_candidate() -> None:
    one = judge_of("worse", rates("images_failed_total", "images_ok_total"))
    one.take(service(5))
    one.take(Sample(Source.SERVICE, 5, Side.STABLE, problem="connection refused"))
    assert one.verdict(5).outcome is GateOutcome.INSUFFICIENT
    one.take(Sample(Source.SERVICE, 10, Side.CANDIDATE, problem="connection refused"))
    assert one.verdict(10).outcome is GateOutcome.NO_DATA


def compared(mine: list[float], stable: list[float]) -> GateOutcome:
    own = gate("slower", kind="regression", histogram="hash_seconds", threshold=THRESHOLD)
    one = judge_of("slower", own)
    for at in range(0, 601, 60):
        for side, values in ((Side.CANDIDATE, mine), (Side.STABLE, stable)):
            one.take(service(at, side=side, histogram=times(values[: len(values) * at // 600])))
    return one.verdict(600).outcome


def test_a_slower_candidate_fails_only_where_the_ranges_are_apart() -> None:
    fast, slow = [0.05] * 1000, [0.7] * 1000
    assert compared(slow, fast) is GateOutcome.FAIL
    assert compared(fast, fast) is GateOutcome.PASS
    assert compared(fast, slow) is GateOutcome.PASS
    assert compared([0.09] * 1000, fast) is GateOutcome.PASS  # within one bucket nobody can tell
    assert compared(slow[:49], fast) is GateOutcome.INSUFFICIENT


def test_few_slow_values_among_few_are_chance() -> None:
    mostly_fast = [0.05] * 56 + [0.7] * 4
    assert compared(mostly_fast, [0.05] * 1000) is GateOutcome.PASS


def test_histograms_with_other_buckets_are_not_compared() -> None:
    own = gate("slower", kind="regression", histogram="hash_seconds", threshold=THRESHOLD)
    one = judge_of("slower", own)
    other = Histogram((*EDGES[:-2], EDGES[-1]), (0.0,) * 7)
    for at in range(0, 601, 60):
        one.take(service(at, histogram=times([5.0] * at)))
        one.take(service(at, side=Side.STABLE, histogram=other))
    assert one.verdict(600).outcome is GateOutcome.INSUFFICIENT


@pytest.mark.parametrize("missing", ["numerator", "denominator", "both"])
def test_a_regression_gate_compares_one_thing(missing: str) -> None:
    given = {"numerator": ["a"], "denominator": ["b"]}
    given.pop(missing, None)
    extra = {"histogram": "h"} if missing == "both" else {}
    with pytest.raises(AssertionError, match=r"one of the (two|four)"):
        gate("worse", kind="regression", threshold=THRESHOLD, **given, **extra)
