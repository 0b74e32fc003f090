"""What gates are worth at the traffic that there is: said before it is needed."""

from guarded_rollout.config.terms import Source
from guarded_rollout.gates.estimate import Estimate, UsualTraffic, estimates
from guarded_rollout.gates.samples import Sample, Side
from tests.guarded_rollout.gatekit import shipped


def before(requests: float, failed: float) -> Sample:
    counters = {"requests_total": requests, "failed_total": failed}
    return Sample(Source.EDGE, 0.0, Side.BEFORE, counters=counters, started_at=1000.0)


def of(traffic: UsualTraffic) -> dict[str, Estimate]:
    return {one.gate: one for one in estimates(shipped("production"), traffic)}


def test_traffic_is_read_off_the_edges_log() -> None:
    assert UsualTraffic.of(before(600, 6), until=1600.0) == UsualTraffic(1.0, 0.01)
    assert UsualTraffic.of(before(0, 0), until=1600.0) is None


def test_few_requests_make_a_gate_a_coin_toss_and_it_says_what_helps() -> None:
    few, many = (of(UsualTraffic(rps, 0.03))["extraction_failure_rate"] for rps in (0.2, 20.0))
    assert few.false_share > 0.2
    assert "full_window_confidence 0.99" in few.words
    assert many.false_share < 0.02
    assert not many.advice
    assert many.seconds < few.seconds


def test_what_a_gate_would_hardly_see_is_said() -> None:
    found = of(UsualTraffic(0.001, 0.0))["client_error_rate"]
    assert found.words.endswith("see one that fails 30% hardly in one window")
    assert found.words.startswith("client_error_rate: would take back fewer than 1 of 200 of healthy")
