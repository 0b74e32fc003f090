"""What `rollout export` writes is valid by the engines' schemas, and its gates decide as `gates replay`."""

import contextlib
import copy
import json
import math
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from typer.testing import CliRunner

from guarded_rollout.cli.app import app
from guarded_rollout.config.gates import EnvironmentGates, load
from guarded_rollout.config.terms import Decision
from guarded_rollout.gates.replay import replay
from guarded_rollout.gates.samples import Histogram, Recording
from tests.guarded_rollout import gatekit
from tests.guarded_rollout.test_export import (
    CASES,
    SHIPPED,
    Case,
    needs_promtool,
    promtool,
    with_labels,
)

ROOT = Path(__file__).parents[2]
KINDS = ("kubernetes", "argo", "flagger")
CRDS = {
    "Rollout": "argo-rollout",
    "AnalysisTemplate": "argo-analysis-template",
    "Canary": "flagger-canary",
    "MetricTemplate": "flagger-metric-template",
}
IMAGE = "images.example/dhash:1.4.0"

Json = dict[str, Any]


def exported(kind: str, *words: str) -> str:
    given = [] if kind == "containerfile" else ["--image", IMAGE]
    run = CliRunner().invoke(app, ["export", kind, *given, *words])
    assert run.exit_code == 0, run.output
    return run.output


def documents(kind: str, *words: str) -> list[Json]:
    return list(yaml.safe_load_all(exported(kind, *words)))


def of_kind(kind: str, wanted: str) -> list[Json]:
    return [each for each in documents(kind) if each["kind"] == wanted]


def strict(schema: Any) -> Any:
    """The schema without room for keys that it does not name, as a server with strict validation has it."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items()}
    closed = isinstance(made.get("properties"), dict) and "additionalProperties" not in made
    if closed and not made.get("x-kubernetes-preserve-unknown-fields"):
        made["additionalProperties"] = False
    if made.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
    return made


def schema_of(kind: str) -> Json:
    text = (ROOT / "tests" / "guarded_rollout" / "fixtures" / "crds" / f"{CRDS[kind]}.json").read_text()
    schema: Json = strict(json.loads(text))
    schema["properties"]["metadata"] = {"type": "object"}
    return schema


def validate(document: Json) -> None:
    """Raise for a document that its engine would refuse."""
    if document["kind"] in CRDS:
        jsonschema.validate(document, schema_of(document["kind"]))
    if document["kind"] == "Rollout":
        spec = {key: document["spec"][key] for key in ("selector", "template", "replicas")}
        meta = document["metadata"]
        document = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}
    if document["kind"] not in CRDS:
        kubernetes_validate.validate(document, "1.34", strict=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("env", ["production", "staging", "development"])
def test_every_document_is_valid(kind: str, env: str) -> None:
    found = documents(kind, "--env", env, "--set", "DHASH_HOST=0.0.0.0")
    for document in found:
        validate(document)
    kinds = {document["kind"] for document in found}
    assert kinds >= {"PersistentVolumeClaim", "Job", "PodDisruptionBudget", "NetworkPolicy"}
    engine = {"kubernetes": {"Deployment"}, "argo": {"Rollout"}, "flagger": {"Canary"}}
    assert kinds >= engine[kind]


def planted(document: Json) -> Iterator[tuple[str, Json]]:
    """The document with one mistake each."""

    def mistaken(*path: str | int, value: object) -> Json:
        made = copy.deepcopy(document)
        inner: Any = made
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        return made

    spec = ("spec",)
    pods = (*spec, "template", "spec")
    if document["kind"] in ("Rollout", "Deployment"):
        yield "replicas in words", mistaken(*spec, "replicas", value="ten")
        yield "an unknown key", mistaken(*spec, "replica", value=2)
        yield "a port in words", mistaken(*pods, "containers", 0, "ports", 0, "containerPort", value="http")
        yield "a probe misspelt", mistaken(*pods, "containers", 0, "readynessProbe", value={})
    if document["kind"] == "Rollout":
        yield "a weight in words", mistaken(*spec, "strategy", "canary", "steps", 0, "setWeight", value="10%")
        yield "a step misspelt", mistaken(*spec, "strategy", "canary", "steps", 0, "weight", value=10)
    if document["kind"] == "AnalysisTemplate":
        yield "no provider", mistaken(*spec, "metrics", 0, value={"name": "gate"})
        yield "a condition that is none", mistaken(*spec, "metrics", 0, "failureCondition", value=5)
        yield "an unknown key", mistaken(*spec, "metrics", 0, "failCondition", value="true")
    if document["kind"] == "Canary":
        yield "weights in words", mistaken(*spec, "analysis", "stepWeights", value=["ten"])
        yield (
            "a limit in words",
            mistaken(*spec, "analysis", "metrics", 0, "thresholdRange", value={"max": "5"}),
        )
        yield "no target", mistaken(*spec, "targetRef", value={"kind": "Deployment"})
    if document["kind"] == "MetricTemplate":
        yield "another provider", mistaken(*spec, "provider", "type", value="abacus")
    if document["kind"] in ("Job", "NetworkPolicy", "PodDisruptionBudget", "Service"):
        yield "an unknown key", mistaken(*spec, "extra", value=1)


MISTAKES = [
    pytest.param(wrong, id=f"{kind} {document['kind']}: {what}")
    for kind in KINDS
    for document in documents(kind)
    for what, wrong in planted(document)
]


@pytest.mark.parametrize("wrong", MISTAKES)
def test_a_mistake_is_refused(wrong: Json) -> None:
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        validate(wrong)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("kind", KINDS)
def test_kustomize_takes_it_as_a_resource(kind: str, tmp_path: Path) -> None:
    (tmp_path / "made.yaml").write_text(exported(kind))
    (tmp_path / "kustomization.yaml").write_text(
        "resources: [made.yaml]\nimages:\n- name: images.example/dhash\n  newTag: 1.5.0\n"
    )
    done = subprocess.run(
        ["kubectl", "kustomize", str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    built = list(yaml.safe_load_all(done.stdout))
    assert len(built) == len(documents(kind))
    assert "images.example/dhash:1.5.0" in done.stdout


# ---- what is written


def test_pods_run_as_a_user_without_rights_and_have_the_service_s_variables() -> None:
    (rollout,) = of_kind("argo", "Rollout")
    pod = rollout["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["command"] == ["/app/bin/dhash", "serve"]
    values = {each["name"]: each.get("value") for each in container["env"]}
    assert values["DHASH_RELEASE"] == "1.4.0"
    assert values["DHASH_PORT"] == "8080"
    assert "DHASH_UDS" not in values
    assert pod["terminationGracePeriodSeconds"] > 30  # as long as requests may take to drain


def test_the_steps_are_the_traffic_s_and_the_window_s() -> None:
    (rollout,) = of_kind("argo", "Rollout")
    steps = rollout["spec"]["strategy"]["canary"]["steps"]
    assert [step["setWeight"] for step in steps if "setWeight" in step] == [10, 50, 95]
    assert steps[-1] == {"pause": {"duration": "1h"}}
    (canary,) = of_kind("flagger", "Canary")
    assert canary["spec"]["analysis"]["stepWeights"] == [10, 50, 95]
    assert canary["spec"]["analysis"]["threshold"] == 1


def test_the_job_backs_up_before_it_expands() -> None:
    (job,) = of_kind("kubernetes", "Job")
    spec = job["spec"]["template"]["spec"]
    assert spec["initContainers"][0]["command"][:3] == ["/app/bin/dhash", "db", "snapshot"]
    assert spec["containers"][0]["command"] == ["/app/bin/dhash", "db", "upgrade", "--json", "--expand-only"]


@pytest.mark.parametrize("kind", ["argo", "flagger"])
def test_a_gate_is_measured_or_a_comment_says_why_not(kind: str) -> None:
    text = exported(kind)
    for name, _ in load(SHIPPED).environment("production").quality_gates.enabled():
        measured = f"name: {name.replace('_', '-')}\n" in text or f"-{name.replace('_', '-')}\n" in text
        assert measured != (f"# Without {name}: " in text), name
    assert "# extraction_failure_rate: it decides early on conclusive evidence" in text


def test_what_is_no_variable_is_refused() -> None:
    run = CliRunner().invoke(app, ["export", "kubernetes", "--image", IMAGE, "--set", "DHASH_HOST"])
    assert run.exit_code == 1, "2 is a rollback"
    assert "'DHASH_HOST' is no NAME=VALUE" in run.output


def test_the_image_is_built_of_locked_wheels_and_runs_as_nobody_s_user() -> None:
    text = exported("containerfile")
    assert "--require-hashes -r locks/service.txt" in text
    assert (ROOT / "locks" / "service.txt").exists()
    lines = text.splitlines()
    assert lines.index("USER 10001:10001") < next(n for n, line in enumerate(lines) if "ENTRYPOINT" in line)
    assert 'ENTRYPOINT ["/app/bin/dhash", "serve"]' in lines


# ---- services of others

EXAMPLES = ROOT / "examples"
UVICORN = "uvicorn orders:app --host 0.0.0.0 --port 8080"


def of_example(name: str, kind: str, *words: str) -> list[Json]:
    with contextlib.chdir(EXAMPLES / name):
        return documents(kind, *words)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["notes", "orders", "quotes"])
def test_each_example_can_be_exported(name: str, kind: str) -> None:
    for document in of_example(name, kind, *(["--serve", UVICORN] if name == "orders" else [])):
        validate(document)
        assert not re.search(r"\{[a-z_]+\}", json.dumps(document)), "a placeholder that nothing fills in"


def test_what_serves_on_a_unix_socket_alone_asks_what_serves_in_a_pod() -> None:
    for words in (["kubernetes", "--image", IMAGE], ["containerfile"]):
        with contextlib.chdir(EXAMPLES / "orders"):
            run = CliRunner().invoke(app, ["export", *words])
        assert run.exit_code == 1
        assert "commands.serve means something on the guard's own machine alone: {uds}." in run.output
        assert "--serve 'uvicorn orders:app --host 0.0.0.0 --port 8080'" in run.output
    with contextlib.chdir(EXAMPLES / "orders"):
        assert f"ENTRYPOINT {json.dumps(UVICORN.split())}" in exported("containerfile", "--serve", UVICORN)
        (pods,) = (one for one in documents("kubernetes", "--serve", UVICORN) if one["kind"] == "Deployment")
    assert pods["spec"]["template"]["spec"]["containers"][0]["command"] == UVICORN.split()


def test_a_service_without_data_is_told_of_none_and_reaches_none() -> None:
    with contextlib.chdir(EXAMPLES / "quotes"):
        text = exported("kubernetes", "--set", "PORT=8080")
        assert "In a pod it has to listen on port 8080: say so by --set" in exported("kubernetes")
    assert "Secret" not in text
    assert "5432" not in text


def test_pods_read_a_variable_with_a_secret_in_it_from_a_secret(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "quotes", tmp_path, dirs_exist_ok=True)
    settings = tmp_path / "rollout.toml"
    both = 'variables.PORT = "{uds}"\nvariables.KEY = "$API_KEY"\nvariables.URL = "http://u:${PW}@h"\n'
    settings.write_text(settings.read_text().replace('variables.PORT = "{uds}"\n', both))
    with contextlib.chdir(tmp_path):
        text = exported("kubernetes", "--set", "PORT=8080")
    assert "Needs the Secret quotes-variables with the values of KEY, URL." in text
    (pods,) = (one for one in yaml.safe_load_all(text) if one["kind"] == "Deployment")
    validate(pods)
    variables = {one["name"]: one for one in pods["spec"]["template"]["spec"]["containers"][0]["env"]}
    for name in ("KEY", "URL"):
        assert variables[name]["valueFrom"] == {"secretKeyRef": {"name": "quotes-variables", "key": name}}
    assert "API_KEY" not in text


def test_an_analysis_without_metrics_which_argo_refuses_is_left_out() -> None:
    found = of_example("quotes", "argo")
    (rollout,) = (one for one in found if one["kind"] == "Rollout")
    assert "analysis" not in rollout["spec"]["strategy"]["canary"]
    assert not [one for one in found if one["kind"] == "AnalysisTemplate"]
    with contextlib.chdir(EXAMPLES / "quotes"):
        assert "# No gate is measured: it goes by time and probes." in exported("argo")


@pytest.mark.parametrize("value", ["1e5", "12e4567", "0o17", "0b1", "1_000", "010", "1:30", ".5", "yes", "~"])
def test_a_variable_stays_a_string_for_each_parser(value: str) -> None:
    """kubectl's reads 1e5 and 0o17 as numbers, PyYAML does not: quoted they are strings to both."""
    assert f"value: '{value}'\n" in exported("kubernetes", "--set", f"COMMIT={value}")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--image", "an image:1"], "'an image:1' is no image that a cluster takes."),
        (["--image", "images.example/Dhash:1"], "is no image that a cluster takes."),
        (["--image", "dhash:1@sha256:12"], "is no image that a cluster takes."),
        (["--namespace", "My_space"], "'My_space' is no namespace that a cluster takes."),
        (["--serve", "uvicorn 'orders"], '--serve "uvicorn \'orders" is no command: no closing quotation.'),
    ],
)
def test_what_a_cluster_would_refuse_is_refused_here(words: list[str], said: str) -> None:
    run = CliRunner().invoke(app, ["export", "kubernetes", "--image", IMAGE, *words])
    assert run.exit_code == 1
    assert said in run.output


@pytest.mark.parametrize("image", ["dhash", "h:5000/a/b_c/d-e:1.0", f"a.example/b@sha256:{'0' * 64}"])
def test_each_kind_of_reference_to_an_image_is_taken(image: str) -> None:
    assert f"image: {image}\n" in exported("kubernetes", "--image", image)


# ---- the gates decide alike


def measured(kind: str) -> dict[str, tuple[str, float]]:
    """Each gate's query of the blue slot and its limit, as the engine would ask it."""
    if kind == "argo":
        (template,) = of_kind("argo", "AnalysisTemplate")
        return {
            metric["name"].replace("-", "_"): (
                metric["provider"]["prometheus"]["query"].replace("{{args.candidate}}", "blue"),
                float(metric["failureCondition"].rpartition(" > ")[2]),
            )
            for metric in template["spec"]["metrics"]
        }
    queries = {
        each["metadata"]["name"]: each["spec"]["query"] for each in of_kind("flagger", "MetricTemplate")
    }
    (canary,) = of_kind("flagger", "Canary")
    return {
        metric["name"].replace("-", "_"): (
            queries[metric["templateRef"]["name"]].replace("{{ target }}", "blue"),
            float(metric["thresholdRange"]["max"]),
        )
        for metric in canary["spec"]["analysis"]["metrics"]
    }


def literal(gates: EnvironmentGates) -> EnvironmentGates:
    """The same gates, by the plain words of their limits: none decides early, on conclusive evidence."""
    plain = {
        name: gate.model_copy(update={"decision": Decision.LITERAL})
        for name, gate in gates.quality_gates.enabled()
        if hasattr(gate, "decision")
    }
    return gates.model_copy(update={"quality_gates": gates.quality_gates.model_copy(update=plain)})


def replayed(case: Case, environment: EnvironmentGates) -> bool:
    """True where `gates replay` would take the release back, on the same series at the same times."""
    samples = []
    for turn in range(40):
        values = {name: value_at(series, turn) for name, series in case.series.items()}
        counters = {
            f"images_{each}": values.get(f'dhash_images_total{{outcome="{each}"}}', 0.0)
            for each in ("ok", "failed", "rejected")
        }
        buckets = {
            float(name.partition('le="')[2].rstrip('"}').replace("+Inf", "inf")): value
            for name, value in values.items()
            if "_bucket" in name
        }
        edges = tuple(sorted(buckets))
        histogram = Histogram(edges, tuple(buckets[at] for at in edges)) if edges else None
        queue = values.get("dhash_low_confidence_queue_length")
        samples.append(
            gatekit.service(
                turn * 30.0,
                **counters,
                histogram=histogram,
                **({} if queue is None else {"low_confidence_queue_length": queue}),
            )
        )
    found = replay(environment, Recording(samples=samples, began_at=0.0, opened_at=0.0))
    return any(change.verdict.gate == case.gate and change.actions for change in found.changes)


def value_at(series: str, turn: int) -> float:
    """The value of promtool's notation `a+bxn` or `axn`, as what counts whole things would have it."""
    start, plus, rest = series.partition("x")[0].partition("+")
    return float(start) + (math.floor(float(rest) * turn + 1e-9) if plus else 0.0)


MEASURED = [case for case in CASES if case.environment == "production" and case.gate in measured("argo")]


@needs_promtool
@pytest.mark.parametrize("kind", ["argo", "flagger"])
def test_a_gate_decides_as_its_literal_replay_on_the_same_series(kind: str, tmp_path: Path) -> None:
    asked = measured(kind)
    rules = [
        {"alert": name, "expr": f"({query}) > {limit:.15g}", "labels": {"gate": name}}
        for name, (query, limit) in asked.items()
    ]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "gates", "rules": rules}]}))
    tests = []
    for case in MEASURED:
        shipped = load(SHIPPED).environment("production")
        decision = replayed(case, literal(shipped))
        assert replayed(case, shipped) or not decision  # early decisions are more, never fewer
        expr = f'count(ALERTS{{alertstate="firing",gate="{case.gate}"}})'
        wanted = [{"labels": "{}", "value": 1}] if decision else []
        tests.append(
            {
                "name": str(case),
                "interval": "30s",
                "input_series": [
                    {"series": with_labels(name, case.environment), "values": values}
                    for name, values in case.series.items()
                ],
                "promql_expr_test": [{"expr": expr, "eval_time": "20m", "exp_samples": wanted}],
            }
        )
    assert {bool(test["promql_expr_test"][0]["exp_samples"]) for test in tests} == {True, False}
    whole = {"rule_files": ["rules.yml"], "evaluation_interval": "30s", "tests": tests}
    (tmp_path / "test.yml").write_text(yaml.safe_dump(whole))
    promtool("test", "rules", tmp_path / "test.yml")


@needs_promtool
def test_the_scrape_job_is_one_for_prometheus(tmp_path: Path) -> None:
    for kind in ("argo", "flagger"):
        (config,) = of_kind(kind, "ConfigMap")
        jobs = yaml.safe_load(config["data"]["scrape.yml"])
        for job in jobs:  # Debian's Prometheus finds no pods; what is made of them it can judge
            assert job.pop("kubernetes_sd_configs") == [{"role": "pod", "namespaces": {"names": ["dhash"]}}]
            job["static_configs"] = [{"targets": ["127.0.0.1:8080"]}]
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump({"scrape_configs": jobs}))
        promtool("check", "config", tmp_path / "prometheus.yml")
