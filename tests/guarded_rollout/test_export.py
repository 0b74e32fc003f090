"""The gates as Prometheus rules: the limits, windows and severities of the gates file."""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from guarded_rollout.cli.app import app
from guarded_rollout.config import environments
from guarded_rollout.config.gates import load, parse
from guarded_rollout.config.kinds import Gate
from guarded_rollout.config.terms import Source
from guarded_rollout.export.grafana import dashboard
from guarded_rollout.export.prometheus import as_yaml, groups_of
from guarded_rollout.export.queries import JOBS, NoQueryError, duration, quoted, series
from guarded_rollout.monitor.sources import source_of
from tests.guarded_rollout.gatekit import SHIPPED, gates_file

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "quality-gates.rules.yml"
FILE = load(SHIPPED)
EXPORTED = environments.load(ROOT / "rollout.toml").environment("production").service.exported
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool (Debian's package prometheus) is not installed"
)


def promtool(*words: str | Path) -> str:
    """What promtool said; it must be content."""
    done = subprocess.run(["promtool", *map(str, words)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# ---- the files in deploy/


def test_the_rules_are_what_the_command_prints() -> None:
    printed = CliRunner().invoke(app, ["gates", "export", "prometheus", "--config", str(SHIPPED)])
    assert printed.output == RULES.read_text(), "run: rollout gates export prometheus > " + str(RULES)


@needs_promtool
def test_promtool_finds_nothing_wrong_with_rules_and_scrape_configuration() -> None:
    promtool("check", "rules", RULES)
    promtool("check", "config", ROOT / "deploy" / "prometheus" / "prometheus.yml")


def test_the_scrape_configuration_has_a_job_for_every_source_of_the_rules() -> None:
    jobs = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    asked = {rule["expr"] for rule in rules("production") if rule["alert"] == "QualityGateNoData"}
    for job in jobs:
        assert any(f'job="{job["job_name"]}"' in expr for expr in asked)
        for target in job["static_configs"]:
            assert target["labels"]["environment"] == "production"
    assert len(jobs) == len(asked) == len(JOBS)


# ---- the rules, one by one


def exported(environment: str) -> dict[str, Gate]:
    """The gates that Prometheus can judge: not those of sources that it is not told of."""
    gates = FILE.environment(environment).quality_gates.enabled()
    return {name: gate for name, gate in gates if source_of(gate) in JOBS and not getattr(gate, "path", "")}


def rules(environment: str) -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    found: list[dict[str, Any]] = next(
        group["rules"] for group in groups if group["name"] == f"quality-gates-{environment}"
    )
    return found


@pytest.mark.parametrize("environment", list(FILE.environments))
def test_every_gate_has_one_rule_and_its_severity_follows_from_its_actions(environment: str) -> None:
    gates = exported(environment)
    group = next(one for one in groups_of(FILE) if one.name == f"quality-gates-{environment}")
    enabled = [name for name, _ in FILE.environment(environment).quality_gates.enabled()]
    assert [one for one in enabled if one not in group.left_out] == list(gates)
    made = [rule for rule in rules(environment) if rule["alert"] != "QualityGateNoData"]
    assert [rule["labels"]["gate"] for rule in made] == list(gates)
    for rule in made:
        actions = gates[rule["labels"]["gate"]].actions
        assert rule["labels"]["severity"] == ("critical" if "auto_rollback" in actions else "warning")


@dataclass(frozen=True)
class Case:
    """Series every 30 s, in promtool's notation, and what fires at `minute`: labels beyond the usual ones."""

    gate: str
    what: str
    series: dict[str, str]
    fires: tuple[dict[str, str], ...] = ()
    environment: str = "production"
    minute: float = 20

    def __str__(self) -> str:
        return f"{self.environment} {self.gate} {self.what}"


BLUE = ({"slot": "blue"},)


def images(ok: float, failed: float) -> dict[str, str]:
    """So many images in each half minute."""
    return {
        'dhash_images_total{outcome="ok"}': f"0+{ok}x100",
        'dhash_images_total{outcome="failed"}': f"0+{failed}x100",
        'dhash_images_total{outcome="rejected"}': "0+500x100",  # theirs, not ours
    }


def times(fast: float, slow: float, edge: float) -> dict[str, str]:
    """So many fingerprints below and above the edge, in seconds, in each half minute."""
    counts = {"0.001": 0.0, f"{edge:g}": fast, f"{edge * 1.25:g}": fast + slow, "+Inf": fast + slow}
    buckets = {f'dhash_hash_seconds_bucket{{le="{le}"}}': f"0+{count}x100" for le, count in counts.items()}
    return {**buckets, "dhash_hash_seconds_count": f"0+{fast + slow}x100"}


def requests(good: float, bad: float) -> dict[str, str]:
    return {
        'dhash_requests_total{route="/api/dhash",code="201"}': f"0+{good}x100",
        'dhash_requests_total{route="/api/dhash",code="503"}': f"0+{bad}x100",
    }


def answers(good: float, bad: float) -> dict[str, str]:
    name = "caddy_http_request_duration_seconds_count"
    inner = 'server="blue",handler="reverse_proxy",method="POST"'
    return {
        f'{name}{{{inner},code="201"}}': f"0+{good}x100",
        f'{name}{{{inner},code="502"}}': f"0+{bad}x100",
        f'{name}{{server="public",handler="reverse_proxy",method="POST",code="502"}}': "0+500x100",
        f'{name}{{server="blue",handler="vars",method="POST",code="502"}}': "0+500x100",
    }


def health(blue: str, green: str, traffic: bool = True) -> dict[str, str]:
    return {
        "rollout_slot_healthy": blue,
        'rollout_slot_healthy{slot="green"}': green,
        **(answers(10, 0) if traffic else {}),
    }


UP = {'up{job="rollout-service"}': "1x100", 'up{job="rollout-service",slot="green"}': "0x100"}
DOWN = {'up{job="rollout-service"}': "1x30 0x30"}

CASES = [
    Case("extraction_failure_rate", "within 5 percent", images(95.1, 4.9)),
    Case("extraction_failure_rate", "beyond 5 percent", images(94.9, 5.1), BLUE),
    Case("extraction_failure_rate", "19 samples", images(0, 0.95)),
    Case("extraction_failure_rate", "21 samples", images(0, 1.05), BLUE),
    Case("extraction_failure_rate", "within 10 percent", images(90.1, 9.9), (), "staging"),
    Case("extraction_failure_rate", "beyond 10 percent", images(89.9, 10.1), BLUE, "staging"),
    Case("p95_hash_time", "within 2 s", times(96, 4, 2)),
    Case("p95_hash_time", "beyond 2 s", times(94, 6, 2), BLUE),
    Case("p95_hash_time", "49 samples", times(0, 49 / 30, 2)),
    Case("p95_hash_time", "51 samples", times(0, 51 / 30, 2), BLUE),
    Case("p95_hash_time", "within 3 s", times(96, 4, 3), (), "staging"),
    Case("p95_hash_time", "beyond 3 s", times(94, 6, 3), BLUE, "staging"),
    Case("low_confidence_queue", "at 1000", {"dhash_low_confidence_queue_length": "1000x100"}),
    Case("low_confidence_queue", "at 1001", {"dhash_low_confidence_queue_length": "1001x100"}, BLUE),
    Case("low_confidence_queue", "at 500", {"dhash_low_confidence_queue_length": "500x100"}, (), "staging"),
    Case("low_confidence_queue", "at 501", {"dhash_low_confidence_queue_length": "501x100"}, BLUE, "staging"),
    Case("memory_usage", "at 85", {"dhash_memory_usage_percentage": "85x100"}),
    Case("memory_usage", "above 85", {"dhash_memory_usage_percentage": "85.1x100"}, BLUE),
    Case("error_rate", "within 3 percent", requests(97.1, 2.9)),
    Case("error_rate", "beyond 3 percent", requests(96.9, 3.1), BLUE),
    Case("error_rate", "9 samples", requests(0, 0.9)),
    Case("error_rate", "no failure yet", {'dhash_requests_total{route="/",code="200"}': "0+10x100"}),
    Case("client_error_rate", "within 10 percent", answers(90.1, 9.9)),
    Case("client_error_rate", "beyond 10 percent", answers(89.9, 10.1), BLUE),
    Case("client_error_rate", "19 samples", answers(0, 1.9)),
    Case("health", "healthy beside an idle slot", health("1x100", "0x100")),
    Case("health", "two failing checks", health("1x38 0x1 1x20", "0x100")),
    Case("health", "three failing checks", health("1x37 0x3 1x20", "0x100"), (*BLUE, {})),
    Case("health", "a warm slot that nobody reaches", health("0x100", "1x100", traffic=False)),
    Case("health", "a slot that clients reach", health("0x100", "1x100"), BLUE),
    Case("health", "nothing healthy, nobody asks", health("0x100", "0x100", traffic=False), ({},)),
    Case("health", "three failing checks", health("1x37 0x3 1x20", "0x100"), (), "staging"),
]


SILENCES = [
    Case("error_rate", "one slot answers", UP),
    Case("error_rate", "silent for a minute", DOWN, minute=16),
    Case("error_rate", "silent for two minutes", DOWN, ({},), minute=18),
    Case("error_rate", "never there", {}, ({},), minute=3),
]


@needs_promtool
def test_rules_fire_beyond_their_limits_and_only_there(tmp_path: Path) -> None:
    judge(tmp_path, [in_promtool(case, breach(case)) for case in CASES])


@needs_promtool
def test_silence_is_told_after_as_long_as_the_gates_say(tmp_path: Path) -> None:
    judge(tmp_path, [in_promtool(case, silence(case)) for case in SILENCES])


@needs_promtool
def test_promtool_would_see_a_rule_that_is_wrong(tmp_path: Path) -> None:
    """The proof of the two tests above: other gates, same expectations."""
    laxer = SHIPPED.read_text().replace('"max_usage_percentage": 85', '"max_usage_percentage": 90')
    path = tmp_path / "laxer.json"
    path.write_text(laxer)
    other = tmp_path / "rules.yml"
    other.write_text(as_yaml(groups_of(load(path), EXPORTED.names)))
    wrong = [in_promtool(case, breach(case)) for case in CASES if case.gate == "memory_usage"]
    with pytest.raises(AssertionError, match="QualityGateMemoryUsage"):
        judge(tmp_path, wrong, other)


def breach(case: Case) -> dict[str, str]:
    """The labels of the gate's alert."""
    severity = next(
        rule["labels"]["severity"] for rule in rules(case.environment) if rule["labels"]["gate"] == case.gate
    )
    alert = "QualityGate" + "".join(word.capitalize() for word in case.gate.split("_"))
    return {"alertname": alert, "gate": case.gate, "severity": severity}


def silence(case: Case) -> dict[str, str]:
    """The labels of the alert that tells of a silent source."""
    (gates,) = (
        rule["labels"]["gate"]
        for rule in rules(case.environment)
        if rule["alert"] == "QualityGateNoData" and case.gate in rule["labels"]["gate"].split(",")
    )
    return {"alertname": "QualityGateNoData", "gate": gates, "severity": "warning"}


def in_promtool(case: Case, usual: dict[str, str]) -> dict[str, Any]:
    """The case as promtool's unit tests have it."""
    usual = usual | {"alertstate": "firing", "environment": case.environment}
    fires = [{"labels": labelled("ALERTS", usual | more), "value": 1} for more in case.fires]
    asked = labelled(
        "ALERTS", {"alertname": usual["alertname"], "alertstate": "firing", "gate": usual["gate"]}
    )
    filled = [
        {"series": with_labels(name, case.environment), "values": values}
        for name, values in case.series.items()
    ]
    expectation = {"expr": asked, "eval_time": f"{round(case.minute * 60)}s", "exp_samples": fires}
    return {
        "name": str(case),
        "interval": "30s",
        "input_series": filled,
        "promql_expr_test": [expectation],
    }


def judge(folder: Path, tests: list[dict[str, Any]], rule_file: Path = RULES) -> None:
    """Have promtool run the rules over the tests' series and compare."""
    path = folder / "test.yml"
    whole = {"rule_files": [str(rule_file)], "evaluation_interval": "30s", "tests": tests}
    path.write_text(yaml.safe_dump(whole))
    promtool("test", "rules", path)


def with_labels(name: str, environment: str) -> str:
    """The series with the labels that the scrape configuration gives it."""
    bare, _, inside = name.partition("{")
    labels = inside.rstrip("}")
    slot = "" if "slot=" in labels or bare.startswith("caddy") else 'slot="blue",'
    return f'{bare}{{environment="{environment}",{slot}{labels}}}'


def labelled(name: str, labels: dict[str, str]) -> str:
    return name + "{" + ",".join(f'{label}="{value}"' for label, value in labels.items()) + "}"


# ---- gates of one's own


OWN: dict[str, Any] = {
    "rejected_share": {
        "kind": "regression",
        "numerator": ["images_rejected_total"],
        "denominator": ["images_ok_total", "images_rejected_total"],
        "threshold": {"max_ratio": 1, "evaluation_window_minutes": 10, "min_sample_size": 50},
    },
    "upstream": {
        "kind": "ratio",
        "numerator": ['http_requests_total{code=~"5\\d\\d"}', "timeouts_total"],
        "denominator": ["http_requests_total"],
        "threshold": {"max_percentage": 2.5, "evaluation_window_minutes": 2.5, "min_sample_size": 5},
    },
    "slow_clients": {
        "kind": "quantile",
        "source": "proxy",
        "histogram": "response_seconds",
        "quantile": 0.99,
        "unit": "s",
        "threshold": {"max_value": 0.75, "evaluation_window_minutes": 5, "min_sample_size": 10},
    },
    "teapots": {
        "kind": "ratio",
        "source": "proxy",
        "numerator": ["responses_418_total", "responses_failed_total"],
        "denominator": ["responses_total"],
        "threshold": {"max_percentage": 1, "evaluation_window_minutes": 5, "min_sample_size": 10},
    },
    "depth": {
        "kind": "gauge",
        "metric": "queue-depth",
        "threshold": {"max_value": 3, "check_interval_seconds": 30},
    },
    "length": {
        "kind": "gauge",
        "metric": "queue_length",
        "threshold": {"max_value": 3, "alert_value": 1, "check_interval_seconds": 30},
    },
    "replica": {
        "kind": "consecutive",
        "path": "/health/replica",
        "threshold": {"consecutive_failures": 2, "check_interval_seconds": 30},
    },
    "off": {
        "kind": "gauge",
        "enabled": False,
        "metric": "queue_depth",
        "threshold": {"max_value": 3, "check_interval_seconds": 30},
    },
}


def rule_file(gates: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "own.rules.yml"
    path.write_text(as_yaml(groups_of(gates_file(**gates), EXPORTED.names)))
    return path


@needs_promtool
def test_own_gates_become_rules_or_a_line_that_says_why_not(tmp_path: Path) -> None:
    path = rule_file(OWN, tmp_path)
    promtool("check", "rules", path)
    made = {rule["labels"]["gate"] for rule in yaml.safe_load(path.read_text())["groups"][0]["rules"]}
    assert {"upstream", "slow_clients", "teapots", "length"} <= made
    assert re.search(r"queue_length\S*\) > 1$", path.read_text(), re.MULTILINE), "from where it alerts on"
    assert made.isdisjoint({"rejected_share", "depth", "replica", "off"})
    for name, why in (
        ("rejected_share", "sequential"),
        ("depth", "queue-depth"),
        ("replica", "/health/replica"),
    ):
        assert any(f"# without {name}" in line and why in line for line in path.read_text().splitlines())


@needs_promtool
def test_counters_of_several_names_are_added_up_even_where_one_is_not_there_yet(tmp_path: Path) -> None:
    path = rule_file({"upstream": OWN["upstream"]}, tmp_path)
    ok, bad = 'http_requests_total{code="200"}', 'http_requests_total{code="503"}'
    usual = {"alertname": "QualityGateUpstream", "gate": "upstream", "severity": "warning"}
    without = Case("upstream", "5 % of one", {ok: "0+95x100", bad: "0+5x100"}, BLUE)
    both = Case(
        "upstream", "2 % and 1 %", {ok: "0+98x100", bad: "0+2x100", "timeouts_total": "0+1x100"}, BLUE
    )
    fewer = Case("upstream", "1 % and 1 %", {ok: "0+99x100", bad: "0+1x100", "timeouts_total": "0+1x100"})
    judge(tmp_path, [in_promtool(case, usual) for case in (without, both, fewer)], path)


HOSTILE = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


@settings(deadline=None)
@example(name="gate", environment="FALSE", words="", unit="")
@example(name="gate", environment="\u2028- alert: x", words="{{ fail }}", unit='"')
@given(name=HOSTILE, environment=HOSTILE, words=HOSTILE, unit=HOSTILE)
def test_no_name_breaks_out_of_its_place(name: str, environment: str, words: str, unit: str) -> None:
    threshold = {"max_value": 3, "check_interval_seconds": 30}
    gauge = {"kind": "gauge", "metric": "depth", "description": words, "unit": unit, "threshold": threshold}
    text = json.dumps({"environments": {environment: {"quality_gates": {f"own {name}": gauge}}}})
    file, problems = parse(text)
    assert file is not None, problems
    (group,) = yaml.safe_load(as_yaml(groups_of(file, EXPORTED.names)))["groups"]
    breach, silence = group["rules"]
    assert breach["labels"] == {"severity": "warning", "environment": environment, "gate": f"own {name}"}
    assert breach["expr"] == f"max by (environment, slot) (depth{{environment={quoted(environment)}}}) > 3"
    assert silence["alert"] == "QualityGateNoData"
    json.loads(json.dumps(dashboard(environment, file.environment(environment), EXPORTED)))


@needs_promtool
def test_promtool_takes_hostile_names_for_names(tmp_path: Path) -> None:
    gauge = OWN["depth"] | {"metric": "depth", "description": '{{ fail "x" }} \u2028 "'}
    path = rule_file(
        {'x" > 1 or vector(1) #': gauge, "{{ $value }}\n  - alert: more": gauge, "дом": gauge}, tmp_path
    )
    promtool("check", "rules", path)
    assert len(yaml.safe_load(path.read_text())["groups"][0]["rules"]) == 4  # and one for silence


@pytest.mark.parametrize(
    "name", ["", "a-b", "a{", 'a{b="c"', "a b", "1a", 'a{b!="c"}', "a} or vector(1) or b{"]
)
def test_what_is_no_series_is_refused(name: str) -> None:
    with pytest.raises(NoQueryError):
        series(name, Source.SERVICE, "production")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(60, "1m"), (90, "90s"), (3600, "1h"), (5400, "90m"), (0.2, "200ms"), (1.5, "1500ms"), (86_400, "24h")],
)
def test_lengths_of_time_are_exact(seconds: float, words: str) -> None:
    assert duration(seconds) == words
