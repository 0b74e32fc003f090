"""Every row of the contract's gate table: both sides of the limit, at it, too few samples, half a window."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from guarded_rollout.config.kinds import Gate
from guarded_rollout.config.terms import Action, Decision, Source
from guarded_rollout.gates.detector import RateDetector
from guarded_rollout.gates.judges import Judge, judge_of
from guarded_rollout.gates.judges.base import percent
from guarded_rollout.gates.samples import Histogram, Sample, Side
from guarded_rollout.gates.verdict import IN_A_ROW, GateOutcome, Verdict
from tests.guarded_rollout.gatekit import EDGES, gate, judge, probe, proxy, service, shipped_gate, times

PASS, FAIL = GateOutcome.PASS, GateOutcome.FAIL
INSUFFICIENT, NO_DATA = GateOutcome.INSUFFICIENT, GateOutcome.NO_DATA

Rate = tuple[str, str, float, float, int]
RATES: list[Rate] = [  # environment, gate, limit in percent, window in seconds, smallest sample
    ("production", "extraction_failure_rate", 5, 600, 20),
    ("staging", "extraction_failure_rate", 10, 300, 10),
    ("production", "error_rate", 3, 300, 10),
    ("production", "client_error_rate", 10, 300, 20),
]
rates = pytest.mark.parametrize("rate", RATES, ids=lambda rate: f"{rate[0]}-{rate[1]}")


def reading(name: str, at: float, bad: float, total: float) -> Sample:
    if name == "extraction_failure_rate":
        return service(at, images_failed=bad, images_ok=total - bad)
    if name == "error_rate":
        return service(at, errors=bad, requests=total)
    return proxy(at, bad, total)


def rate_verdict(rate: Rate, bad: float, total: float, seconds: float, decision: Decision) -> Verdict:
    """The verdict after this many events, which came evenly over so many seconds of readings every 5 s."""
    environment, name, *_ = rate
    one = judge_of(name, shipped_gate(environment, name))
    steps = round(seconds / 5)
    for step in range(steps + 1):
        one.take(reading(name, step * 5, round(bad * step / steps), round(total * step / steps)))
    return one.verdict(seconds, decision)


@rates
@pytest.mark.parametrize("decision", list(Decision))
def test_a_rate_over_the_limit_fails_within_it_passes_and_at_it_passes(
    rate: Rate, decision: Decision
) -> None:
    limit, window = rate[2], rate[3]
    at_limit = rate_verdict(rate, 10 * limit, 1000, window, decision)
    assert at_limit.outcome is PASS
    assert at_limit.value == pytest.approx(limit)
    assert rate_verdict(rate, 10 * limit + 1, 1000, window, decision).outcome is FAIL
    assert rate_verdict(rate, 10 * limit - 1, 1000, window, decision).outcome is PASS
    assert rate_verdict(rate, 0, 1000, window, decision).outcome is PASS


@rates
@pytest.mark.parametrize("decision", list(Decision))
def test_one_sample_too_few_is_insufficient(rate: Rate, decision: Decision) -> None:
    window, needed = rate[3], rate[4]
    too_few = rate_verdict(rate, 2, needed - 1, window, decision)
    assert (too_few.outcome, too_few.samples, too_few.needed) == (INSUFFICIENT, needed - 1, needed)
    assert rate_verdict(rate, 0, needed, window, decision).outcome is PASS


@rates
def test_with_half_a_window_the_plain_words_decide_literally_and_guarded_waits(rate: Rate) -> None:
    limit, window = rate[2], rate[3]
    slightly_over = 10 * limit + 10
    literal = rate_verdict(rate, slightly_over, 1000, window / 2, Decision.LITERAL)
    guarded = rate_verdict(rate, slightly_over, 1000, window / 2, Decision.GUARDED)
    assert (literal.outcome, literal.full) == (FAIL, False)
    assert guarded.outcome is INSUFFICIENT
    assert "not full" in guarded.reason
    assert rate_verdict(rate, slightly_over, 1000, window, Decision.GUARDED).outcome is FAIL


@rates
def test_a_disaster_is_conclusive_long_before_the_window_is_full(rate: Rate) -> None:
    verdict = rate_verdict(rate, 100, 100, 10, Decision.GUARDED)
    assert verdict.outcome is FAIL
    assert "conclusive" in verdict.reason


def test_old_failures_leave_the_window() -> None:
    one = judge_of("extraction_failure_rate", shipped_gate("production", "extraction_failure_rate"))
    for minute in range(31):
        one.take(service(minute * 60, images_failed=min(minute, 10) * 10, images_ok=minute * 90))
    verdict = one.verdict(1800, Decision.LITERAL)
    assert (verdict.outcome, verdict.value, verdict.samples) == (PASS, 0, 900)


def test_rejected_files_are_no_failures_and_no_attempts() -> None:
    samples = [service(0), service(600, images_ok=20, images_failed=1, images_rejected=10_000)]
    verdict = judge(
        "extraction_failure_rate", shipped_gate("production", "extraction_failure_rate"), samples, 600
    )
    assert (verdict.outcome, verdict.samples) == (PASS, 21)


def test_a_full_window_may_be_asked_for_confidence() -> None:
    threshold = {"max_failure_percentage": 5, "evaluation_window_minutes": 10, "min_sample_size": 20}
    sure = gate("extraction_failure_rate", threshold=threshold, full_window_confidence=0.99)
    few = [service(0), service(600, images_failed=3, images_ok=37)]  # 7.5 % of 40: easily chance
    many = [service(0), service(600, images_failed=75, images_ok=925)]  # 7.5 % of 1000: not chance
    assert judge("extraction_failure_rate", sure, few, 600).outcome is INSUFFICIENT
    assert judge("extraction_failure_rate", sure, many, 600).outcome is FAIL
    assert judge(
        "extraction_failure_rate", gate("extraction_failure_rate", threshold=threshold), few, 600
    ).failed


# ---- p95


@pytest.mark.parametrize(
    ("environment", "limit", "window", "needed"),
    [
        ("production", 2.0, 900, 50),
        ("staging", 3.0, 600, 20),
    ],
)
def test_p95_is_over_the_limit_when_more_than_one_in_twenty_took_longer(
    environment: str, limit: float, window: float, needed: int
) -> None:
    hash_time = shipped_gate(environment, "p95_hash_time")

    def verdict(values: list[float]) -> Verdict:
        samples = [service(0, histogram=times([])), service(window, histogram=times(values))]
        return judge("p95_hash_time", hash_time, samples, window)

    exactly = verdict([0.05] * 95 + [limit + 0.1] * 5)
    assert exactly.outcome is PASS
    assert verdict([0.05] * 94 + [limit + 0.1] * 6).outcome is FAIL
    assert verdict([limit] * 100).outcome is PASS  # all of them at exactly the limit
    at_it = verdict([limit - 0.1] * 95 + [9.0] * 5)
    assert (at_it.outcome, at_it.value) == (PASS, limit * 1000)
    assert verdict([limit] * 100).value == pytest.approx(limit * 1000, rel=0.05)
    assert verdict([9.0] * 1 + [0.05] * (needed - 2)).outcome is INSUFFICIENT
    assert verdict([0.05] * needed).outcome is PASS


def test_p95_says_between_what_it_surely_is() -> None:
    samples = [service(0, histogram=times([])), service(900, histogram=times([1.5] * 100))]
    verdict = judge("p95_hash_time", shipped_gate("production", "p95_hash_time"), samples, 900)
    assert (verdict.low, verdict.high) == (1000, 2000)
    assert verdict.low < (verdict.value or 0) <= verdict.high


def test_half_a_window_of_slow_hashing_waits_unless_it_is_conclusive() -> None:
    hash_time = shipped_gate("production", "p95_hash_time")

    def verdict(slow: int, decision: Decision) -> GateOutcome:
        one = judge_of("p95_hash_time", hash_time)
        for second in range(0, 451, 5):
            done = second / 450
            values = [0.05] * round((100 - slow) * done) + [2.5] * round(slow * done)
            one.take(service(second, histogram=times(values)))
        return one.verdict(450, decision).outcome

    assert verdict(7, Decision.LITERAL) is FAIL
    assert verdict(7, Decision.GUARDED) is INSUFFICIENT
    assert verdict(60, Decision.GUARDED) is FAIL


def test_p95_is_of_this_window_and_not_of_a_lifetime() -> None:
    before = times([5.0] * 1000)
    after = Histogram(
        EDGES, tuple(old + new for old, new in zip(before.counts, times([0.05] * 100).counts, strict=True))
    )
    samples = [service(0, histogram=before), service(900, histogram=after)]
    verdict = judge("p95_hash_time", shipped_gate("production", "p95_hash_time"), samples, 900)
    assert (verdict.outcome, verdict.high) == (PASS, 100)


HASH_TIME = {"max_time_ms": 2000, "evaluation_window_minutes": 15, "min_sample_size": 50}


def slow(*values: tuple[float, int]) -> Histogram:
    """So many images that took so many seconds each."""
    return times([seconds for seconds, count in values for _ in range(count)])


def test_a_quantile_may_be_asked_for_confidence_in_a_full_window() -> None:
    sure = gate("p95_hash_time", threshold=HASH_TIME, full_window_confidence=0.99)

    def verdict(*values: tuple[float, int]) -> Verdict:
        samples = [service(0, histogram=times([])), service(900, histogram=slow(*values))]
        return judge("p95_hash_time", sure, samples, 900)

    easily_chance = verdict((0.05, 94), (2.5, 6))
    assert easily_chance.outcome is INSUFFICIENT
    assert easily_chance.reason.endswith("over 2000 ms, but not with the confidence asked for (0.99)")
    assert verdict((0.05, 925), (2.5, 75)).outcome is FAIL
    assert verdict((0.05, 990), (2.5, 10)).outcome is PASS


def test_values_beyond_the_last_edge_are_conclusive_too() -> None:
    one = judge_of("p95_hash_time", shipped_gate("production", "p95_hash_time"))
    one.take(service(30, histogram=times([])))
    one.take(service(90, histogram=slow((0.05, 40), (9.0, 60))))
    verdict = one.verdict(90)
    assert verdict.reason == "60 of 100 took longer than 2000 ms in 60 s: conclusive that it is over 2000 ms"
    assert (verdict.conclusive, verdict.full) == (True, False)


def test_within_the_bucket_that_holds_the_limit_nothing_is_conclusive() -> None:
    own = gate("p95_hash_time", threshold=HASH_TIME | {"max_time_ms": 1500})
    for seconds, outcome in ((1.8, INSUFFICIENT), (2.5, FAIL)):
        samples = [service(0, histogram=times([])), service(60, histogram=slow((seconds, 100)))]
        assert judge("p95_hash_time", own, samples, 60).outcome is outcome


def test_of_no_values_there_is_no_quantile() -> None:
    one = judge_of("p95_hash_time", shipped_gate("production", "p95_hash_time"))
    one.take(service(0, histogram=times([])))
    one.take(service(900, histogram=times([])))
    verdict = one.verdict(900)
    assert (verdict.outcome, verdict.value, verdict.samples) == (INSUFFICIENT, None, 0)
    assert verdict.reason == "0 of 50 samples"


@pytest.mark.parametrize("edges", [(0.5, 2.5, math.inf), (0.001, 3.0, math.inf)])
def test_a_release_with_other_buckets_begins_again(edges: tuple[float, ...]) -> None:
    one = judge_of("p95_hash_time", shipped_gate("production", "p95_hash_time"))
    one.take(service(0, histogram=times([9.0] * 100)))
    one.take(service(10, histogram=Histogram(edges, (0.0, 0.0, 0.0))))
    one.take(service(20, histogram=Histogram(edges, (60.0, 100.0, 100.0))))
    verdict = one.verdict(20, Decision.LITERAL)
    assert (verdict.samples, verdict.low, verdict.high) == (100, edges[0] * 1000, edges[1] * 1000)


def test_p95_is_told_with_its_bucket_and_how_many_there_were() -> None:
    samples = [service(0, histogram=times([])), service(900, histogram=slow((0.05, 94), (2.5, 5), (9, 1)))]
    verdict = judge("p95_hash_time", gate("p95_hash_time", threshold=HASH_TIME), samples, 900)
    said = "2200 ms (between 2000 and 3000, 100 values) over 15 min is over 2000 ms"
    assert (verdict.reason, verdict.conclusive, verdict.needed) == (said, False, 50)


# ---- evidence


def errors(*counted: tuple[float, float, float]) -> Judge:
    """The judge of the error rate that has read these: when, errors, requests."""
    one = judge_of("error_rate", shipped_gate("production", "error_rate"))
    for at, bad, total in counted:
        one.take(service(at, errors=bad, requests=total))
    return one


def test_conclusive_evidence_is_told_with_since_when() -> None:
    one = errors((0, 0, 100), (30, 0, 100), (40, 10, 110))
    assert one.verdict(45).reason == "10 of 10 failed (100 %) in 15 s: conclusive that it is over 3 %"
    assert one.verdict(10).reason.startswith("10 of 10 failed (100 %) in 0 s")
    assert one.verdict(30.5).reason.startswith("10 of 10 failed (100 %) in 0.5 s")
    late = errors((0, 0, 100), (30, 0, 100), (10, 0, 50), (40, 10, 110))
    assert late.verdict(45).reason == one.verdict(45).reason


def test_only_a_failure_is_conclusive() -> None:
    one = errors((0, 0, 0), (10, 50, 50))
    assert one.verdict(10).conclusive
    literal = one.verdict(1000, Decision.LITERAL)
    assert (literal.outcome, literal.conclusive, literal.reason) == (INSUFFICIENT, False, "0 of 10 samples")
    assert literal.value is None
    assert errors((0, 0, 0), (10, 1, 1)).verdict(10, Decision.LITERAL).value == 100


def test_a_rate_is_told_with_its_counts_and_its_limit() -> None:
    samples = [service(0), service(300, errors=10, requests=250)]
    verdict = judge("error_rate", shipped_gate("production", "error_rate"), samples, 300)
    assert verdict.reason == "4 % (10 of 250) over 5 min is over 3 %"
    assert (verdict.low, verdict.high, verdict.conclusive) == (None, None, False)


@pytest.mark.parametrize(
    ("name", "limit", "bad", "good"),
    [
        ("error_rate", 0.03, {"errors": 2, "requests": 2}, {"requests": 20}),
        ("p95_hash_time", 0.05, {"histogram": slow((9, 2))}, {"histogram": slow((0.05, 20))}),
    ],
)
def test_evidence_is_that_against_the_limit(
    name: str, limit: float, bad: dict[str, Any], good: dict[str, Any]
) -> None:
    for given, failed, total in ((bad, 2, 2), (good, 0, 20)):
        one: Any = judge_of(name, shipped_gate("production", name))
        one.take(service(0, histogram=times([])))
        one.take(service(10, **{"histogram": times([])} | given))
        expected = RateDetector(limit)
        expected.take(failed, total, 0)
        found = one._detector.evidence
        assert (found.counts, found.since) == (expected.evidence.counts, expected.evidence.since)
        assert found.strength == pytest.approx(expected.evidence.strength)


def test_the_confidence_of_a_rate_is_that_against_its_limit() -> None:
    threshold = {"max_error_percentage": 50, "evaluation_window_minutes": 1, "min_sample_size": 20}
    sure = gate("error_rate", threshold=threshold, full_window_confidence=0.99)
    for bad, outcome in ((5116, INSUFFICIENT), (5117, FAIL), (5000, PASS)):
        samples = [service(0), service(60, errors=bad, requests=10_000)]
        found = judge("error_rate", sure, samples, 60)
        assert (found.outcome, found.conclusive) == (outcome, False)


def test_a_failure_names_an_example_and_what_is_well_none() -> None:
    for bad, said in ((10, True), (1, False)):
        one = judge_of("error_rate", shipped_gate("production", "error_rate"))
        for at, failed in ((0, 0), (300, bad)):
            counted = service(at, errors=failed, requests=at)
            one.take(replace(counted, example="GET /x 500"))
        assert one.verdict(300).reason.endswith("; such as GET /x 500") is said


# ---- gauges


@pytest.mark.parametrize(
    ("environment", "name", "metric", "limit"),
    [
        ("production", "low_confidence_queue", "low_confidence_queue_length", 1000),
        ("staging", "low_confidence_queue", "low_confidence_queue_length", 500),
        ("production", "memory_usage", "memory_usage_percentage", 85),
    ],
)
def test_a_gauge_fails_above_its_limit_and_not_at_it(
    environment: str, name: str, metric: str, limit: float
) -> None:
    one = judge_of(name, shipped_gate(environment, name))
    answers = {}
    for at, value in enumerate((limit - 1, limit, limit + 1, limit), start=1):
        one.take(service(at, **{metric: value}))
        answers[at] = one.verdict(at).outcome
    assert list(answers.values()) == [PASS, PASS, FAIL, PASS]


def test_an_older_reading_does_not_replace_a_newer_one() -> None:
    one = judge_of("memory_usage", shipped_gate("production", "memory_usage"))
    one.take(service(20, memory_usage_percentage=90))
    one.take(service(10, memory_usage_percentage=10))
    assert one.verdict(20).failed


def test_a_gauge_is_told_in_the_limits_unit_with_how_often_it_was_read() -> None:
    own = gate(
        "memory",
        kind="gauge",
        metric="memory",
        metric_unit="MiB",
        unit="GiB",
        threshold={"max_value": 2, "check_interval_seconds": 30},
    )
    one = judge_of("memory", own)
    assert (one.verdict(0).samples, one.verdict(0).needed) == (0, 1)
    assert not one.take(service(0, side=Side.STABLE, memory=9999))
    for at, mebibytes in enumerate((1024, 3072)):
        one.take(service(at, memory=mebibytes))
        one.take(service(at, memory=9999))  # of the same moment: it was read already
    verdict = one.verdict(1)
    assert (verdict.outcome, verdict.value, verdict.reason) == (FAIL, 3, "3 is more than 2 GiB")
    assert (verdict.samples, verdict.needed, verdict.full) == (2, 1, True)
    one.take(service(2, memory=512))
    assert one.verdict(2).reason == "0.5 is within 2 GiB"


# ---- health


@pytest.mark.parametrize(("environment", "limit"), [("production", 2), ("staging", 3), ("development", 5)])
def test_health_fails_after_more_than_so_many_failures_in_a_row(environment: str, limit: int) -> None:
    one = judge_of("health", shipped_gate(environment, "health"))
    for number in range(1, limit + 1):
        one.take(probe(number * 30, ok=False))
        assert one.verdict(number * 30).outcome is PASS
    one.take(probe((limit + 1) * 30, ok=False))
    verdict = one.verdict((limit + 1) * 30)
    assert (verdict.outcome, verdict.value) == (FAIL, limit + 1)
    one.take(probe((limit + 2) * 30))
    assert one.verdict((limit + 2) * 30).outcome is PASS


def test_health_that_flaps_is_not_consecutive() -> None:
    one = judge_of("health", shipped_gate("production", "health"))
    for number in range(100):
        one.take(probe(number * 30, ok=number % 3 == 2))
        assert one.verdict(number * 30).outcome is PASS


def test_health_counts_each_probe_of_its_own_once_and_none_of_others() -> None:
    one = judge_of("health", shipped_gate("production", "health"))
    assert one.take(probe(30, ok=False))
    verdict = one.verdict(30)
    assert (verdict.value, verdict.samples, verdict.needed) == (1, 1, 1)
    assert verdict.full
    assert not verdict.calm
    others = (
        probe(60, ok=False, side=Side.STABLE),
        probe(60, ok=False, path="elsewhere"),
        probe(30, ok=False),
        probe(10, ok=False),
        service(60),
    )
    assert not [sample for sample in others if one.take(sample)]
    assert (one.verdict(30).value, one.verdict(30).samples) == (1, 1)
    once = {"consecutive_failures": 1, "check_interval_seconds": 30}
    deep = judge_of("health", gate("deep", kind="consecutive", path="/deep", threshold=once))
    assert not [path for path in ("", "/", "/deeper") if deep.take(probe(60, ok=False, path=path))]
    assert one.take(probe(60))
    verdict = one.verdict(60)
    assert (verdict.value, verdict.samples, verdict.reason) == (0, 2, "healthy")
    assert verdict.calm


# ---- silence


@pytest.mark.parametrize(
    "name", ["extraction_failure_rate", "p95_hash_time", "low_confidence_queue", "memory_usage", "error_rate"]
)
def test_silence_is_no_data_and_never_a_pass(name: str) -> None:
    one = judge_of(name, shipped_gate("production", name))
    assert one.verdict(0).outcome is NO_DATA
    one.take(
        service(
            5,
            images_ok=1000,
            requests=1000,
            histogram=times([0.1] * 100),
            low_confidence_queue_length=1,
            memory_usage_percentage=1,
        )
    )
    assert one.verdict(5).outcome is not NO_DATA
    for at in range(10, 3610, 5):
        one.take(Sample(one.gate.source, at, problem="timed out"))  # type: ignore[attr-defined]
        verdict = one.verdict(at)
        assert (verdict.outcome, verdict.silent_seconds) == (NO_DATA, at - 5)
    assert "timed out" in verdict.reason


def test_silence_lasts_from_what_was_heard_last_and_is_never_less_than_none() -> None:
    one = judge_of("memory_usage", shipped_gate("production", "memory_usage"))
    assert one.take(service(20, memory_usage_percentage=1))
    one.take(service(10, memory_usage_percentage=1))  # comes late
    one.take(Sample(Source.SERVICE, 21, problem="timed out"))
    assert [one.verdict(now).silent_seconds for now in (19, 20, 20.5, 30)] == [0, 0, 0.5, 10]
    assert not one.take(Sample(Source.PROXY, 22))
    assert not one.take(service(22, side=Side.BEFORE))
    assert errors().take(service(0))


@pytest.mark.parametrize(
    ("part", "whole", "found"), [(1, 4, 25), (3, 2, 150), (0.5, 0.5, 100), (0, 0, 0), (1, 0, 0), (1, -0.5, 0)]
)
def test_nothing_of_nothing_is_no_percent(part: float, whole: float, found: float) -> None:
    assert percent(part, whole) == found


def test_a_metric_that_is_not_published_is_no_data_and_says_which() -> None:
    verdict = judge("p95_hash_time", shipped_gate("production", "p95_hash_time"), [service(5)], 5)
    assert verdict.outcome is NO_DATA
    assert "hash_seconds is not published" in verdict.reason


# ---- a service that has only the contract's gauges


GAUGE_ONLY: list[tuple[str, str, float]] = [
    ("extraction_failure_rate", "extraction_failure_rate", 5),
    ("error_rate", "error_rate", 3),
    ("p95_hash_time", "p95_hash_time_ms", 2000),
]


def averaged(name: str, metric: str, readings: dict[float, float], decision: Decision) -> Verdict:
    one = judge_of(name, shipped_gate("production", name))
    for at, value in readings.items():
        one.take(Sample(one.gate.source, at, gauges={metric: value}))  # type: ignore[attr-defined]
    return one.verdict(max(readings), decision)


@pytest.mark.parametrize(("name", "metric", "limit"), GAUGE_ONLY)
def test_gauges_are_averaged_by_time_and_the_verdict_says_so(name: str, metric: str, limit: float) -> None:
    over = averaged(name, metric, dict.fromkeys(range(0, 901, 30), limit * 1.1), Decision.GUARDED)
    assert over.outcome is FAIL
    assert "own figure" in over.reason
    assert over.value == pytest.approx(limit * 1.1)
    at_it = averaged(name, metric, dict.fromkeys(range(0, 901, 30), limit), Decision.GUARDED)
    assert at_it.outcome is PASS


def test_a_value_counts_for_as_long_as_it_stood() -> None:
    readings = {0: 0.0, 10: 50.0, 300: 1.0}  # ten seconds at 50 %, then 290 at 1 %
    verdict = averaged("error_rate", "error_rate", readings, Decision.LITERAL)
    assert verdict.value == pytest.approx((10 * 50 + 290 * 1) / 300)


def test_two_readings_of_a_gauge_are_too_few() -> None:
    assert (
        averaged("error_rate", "error_rate", {0: 99, 5: 99, 10: 99}, Decision.LITERAL).outcome is INSUFFICIENT
    )
    four = averaged("error_rate", "error_rate", {0: 99, 5: 99, 10: 99, 15: 99}, Decision.LITERAL)
    said = "the service's own figure, 99 % on average over 15 s, is over 3 %"
    assert (four.outcome, four.samples, four.needed, four.reason) == (FAIL, 3, 3, said)
    one = averaged("error_rate", "error_rate", {0: 99}, Decision.LITERAL)
    assert (one.value, one.reason) == (None, "0 of 3 samples")


def test_counters_once_seen_speak_for_the_gauge() -> None:
    one = judge_of("error_rate", shipped_gate("production", "error_rate"))
    for at in range(0, 301, 5):
        one.take(Sample(Source.SERVICE, at, gauges={"error_rate": 99.0}))
    assert one.verdict(300).failed
    one.take(service(305, requests=1000))
    one.take(service(605, requests=2000))
    assert (one.verdict(605).outcome, one.verdict(605).value) == (PASS, 0)
    one.take(Sample(Source.SERVICE, 610, gauges={"error_rate": 99.0}))
    counters = "server_errors_total requests_total"
    assert one.verdict(610).reason == f"no data for 5 s: the counters {counters} are not published"


# ---- gates of one's own


@pytest.mark.parametrize("bad", [25, 26])
def test_a_ratio_of_any_two_counters(bad: int) -> None:
    own = gate(
        "rejected",
        kind="ratio",
        numerator=["images_rejected_total"],
        denominator=["images_rejected_total", "images_ok_total"],
        threshold={"max_percentage": 25, "evaluation_window_minutes": 1, "min_sample_size": 1},
    )
    samples = [service(0), service(60, images_rejected=bad, images_ok=100 - bad)]
    assert judge("rejected", own, samples, 60).failed is (bad > 25)


def test_the_limits_nought_and_a_hundred_percent_work() -> None:
    def verdict(limit: float, bad: float) -> Verdict:
        threshold = {"max_error_percentage": limit, "evaluation_window_minutes": 1, "min_sample_size": 1}
        samples = [service(0), service(60, errors=bad, requests=1000)]
        return judge("error_rate", gate("error_rate", threshold=threshold), samples, 60)

    assert verdict(0, 0).outcome is PASS
    assert verdict(0, 1).outcome is FAIL
    assert verdict(100, 1000).outcome is PASS


@pytest.mark.parametrize(
    ("edges", "counts"),
    [
        ((1.0, math.inf), (5.0, 3.0)),  # falling counts
        ((1.0, math.inf), (-1.0, 3.0)),
        ((1.0, 2.0), (1.0, 3.0)),  # no last bucket
        ((2.0, 1.0, math.inf), (1.0, 2.0, 3.0)),
        ((1.0, math.inf), (1.0,)),
        ((), ()),
    ],
)
def test_what_is_no_cumulative_histogram_cannot_be_made(
    edges: tuple[float, ...], counts: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError, match="histogram"):
        Histogram(edges, counts)


def test_every_kind_of_gate_has_its_judge() -> None:
    class Unknown(Gate):
        pass

    with pytest.raises(TypeError, match="Unknown"):
        judge_of("x", Unknown())


def test_a_quantile_in_the_last_bucket_is_valid_json_for_everybody() -> None:
    verdict = Verdict("p95", GateOutcome.FAIL, "beyond", 2000, "ms", value=80_000, low=80_000, high=math.inf)
    told = json.dumps(verdict.as_json(), allow_nan=False)
    assert Verdict.from_json(json.loads(told)).value == 80_000


@pytest.mark.parametrize(
    ("verdict", "measured", "short"),
    [
        (Verdict("rate", PASS, "", 5, "%", value=0.41237), "0.4124 % (limit 5 %)", "0.4124/5 %"),
        (Verdict("rate", NO_DATA, "", 5, "%"), "– (limit 5 %)", "–/5 %"),
        (Verdict("queue", PASS, "", 5, value=4), "4 (limit 5)", "4/5"),
        (Verdict("health", PASS, "", 2, IN_A_ROW, 0), "0 failures in a row (limit 2)", None),
        (Verdict("health", PASS, "", 2, IN_A_ROW, 1), "1 failure in a row (limit 2)", None),
        (Verdict("health", FAIL, "", 2, IN_A_ROW, 3), "3 failures in a row (limit 2)", None),
    ],
    ids=str,
)
def test_a_verdict_in_short_has_its_value_and_its_limit(
    verdict: Verdict, measured: str, short: str | None
) -> None:
    assert verdict.measured == measured
    assert short is None or verdict.short == short


def test_a_verdict_in_json_says_what_is_known_to_four_digits() -> None:
    bare = {
        "gate": "rate",
        "verdict": "pass",
        "reason": "within",
        "threshold": 5,
        "unit": "",
        "samples": 0,
        "needed": 0,
        "window_full": False,
        "conclusive": False,
        "silent_seconds": 0.0,
    }
    assert Verdict("rate", PASS, "within", 5).as_json() == bare
    known = Verdict("rate", PASS, "within", 5, value=1.23456, low=0, high=2, silent_seconds=1.25)
    told = {"actual_value": 1.2346, "low": 0, "high": 2, "silent_seconds": 1.2}
    assert known.as_json() == bare | told
    assert Verdict.from_json(known.as_json()) == replace(known, value=1.2346, silent_seconds=1.2)


def failing(one: Judge, value: float, at: float, example: str = "") -> dict[Action, Verdict]:
    """The verdicts that fail when a gauge of server processes that crashed is read."""
    one.take(Sample(Source.CRASHES, at, gauges={"crashes": value}, example=example))
    return {action: verdict for action, verdict in one.by_action(at).items() if verdict.failed}


def test_a_gauge_may_alert_before_it_rolls_back_and_says_what_was_counted() -> None:
    one = judge_of("server_crashes", shipped_gate("production", "server_crashes"))
    assert failing(one, 0, 2) == {}
    for at, crashes in ((4, 1), (6, 2)):
        (alert,) = failing(one, crashes, at, "process 7").values()
        assert (alert.limit, alert.value) == (0, crashes)
        assert alert.reason == f"{crashes} is more than 0 crashes; such as process 7"
        assert one.verdict(at).reason == f"{crashes} is within 2 crashes"
    taken_back = failing(one, 3, 8)
    assert taken_back[Action.AUTO_ROLLBACK].reason == "3 is more than 2 crashes"
    assert taken_back[Action.ALERT].limit == 0


@pytest.mark.parametrize(("alert_value", "alerts_above"), [(None, 2), (1, 1), (5, 2)])
def test_a_gauge_alerts_from_its_own_value_on_and_never_later_than_it_rolls_back(
    alert_value: float | None, alerts_above: float
) -> None:
    threshold = {"max_value": 2, "check_interval_seconds": 2}
    threshold |= {} if alert_value is None else {"alert_value": alert_value}
    own = gate("own", kind="gauge", source="crashes", metric="crashes", threshold=threshold)
    found = {value: failing(judge_of("own", own), value, 2) for value in (0, 1, 2, 3)}
    assert [value for value in found if Action.ALERT not in found[value]][-1] == alerts_above
    assert [value for value in found if Action.AUTO_ROLLBACK in found[value]] == [3]
