"""Series that are not there yet, names that nobody publishes, and units."""

import json
from typing import Any

import pytest

from guarded_rollout.config import gates
from guarded_rollout.config.gates import EnvironmentGates
from guarded_rollout.monitor.metrics_formats import names_in, read
from guarded_rollout.monitor.published import doubts
from guarded_rollout.monitor.sources import wanted_by

OWN = 'errors_total{kind="x"}'
FAILED = 'http_requests_total{code=~"5.."}'


def configured(**quality_gates: dict[str, Any]) -> EnvironmentGates:
    return loaded(**quality_gates).environment("production")


def loaded(**quality_gates: dict[str, Any]) -> gates.GatesFile:
    file, problems = gates.parse(
        json.dumps({"environments": {"production": {"quality_gates": quality_gates}}})
    )
    assert file is not None, problems
    return file


def ratio(numerator: str, denominator: str = "http_requests_total") -> dict[str, Any]:
    threshold = {"max_percentage": 5, "evaluation_window_minutes": 5, "min_sample_size": 10}
    return {"kind": "ratio", "numerator": [numerator], "denominator": [denominator], "threshold": threshold}


def quantile(**more: Any) -> dict[str, Any]:
    threshold = {"max_value": 500, "evaluation_window_minutes": 5, "min_sample_size": 10}
    return {"kind": "quantile", "histogram": "request_seconds", "threshold": threshold, **more}


def counted(text: str, gate: dict[str, Any]) -> dict[str, float]:
    wanted = wanted_by(one for _, one in configured(errors=gate).quality_gates.enabled())
    return dict(read(text.encode(), "text/plain", wanted).counters)


@pytest.mark.parametrize(
    ("text", "gate", "counters"),
    [
        # a healthy release has had no error yet
        ('http_requests_total{code="200"} 5\n', ratio(FAILED), {FAILED: 0.0, "http_requests_total": 5.0}),
        # and before its first request there is only the family
        ("# TYPE http_requests_total counter\n", ratio(FAILED), {FAILED: 0.0, "http_requests_total": 0.0}),
        # a family of its own, which appears with the first error
        ("http_requests_total 5\n", ratio(OWN), {OWN: 0.0, "http_requests_total": 5.0}),
        # a plain name that nobody publishes stays unknown: it may be a typo
        ("http_requests_total 5\n", ratio("erors_total"), {"http_requests_total": 5.0}),
        # so does everything where the denominator is not published either
        ("up 1\n", ratio(FAILED), {}),
    ],
    ids=["labelled", "declared", "own family", "plain", "nothing"],
)  # fmt: skip
def test_a_series_before_its_first_event_is_0(text: str, gate: dict[str, Any], counters: dict) -> None:
    assert counted(text, gate) == counters


def test_names_are_those_of_either_format() -> None:
    text = b'# TYPE a_total counter\n# TYPE b histogram\nb_bucket{le="+Inf"} 1\nb_count 1\nb_sum 1\nc 1\n'
    assert {"a_total", "b", "b_bucket", "c"} <= names_in(text)
    told = {"error_rate": 1.5, "release": "x", "counters": {"ok_total": 1}, "histograms": {"h": {}}}
    assert names_in(json.dumps(told).encode()) == {"error_rate", "ok_total", "h"}


def test_a_name_that_is_not_published_is_named_with_the_near_ones() -> None:
    config = configured(errors=ratio('http_request_total{code=~"5.."}'), slow=quantile())
    said = list(doubts(config, {"http_requests_total", "request_seconds_bucket", "request_seconds"}))
    assert said == [
        "errors: http_request_total has not been published so far (did you mean http_requests_total?)"
    ]
    assert list(doubts(config, ())) == []  # nothing serves: nothing is known


def test_what_no_service_publishes_is_not_looked_for_there() -> None:
    threshold = {"max_value": 2, "check_interval_seconds": 2}
    crashes = {"kind": "gauge", "source": "crashes", "metric": "crashes", "threshold": threshold}
    assert list(doubts(configured(server_crashes=crashes), {"request_seconds"})) == []


def test_a_limit_in_another_unit_is_converted_or_doubted() -> None:
    doubted = configured(slow=quantile(unit="ms"))
    assert "request_seconds is in seconds by its name, and its limit in ms" in " ".join(doubts(doubted, ()))
    said = configured(slow=quantile(unit="ms", metric_unit="s"))
    assert list(doubts(said, ())) == []
    ((_, gate),) = said.quality_gates.enabled()
    assert gate.factor == 1000.0  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"unit": "ms", "metric_unit": "s", "scale": 1000}, "give one of the two"),
        ({"unit": "bytes", "metric_unit": "s"}, "cannot be compared with a limit in 'bytes'"),
        ({"metric_unit": "s"}, "say the limit's unit in `unit`"),
        ({"unit": "ms", "metric_unit": "hours"}, "is not allowed"),
    ],
)
def test_units_that_do_not_fit_are_refused(more: dict[str, Any], says: str) -> None:
    document = {"environments": {"production": {"quality_gates": {"slow": quantile(**more)}}}}
    _, problems = gates.parse(json.dumps(document))
    assert says in " ".join(problem.sentence for problem in problems)
