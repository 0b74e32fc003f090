"""The gates file: the contract's format loads, and what is wrong is said with path, value and near miss."""

import copy
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from guarded_rollout.config.gates import PollIntervals, load, parse, schema
from guarded_rollout.config.terms import Action, Decision
from guarded_rollout.errors import GatesFileError, UnknownGatesEnvironmentError
from guarded_rollout.gates.describe import describe_gate
from tests.guarded_rollout.gatekit import SHIPPED, gate, shipped, shipped_gate

DOCUMENT: dict[str, Any] = json.loads(SHIPPED.read_text())
PUBLISHED = SHIPPED.parent / "schemas" / "quality-gates.schema.json"


def changed(change: Callable[[dict[str, Any]], object]) -> str:
    document = copy.deepcopy(DOCUMENT)
    change(document)
    return json.dumps(document)


def production(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["environments"]["production"]
    return found


def test_the_published_schema_is_the_one_that_validates() -> None:
    assert json.loads(PUBLISHED.read_text()) == schema(), "write it with `rollout gates schema`"


def test_the_shipped_file_fits_the_published_schema() -> None:
    jsonschema_rs.validator_for(json.loads(PUBLISHED.read_text())).validate(DOCUMENT)


@pytest.mark.parametrize(
    ("environment", "name", "limit", "minutes", "samples", "rolls_back"),
    [
        ("production", "extraction_failure_rate", 5, 10, 20, True),
        ("production", "p95_hash_time", 2000, 15, 50, True),
        ("production", "error_rate", 3, 5, 10, False),
        ("staging", "extraction_failure_rate", 10, 5, 10, False),
        ("staging", "p95_hash_time", 3000, 10, 20, False),
    ],
)
def test_the_shipped_windows_are_the_guides(
    environment: str, name: str, limit: float, minutes: float, samples: int, rolls_back: bool
) -> None:
    found: Any = shipped_gate(environment, name)
    threshold = found.threshold
    assert (threshold.limit, threshold.window_minutes, threshold.min_samples) == (limit, minutes, samples)
    assert (Action.AUTO_ROLLBACK in found.actions) is rolls_back
    assert Action.ALERT in found.actions


@pytest.mark.parametrize(
    ("environment", "name", "limit", "interval", "rolls_back"),
    [
        ("production", "health", 2, 30, True),
        ("production", "low_confidence_queue", 1000, 60, True),
        ("production", "memory_usage", 85, 120, False),
        ("staging", "health", 3, 30, False),
        ("staging", "low_confidence_queue", 500, 60, False),
        ("development", "health", 5, 60, False),
    ],
)
def test_the_shipped_gates_with_an_own_interval_are_the_guides(
    environment: str, name: str, limit: float, interval: float, rolls_back: bool
) -> None:
    found: Any = shipped_gate(environment, name)
    assert (found.threshold.limit, found.threshold.check_interval_seconds) == (limit, interval)
    assert (Action.AUTO_ROLLBACK in found.actions) is rolls_back


def test_the_guides_gates_are_shipped_first_and_others_say_that_they_are_beyond_it() -> None:
    names = {
        name: [one for one, _ in shipped(name).quality_gates.enabled()] for name in DOCUMENT["environments"]
    }
    assert names["production"][6] == "client_error_rate"
    gates = dict(shipped("production").quality_gates.enabled())
    ours: list[Any] = [gates[one] for one in names["production"][7:]]
    sources = {"edge", "system", "answers", "stall", "crashes", "writes", "checks", "probe"}
    assert {one.source for one in ours} == sources
    assert len(ours) == 19
    assert len(names["staging"]) == 4
    assert names["development"] == ["health"]


@pytest.mark.parametrize(
    ("name", "window", "intervals", "rollback", "timeout", "hours"),
    [
        ("production", 60, (5, 30, 120), True, 10, 72),
        ("staging", 30, (2, 15, 60), False, 5, 24),
        ("development", 15, (1, 10, 30), False, 3, 12),
    ],
)
def test_the_shipped_cadence_and_rollback_settings_are_the_contracts(
    name: str, window: float, intervals: tuple[float, ...], rollback: bool, timeout: float, hours: float
) -> None:
    found = shipped(name)
    polls = found.monitoring.poll_intervals
    assert found.monitoring.window_minutes == window
    assert tuple(polls.model_dump().values()) == intervals
    assert found.auto_rollback.enabled is rollback
    assert found.auto_rollback.rollback_timeout_minutes == timeout
    assert found.auto_rollback.backup_retention_hours == hours


def test_polls_slow_down_after_the_initial_minutes() -> None:
    intervals = PollIntervals()
    assert [intervals.at(elapsed) for elapsed in (0, 299.9, 300, 3000)] == [30, 30, 120, 120]


def test_a_file_with_the_contracts_minimum_loads() -> None:
    gates = {"health": {"threshold": {"consecutive_failures": 1, "check_interval_seconds": 5}}}
    found, problems = parse(json.dumps({"environments": {"anything": {"quality_gates": gates}}}))
    assert problems == ()
    assert found is not None
    assert not found.environment("anything").auto_rollback.enabled


def test_a_new_gate_on_any_metric_needs_no_code() -> None:
    found: Any = gate(
        "rejected_share",
        kind="ratio",
        numerator=["images_rejected_total"],
        denominator=["images_ok_total", "images_rejected_total"],
        threshold={"max_percentage": 20, "evaluation_window_minutes": 5, "min_sample_size": 10},
        decision={"alert": "literal", "auto_rollback": "guarded"},
        actions=["alert", "auto_rollback"],
        on_no_data=[
            {"after_seconds": 60, "actions": ["alert"]},
            {"after_seconds": 600, "actions": ["auto_rollback"]},
        ],
    )
    assert found.decision_for(Action.ALERT) is Decision.LITERAL
    assert found.decision_for(Action.AUTO_ROLLBACK) is Decision.GUARDED
    assert [policy.after_seconds for policy in found.no_data_policies] == [60, 600]


def test_every_gate_alerts_after_two_minutes_of_silence_unless_it_says_otherwise() -> None:
    for name in DOCUMENT["environments"]:
        for _, found in shipped(name).quality_gates.enabled():
            assert [(one.after_seconds, one.actions) for one in found.no_data_policies] == [
                (120, (Action.ALERT,))
            ]


WRONG: list[tuple[Callable[[dict[str, Any]], object], str, str]] = [
    (
        lambda d: production(d)["quality_gates"]["health"]["threshold"].update(consecutive_failure=3),
        "environments.production.quality_gates.health.threshold.consecutive_failure",
        "did you mean consecutive_failures?",
    ),
    (
        lambda d: production(d)["quality_gates"]["health"]["threshold"].pop("consecutive_failures"),
        "environments.production.quality_gates.health.threshold.consecutive_failures",
        "is missing; it is a whole number at least 0",
    ),
    (
        lambda d: production(d)["quality_gates"]["health"].update(actions=["alert", "auto-rollback"]),
        "environments.production.quality_gates.health.actions.1",
        '"auto-rollback" is not allowed; it is one of alert, auto_rollback (did you mean auto_rollback?)',
    ),
    (
        lambda d: production(d)["quality_gates"]["error_rate"]["threshold"].update(max_error_percentage=101),
        "environments.production.quality_gates.error_rate.threshold.max_error_percentage",
        "101 is not allowed; it is a number at least 0, at most 100",
    ),
    (
        lambda d: production(d)["quality_gates"]["error_rate"]["threshold"].update(max_error_percentage="3"),
        "environments.production.quality_gates.error_rate.threshold.max_error_percentage",
        '"3" is not allowed; it is a number',
    ),
    (
        lambda d: production(d)["quality_gates"].update(
            extraction_failure=production(d)["quality_gates"].pop("extraction_failure_rate")
        ),
        "environments.production.quality_gates.extraction_failure",
        "did you mean extraction_failure_rate?",
    ),
    (
        lambda d: production(d)["quality_gates"].update(mine={"kind": "ratio", "threshold": {}}),
        "environments.production.quality_gates.mine.numerator",
        "is missing; it is a list",
    ),
    (
        lambda d: production(d)["quality_gates"]["error_rate"].update(numerator=['failed{code=~"5("}']),
        "environments.production.quality_gates.error_rate.numerator.0",
        'code=~"5(" is no pattern: missing ), unterminated subpattern',
    ),
    (
        lambda d: production(d)["quality_gates"]["health"]["threshold"].update(check_interval_seconds=5e-324),
        "environments.production.quality_gates.health.threshold.check_interval_seconds",
        "5e-324 is not allowed; it is a number at least 0.01, at most 86400",
    ),
    (
        lambda d: production(d)["auto_rollback"].update(enabled="yes"),
        "environments.production.auto_rollback.enabled",
        '"yes" is not allowed; it is true or false',
    ),
    (
        lambda d: production(d)["monitoring"].update(window_minutes=-1),
        "environments.production.monitoring.window_minutes",
        "-1 is not allowed; it is a number above 0, at most 1440",
    ),
    (
        lambda d: production(d)["notifications"].update(channels=["slak"]),
        "environments.production.notifications.channels.0",
        "did you mean slack?",
    ),
    (
        lambda d: d["global_settings"].update(metrics_endpoint="metrics"),
        "global_settings.metrics_endpoint",
        '"metrics" is not allowed',
    ),
    (lambda d: d.update(default_environment="prod"), "the file", "none of production, staging, development"),
    (lambda d: d.update(environment={}), "environment", "did you mean environments"),
    (lambda d: d.update(environments={}), "environments", "{} is not allowed"),
]


@pytest.mark.parametrize(("change", "where", "sentence"), WRONG)
def test_a_mistake_is_named_with_its_path_and_what_is_allowed(
    change: Callable[[dict[str, Any]], object], where: str, sentence: str
) -> None:
    found, problems = parse(changed(change))
    assert found is None
    assert where in [problem.where for problem in problems]
    assert sentence in next(problem.sentence for problem in problems if problem.where == where)


def test_all_mistakes_are_named_at_once() -> None:
    def twice(document: dict[str, Any]) -> None:
        production(document)["auto_rollback"]["enabled"] = 1
        document["global_settings"]["log_level"] = "inof"

    assert len(parse(changed(twice))[1]) == 2


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "[] is not allowed"),
        ('{"environments": {}, "environments": {}}', "stands twice"),
        ("[" * 100_000, "nested too deeply"),
        (SHIPPED.read_text().replace('"window_minutes": 60', '"window_minutes": NaN'), "NaN is not allowed"),
    ],
)
def test_what_is_no_gates_file_is_refused(text: str, sentence: str) -> None:
    found, problems = parse(text)
    assert found is None
    assert sentence in problems[0].sentence


def test_a_missing_file_and_an_unknown_environment_are_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(GatesFileError, match="there is no such file"):
        load(tmp_path / "none.json")
    with pytest.raises(UnknownGatesEnvironmentError, match="it has production, staging, development"):
        load(SHIPPED).environment("prod")


LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-3, 200), st.floats(-1, 200), st.text(max_size=4))


def paths(value: object, where: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [where, *(path for key, one in inner for path in paths(one, (*where, key)))]


@settings(deadline=None)  # a busy machine takes longer once
@example(
    (
        "environments",
        "production",
        "quality_gates",
        "extraction_failure_rate",
        "threshold",
        "min_sample_size",
    ),
    1.0,
)
@given(st.sampled_from([path for path in paths(DOCUMENT) if path]), LEAVES)
def test_models_and_published_schema_refuse_and_accept_the_same(path: tuple[Any, ...], leaf: object) -> None:
    document = copy.deepcopy(DOCUMENT)
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = leaf
    found, problems = parse(json.dumps(document))
    by_schema = jsonschema_rs.validator_for(schema()).is_valid(document)
    beyond_schema = path == (
        "default_environment",
    )  # that it names an environment is said by the model alone
    assert (found is not None) == by_schema or (beyond_schema and by_schema), problems


GIVEN = ("metric", "limit_metric", "histogram", "max_value")


@pytest.mark.parametrize("gate", ["time_trend", "memory_trend"])
def test_a_trend_follows_one_thing_for_models_and_schema_alike(gate: str) -> None:
    agreed, asked = 0, list(itertools.product(("missing", None, "given"), repeat=len(GIVEN)))
    for chosen in asked:
        document = copy.deepcopy(DOCUMENT)
        trend = production(document)["quality_gates"][gate]
        for name, value in zip(GIVEN, chosen, strict=True):
            place = trend["threshold"] if name == "max_value" else trend
            place.pop(name, None)
            if value != "missing":
                place[name] = 7 if value and name == "max_value" else value
        by_schema = jsonschema_rs.validator_for(schema()).is_valid(document)
        assert (parse(json.dumps(document))[0] is not None) == by_schema, dict(
            zip(GIVEN, chosen, strict=True)
        )
        agreed += by_schema
    assert 0 < agreed < len(asked)


def test_every_kind_of_gate_is_described_in_words() -> None:
    counters = {"numerator": ["bad_total"], "denominator": ["all_total"]}
    window = {"evaluation_window_minutes": 10, "min_sample_size": 20}
    own = {
        "slow": {
            "kind": "consecutive",
            "path": "/deep",
            "threshold": {"consecutive_failures": 1, "check_interval_seconds": 9},
        },
        "level": {
            "kind": "gauge",
            "metric": "depth",
            "threshold": {"max_value": 3, "check_interval_seconds": 60},
        },
        "share": {
            "kind": "ratio",
            **counters,
            "threshold": {"max_percentage": 5, **window},
            "quarantine": True,
            "decision": {"alert": "literal"},
            "actions": ["alert", "auto_rollback"],
            "full_window_confidence": 0.99,
        },
        "tail": {
            "kind": "quantile",
            "histogram": "t",
            "quantile": 0.5,
            "threshold": {"max_value": 2, **window},
        },
        "worse": {"kind": "regression", **counters, "threshold": {"max_ratio": 2, **window}},
    }
    words = {name: describe_gate(gate(name, **one)) for name, one in own.items()}
    assert words["slow"].startswith(
        "alerts when GET /deep, asked every 9 s, is not OK more than 1 times in a row"
    )
    assert "when depth, read every 60 s, is above 3" in words["level"]
    assert "more than 5 % of all_total (service) are bad_total over 10 min, with 20 samples" in words["share"]
    assert "for alert: decides as soon as there are enough samples" in words["share"]
    assert (
        "for auto_rollback: decides before the window is full only on conclusive evidence" in words["share"]
    )
    assert "0.99 confidence" in words["share"]
    assert "taken out of search" in words["share"]
    assert "the 0.5 quantile of t (service) is above 2 over 10 min" in words["tail"]
    assert "surely more than 2 times stable's" in words["worse"]
    assert "after 2 min without data it alerts" in words["worse"]
