"""Gauges are differences of cumulative counters over their windows."""

from collections.abc import Callable
from socket import gethostname

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from dhash_service.facts import Outcome
from dhash_service.metrics import BUCKETS, GAUGES, Metrics, quantile


class ManualClock:
    """A clock that moves when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def metrics(clock: ManualClock) -> Metrics:
    return Metrics("test-1", clock)


@pytest.fixture
def wait(clock: ManualClock, metrics: Metrics) -> Callable[[float], None]:
    def pass_time(seconds: float) -> None:
        """Time passes, and somebody looks every few seconds, as a scrape or the timer does."""
        end = clock.now + seconds
        while clock.now < end:
            clock.now = min(end, clock.now + 5)
            metrics.tick()

    return pass_time


def test_nothing_happened_reads_as_zero(metrics: Metrics) -> None:
    gauges = metrics.gauges(queue_length=0)
    assert gauges.pop("memory_usage_percentage") > 0
    assert set(gauges.values()) == {0}


def test_the_failure_rate_leaves_out_what_callers_did_wrong(metrics: Metrics) -> None:
    metrics.count_image(Outcome.OK, 19)
    metrics.count_image(Outcome.FAILED)
    metrics.count_image(Outcome.REJECTED, 1000)
    assert metrics.gauges(0)["extraction_failure_rate"] == 5.0


def test_the_failure_rate_forgets_after_ten_minutes(metrics: Metrics, wait: Callable[[float], None]) -> None:
    metrics.count_image(Outcome.FAILED, 10)
    wait(590)
    metrics.count_image(Outcome.OK, 10)
    assert metrics.gauges(0)["extraction_failure_rate"] == 50.0
    wait(20)
    assert metrics.gauges(0)["extraction_failure_rate"] == 0.0


def test_the_error_rate_is_the_share_of_server_errors_over_five_minutes(
    metrics: Metrics, wait: Callable[[float], None]
) -> None:
    for code in (200, 201, 404, 500, 503):
        metrics.count_request("/api/dhash", code, 0.01)
    assert metrics.gauges(0)["error_rate"] == 40.0
    wait(310)
    metrics.count_request("/api/dhash", 200, 0.01)
    assert metrics.gauges(0)["error_rate"] == 0.0


def test_p95_looks_back_fifteen_minutes(
    metrics: Metrics, clock: ManualClock, wait: Callable[[float], None]
) -> None:
    def fingerprint(seconds: float, times: int = 20) -> None:
        for _ in range(times):
            with metrics.hashing():
                clock.now += seconds

    fingerprint(4.5)
    wait(800)
    fingerprint(0.011)
    assert 4000 < metrics.gauges(0)["p95_hash_time_ms"] <= 5000
    wait(200)
    assert 10 < metrics.gauges(0)["p95_hash_time_ms"] <= 12.5


@given(st.lists(st.floats(0.002, 60), min_size=1, max_size=200))
def test_a_quantile_is_within_its_bucket_of_the_exact_one(times: list[float]) -> None:
    cumulative = [float(sum(time <= edge for time in times)) for edge in (*BUCKETS, np.inf)]
    exact = float(np.quantile(times, 0.95, method="inverted_cdf"))
    found = quantile(0.95, cumulative)
    edges = (0.0, *BUCKETS)
    bucket = next(number for number, edge in enumerate(BUCKETS) if exact <= edge)
    assert edges[bucket] <= found <= edges[bucket + 1] * (1 + 1e-9)


def test_json_and_prometheus_say_the_same(metrics: Metrics) -> None:
    metrics.count_image(Outcome.OK, 3)
    metrics.count_image(Outcome.FAILED)
    metrics.count_request("/api/dhash", 500, 0.02)
    with metrics.hashing():
        pass
    answer = metrics.as_json(queue_length=7)
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.as_prometheus(queue_length=7).decode())
        for sample in family.samples
    }
    counters, histograms = answer["counters"], answer["histograms"]
    assert isinstance(counters, dict)
    assert isinstance(histograms, dict)
    assert counters["images_ok_total"] == samples["dhash_images_total", "ok"] == 3
    assert counters["images_failed_total"] == samples["dhash_images_total", "failed"] == 1
    assert counters["server_errors_total"] == samples["dhash_requests_total", "500", "/api/dhash"] == 1
    assert answer["low_confidence_queue_length"] == samples[("dhash_low_confidence_queue_length",)] == 7
    assert histograms["hash_seconds"]["count"] == samples[("dhash_hash_seconds_count",)] == 1
    assert histograms["hash_seconds"]["buckets"]["+Inf"] == 1
    assert samples["dhash_build_info", "test-1", gethostname()] == 1
    assert samples[("dhash_start_time_seconds",)] == answer["started_at"]


def test_the_history_stays_small_however_long_it_runs(metrics: Metrics, clock: ManualClock) -> None:
    for _ in range(2 * 3600 // 5):  # its window is a quarter of an hour
        clock.now += 5
        metrics.tick()
    assert len(metrics._history) <= 900 / 5 + 2


def test_each_gauge_says_whether_it_is_this_replicas_or_the_stores(metrics: Metrics) -> None:
    told = {
        family.name: family.documentation
        for family in text_string_to_metric_families(metrics.as_prometheus(queue_length=7).decode())
    }
    of_the_store = [name for name, said in told.items() if "the same on every replica" in said]
    assert of_the_store == ["dhash_low_confidence_queue_length"]
    assert set(metrics.gauges(7)) == set(GAUGES)
