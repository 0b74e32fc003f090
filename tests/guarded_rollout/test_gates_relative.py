"""Candidate beside stable, as shipped: what is judged, what only alerts, what a healthy release may do."""

from dataclasses import replace
from typing import Any

import pytest

from guarded_rollout.config.gates import EnvironmentGates, QualityGates
from guarded_rollout.config.terms import Action
from guarded_rollout.gates.panel import Change
from guarded_rollout.gates.replay import Replay, replay
from guarded_rollout.gates.samples import Histogram, Recording, Side
from guarded_rollout.gates.verdict import News
from guarded_rollout.monitor.recordings import Drawn, Fault, recording
from tests.guarded_rollout.gatekit import shipped

OURS = ("relative_", "different_")
TRENDS = ("memory_trend", "descriptor_trend", "thread_trend", "disk_trend", "time_trend")


def gates(*prefixes: str) -> EnvironmentGates:
    """Those of the shipped gates of production whose names begin so."""
    environment = shipped("production")
    kept: dict[str, Any] = {
        name: gate
        for name, gate in environment.quality_gates.enabled()
        if name.startswith(prefixes) or name in prefixes
    }
    return environment.model_copy(update={"quality_gates": QualityGates(**kept)})


def judged(drawn: Drawn, *prefixes: str) -> Replay:
    return replay(gates(*prefixes), recording(drawn))


def failed(found: Replay, action: Action) -> list[Change]:
    return [one for one in found.changes if one.news is News.FAILED and action in one.actions]


@pytest.mark.parametrize("rps", [0.2, 15.0])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_healthy_release_is_let_be(rps: float, seed: int) -> None:
    found = judged(Drawn(rps, seconds=400, seed=seed), *OURS, *TRENDS)
    assert [one.verdict.reason for one in found.changes if one.news is News.FAILED] == []


@pytest.mark.parametrize(
    ("fault", "gate", "within"),
    [
        (Fault(failing=0.1), "relative_failures", 60),
        (Fault(slower=3), "relative_median_time", 180),
        (Fault(burning=1.0), "relative_cpu", 180),
        (Fault(leaking=1e6), "memory_trend", 180),
        (Fault(leaving_open=1.0), "descriptor_trend", 180),
        (Fault(differing=0.3), "different_answers", 60),
        (Fault(differing=0.1), "different_answers", 90),
        (Fault(slowing=0.05), "relative_median_time", 240),
    ],
)
def test_what_a_release_does_wrong_takes_it_back(fault: Fault, gate: str, within: float) -> None:
    found = judged(Drawn(15, fault, seconds=within), gate)
    assert found.rolled_back_at is not None
    assert {one.verdict.gate for one in failed(found, Action.AUTO_ROLLBACK)} == {gate}


def test_a_third_slower_alerts_and_is_let_be() -> None:
    found = judged(Drawn(15, Fault(slower=1.5), seconds=400), "relative_median_time")
    assert failed(found, Action.ALERT)
    assert not failed(found, Action.AUTO_ROLLBACK)


def test_a_release_that_works_alone_is_held_against_what_stable_was_before() -> None:
    alone = recording(Drawn(15, Fault(slower=2.5), seconds=200, control=0))
    found = replay(gates("relative_median_time"), alone)
    assert found.rolled_back_at is not None
    later = replace(alone, samples=tuple(one for one in alone.samples if one.side is not Side.BEFORE))
    without = replay(gates("relative_median_time"), later)
    assert without.rolled_back_at is None or without.rolled_back_at > found.rolled_back_at


@pytest.mark.parametrize("slower", [1.0, 1.4])
def test_what_slows_the_machine_is_not_held_against_the_candidate(slower: float) -> None:
    """Both are three times as slow as stable was before the rollout, and the candidate a little more."""
    before = next(one for one in recording(Drawn(15)).samples if one.side is Side.BEFORE)
    both = recording(Drawn(15, Fault(slower=slower), seconds=600))
    quick = replace(before, histograms={name: _third(one) for name, one in before.histograms.items()})
    samples = (quick, *(one for one in both.samples if one.side is not Side.BEFORE))
    found = replay(gates("relative_median_time"), Recording(samples, 0.0, 60.0))
    assert not failed(found, Action.AUTO_ROLLBACK)


def _third(histogram: Histogram) -> Histogram:
    """The same counts, five buckets lower: about a third of the time."""
    return replace(histogram, counts=(*histogram.counts[5:], *[histogram.counts[-1]] * 5))
