"""What judging costs: little, and no more for a longer window."""

import time
from dataclasses import replace

from guarded_rollout.gates.judges import judge_of
from guarded_rollout.gates.samples import Histogram, Sample
from tests.guarded_rollout.gatekit import gate, probe, proxy, service, shipped

FIFTY = tuple(round(0.001 * 1.25**n, 6) for n in range(50))


def stream(seconds: int) -> list[Sample]:
    """What a window of 5 s samples brings, with a histogram of fifty buckets as the service has."""
    samples = []
    for at in range(0, seconds, 5):
        counts = tuple(float(min(at, at * n // 20)) for n in range(50))
        histogram = Histogram((*FIFTY, float("inf")), (*counts, float(at)))
        one = service(
            at,
            images_ok=at,
            images_failed=at // 100,
            requests=at,
            histogram=histogram,
            low_confidence_queue_length=1,
            memory_usage_percentage=50,
        )
        samples += [one, proxy(at, at // 100, at), probe(at)]
    return samples


def cost_of_all(seconds: int) -> float:
    """Seconds for a reading and the verdicts of every shipped gate after ``seconds``; the best of 50."""
    judges = [judge_of(name, one) for name, one in shipped("production").quality_gates.enabled()]
    for sample in stream(seconds):
        for one in judges:
            one.take(sample)
    best = float("inf")
    last = stream(seconds + 5)[-3:]
    for round_ in range(50):
        now = seconds + round_ * 5
        samples = [replace(sample, at=now) for sample in last]
        begin = time.process_time()
        for sample in samples:
            for one in judges:
                one.take(sample)
        for one in judges:
            one.verdict(now)
        best = min(best, time.process_time() - begin)
    return best


def test_all_gates_after_an_hour_cost_what_they_cost_after_six_minutes() -> None:
    """Ten times the readings; what would keep and read them all again would cost ten times as much."""
    assert cost_of_all(3600) < 4 * cost_of_all(360)


def cost(minutes: float) -> float:
    """Seconds for a reading and a verdict, once the window is full; the best of some."""
    threshold = {"max_error_percentage": 5, "evaluation_window_minutes": minutes, "min_sample_size": 1}
    one = judge_of("error_rate", gate("error_rate", threshold=threshold))
    for at in range(0, round(minutes * 60), 5):
        one.take(service(at, errors=at // 50, requests=at))
    begin_at = round(minutes * 60)
    best = float("inf")
    for batch in range(20):
        begin = time.process_time()
        for step in range(50):
            at = begin_at + (batch * 50 + step) * 5
            one.take(service(at, errors=at // 50, requests=at))
            one.verdict(at)
        best = min(best, time.process_time() - begin)
    return best / 50


def test_a_window_240_times_as_long_costs_no_more() -> None:
    assert cost(1440) < 8 * cost(6)  # what reads its whole window again would cost 240 times as much
