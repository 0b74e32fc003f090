"""What judging costs: little, and no more for a longer window."""

import statistics
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


def test_all_gates_over_an_hour_of_readings_are_evaluated_within_two_milliseconds() -> None:
    judges = [judge_of(name, one) for name, one in shipped("production").quality_gates.enabled()]
    for sample in stream(3600):
        for one in judges:
            one.take(sample)
    spent = []
    for round_ in range(50):
        now = 3600 + round_ * 5
        samples = [replace(sample, at=now) for sample in stream(3605)[-3:]]
        begin = time.perf_counter()
        for sample in samples:
            for one in judges:
                one.take(sample)
        for one in judges:
            one.verdict(now)
        spent.append(time.perf_counter() - begin)
    assert statistics.median(spent) <= 0.002


def cost(minutes: float) -> float:
    """Seconds for a reading and a verdict, once the window is full; the best of some."""
    threshold = {"max_error_percentage": 5, "evaluation_window_minutes": minutes, "min_sample_size": 1}
    one = judge_of("error_rate", gate("error_rate", threshold=threshold))
    for at in range(0, round(minutes * 60), 5):
        one.take(service(at, errors=at // 50, requests=at))
    begin_at = round(minutes * 60)
    best = float("inf")
    for batch in range(20):
        begin = time.perf_counter()
        for step in range(50):
            at = begin_at + (batch * 50 + step) * 5
            one.take(service(at, errors=at // 50, requests=at))
            one.verdict(at)
        best = min(best, time.perf_counter() - begin)
    return best / 50


def test_a_window_240_times_as_long_costs_no_more() -> None:
    assert cost(1440) < 2 * cost(6)
