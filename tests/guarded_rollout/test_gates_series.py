"""The lines of a chart are what the judges say, for both sides."""

from dataclasses import replace

from guarded_rollout.gates.samples import Sample, Side
from guarded_rollout.gates.series import GateSeries, Point
from tests.guarded_rollout.gatekit import judge, probe, service, shipped

GATES = dict(shipped("production").quality_gates.enabled())
RATE = "extraction_failure_rate"


def readings(side: Side, share: float) -> list[Sample]:
    """Ten minutes of a service that fails this share of its pictures."""
    return [
        service(at, images_ok=at * 10 * (1 - share), images_failed=at * 10 * share, side=side)
        for at in range(0, 601, 5)
    ]


def points(samples: list[Sample]) -> list[Point]:
    series = GateSeries(GATES.items(), 0.0)
    ordered = sorted(samples, key=lambda sample: sample.at)
    return [point for sample in ordered for point in series.take(sample)]


def last(found: list[Point], gate: str, side: Side) -> Point:
    return [one for one in found if one.verdict.gate == gate and one.side is side][-1]


def test_each_point_of_the_candidate_is_the_gates_own_verdict() -> None:
    samples = readings(Side.CANDIDATE, 0.02)
    found = points(samples + readings(Side.STABLE, 0.5))
    for point in found:
        if point.verdict.gate == RATE and point.side is Side.CANDIDATE:
            heard = [sample for sample in samples if sample.at <= point.at]
            assert point.verdict == judge(RATE, GATES[RATE], heard, point.at)


def test_stable_is_measured_as_if_it_were_judged() -> None:
    stable = readings(Side.STABLE, 0.01)
    found = points(readings(Side.CANDIDATE, 0.3) + stable)
    as_judged = [replace(sample, side=Side.CANDIDATE) for sample in stable]
    assert last(found, RATE, Side.STABLE).verdict == judge(RATE, GATES[RATE], as_judged, 600)
    assert last(found, RATE, Side.CANDIDATE).verdict.failed


def test_probes_and_comparisons_have_one_line() -> None:
    found = points([probe(1.0), probe(2.0, ok=False)])
    assert {(point.verdict.gate, point.side) for point in found} == {("health", Side.CANDIDATE)}
    assert [point.verdict.value for point in found] == [0, 1]
