"""A real Prometheus that asks a real rollout: every rule and every panel has its answer."""

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from guarded_rollout.export.analysis import scrape_job
from tests.guarded_rollout.load import picture
from tests.guarded_rollout.sandbox import Sandbox, free_port, wait_until
from tests.guarded_rollout.test_export_cluster import measured

ROOT = Path(__file__).parents[2]
PROMETHEUS = shutil.which("prometheus")
SUBMITS = 30
NOT_YET = {"Answers by status", "client_error_rate", "error_rate"}
"""Their series begin with the first answer of that kind."""

pytestmark = pytest.mark.skipif(
    PROMETHEUS is None, reason="prometheus (Debian's package of this name) is not installed"
)


class Prometheus:
    """A running server."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=10)

    def listens(self) -> bool:
        """Whether it answers, and has found what to scrape."""
        try:
            if self._client.get("/-/ready").status_code != 200:
                return False
        except httpx.TransportError:
            return False
        return bool(self.ask("targets")["activeTargets"])

    def ready(self) -> bool:
        """Whether it listens, and some release of the service has answered it."""
        return self.listens() and "1" in self.up("rollout-service").values()

    def ask(self, path: str, **parameters: str) -> Any:
        answer = self._client.get(f"/api/v1/{path}", params=parameters).json()
        assert answer["status"] == "success", (answer, parameters)
        return answer["data"]

    def query(self, expr: str) -> list[dict[str, Any]]:
        """What an expression gives now; a series that is no number is none."""
        found = self.ask("query", query=expr.replace("$__rate_interval", "1m"))["result"]
        return [one for one in found if one["value"][1] != "NaN"]

    def up(self, job: str) -> dict[str, str]:
        """Whether each slot's target answered, by slot."""
        found = self.query(f'up{{job="{job}"}}')
        return {one["metric"].get("slot", ""): one["value"][1] for one in found}


@contextmanager
def prometheus(folder: Path, metrics_port: int) -> Iterator[Prometheus]:
    """The shipped configuration, on this environment's port, asking every second."""
    shipped = ROOT / "deploy" / "prometheus"
    text = (shipped / "prometheus.yml").read_text().replace("9300", str(metrics_port))
    rules = (shipped / "quality-gates.rules.yml").read_text()
    (folder / "quality-gates.rules.yml").write_text(re.sub(r"interval: \d+s", "interval: 1s", rules))
    with serving(folder, text.replace("_interval: 15s", "_interval: 1s")) as server:
        yield server


@contextmanager
def serving(folder: Path, text: str) -> Iterator[Prometheus]:
    """A Prometheus with this configuration, until the block ends."""
    config = folder / "prometheus.yml"
    config.write_text(text)
    assert PROMETHEUS is not None
    address = f"127.0.0.1:{free_port()}"
    words = [
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([PROMETHEUS, *words], stdout=log, stderr=log)
    try:
        yield Prometheus(f"http://{address}")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)


@pytest.fixture(scope="module")
def watched(_project: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """The real service behind the real proxy, a few requests, and a Prometheus that has seen them."""
    public = httpx.Client(base_url=f"http://127.0.0.1:{_project.port}")
    with prometheus(tmp_path_factory.mktemp("prometheus"), _project.metrics_port) as server:
        wait_until(server.ready, 60, "the first scrape")
        submit(public)
        first = 'caddy_http_request_duration_seconds_count{server=~"blue|green",code="201"}'
        wait_until(lambda: server.query(first), 60, "the first submit in Prometheus")
        for _ in range(SUBMITS):
            submit(public)
        wait_until(lambda: server.query('sum(increase(dhash_images_total{outcome="ok"}[1m])) > 20'), 60)
        yield server


def submit(public: httpx.Client) -> None:
    headers = {"Content-Type": "image/png"}
    assert public.post("/api/dhash", content=picture(2000), headers=headers).status_code == 201


def test_the_slots_and_the_proxy_are_scraped(watched: Prometheus) -> None:
    assert sorted(watched.up("rollout-service").values()) == ["0", "1"]  # one slot is idle
    assert watched.up("rollout-health") == {
        "blue": "1",
        "green": "1",
    }  # asked, and answered 0 for the idle one
    assert watched.up("rollout-proxy") == {"": "1"}


def test_every_rule_is_loaded_and_evaluates(watched: Prometheus) -> None:
    wait_until(lambda: all(rule["health"] == "ok" for rule in loaded(watched)), 60, "every rule evaluated")
    shipped = yaml.safe_load((ROOT / "deploy" / "prometheus" / "quality-gates.rules.yml").read_text())
    assert len(loaded(watched)) == sum(len(group["rules"]) for group in shipped["groups"])
    assert [
        rule["name"] for rule in loaded(watched) if of_production(rule) and rule["state"] == "firing"
    ] == []


def loaded(server: Prometheus) -> list[dict[str, Any]]:
    return [rule for group in server.ask("rules")["groups"] for rule in group["rules"]]


def of_production(rule: dict[str, Any]) -> bool:
    return bool(rule["labels"]["environment"] == "production")


def test_every_metric_of_rules_and_panels_was_really_scraped(watched: Prometheus) -> None:
    names = set(watched.ask("label/__name__/values"))
    for expr in (*(rule["query"] for rule in loaded(watched)), *expressions().values()):
        used = metric_names(expr)
        assert used, expr
        assert used <= names | {"ALERTS"}, expr  # Prometheus's own, there once one fires


def metric_names(expr: str) -> set[str]:
    """What stands before the braces of a selector."""
    return set(re.findall(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\{", expr))


def expressions() -> dict[str, str]:
    """Every query of the production dashboard, by its panel."""
    board = json.loads((ROOT / "deploy" / "grafana" / "production.json").read_text())
    found = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in board["panels"]
        for target in panel.get("targets", [])
    }
    return found | {"annotations": board["annotations"]["list"][0]["expr"]}


@pytest.mark.parametrize("panel", [name for name in expressions() if name[:-2] not in NOT_YET])
def test_every_panel_shows_something(watched: Prometheus, panel: str) -> None:
    expr = expressions()[panel]
    wait_until(lambda: watched.query(expr), 60, expr)


@pytest.mark.parametrize("panel", [name for name in expressions() if name[:-2] in NOT_YET])
def test_every_other_panel_asks_without_error(watched: Prometheus, panel: str) -> None:
    watched.query(expressions()[panel])


def test_what_is_shown_is_what_happened(watched: Prometheus) -> None:
    gates = {
        name: expressions()[f"{name} A"] for name in ("extraction_failure_rate", "p95_hash_time", "health")
    }
    (failures,) = watched.query(gates["extraction_failure_rate"])
    assert float(failures["value"][1]) == 0.0
    (p95,) = watched.query(gates["p95_hash_time"])
    assert 0 < float(p95["value"][1]) < 2000
    health = {one["metric"]["slot"]: float(one["value"][1]) for one in watched.query(gates["health"])}
    (serving,) = {one["metric"]["slot"] for one in watched.query("dhash_build_info")}
    assert health[serving] == 0
    share = watched.query(expressions()["Share of the traffic A"])
    assert {one["metric"]["slot"]: float(one["value"][1]) for one in share}[serving] == pytest.approx(100)


@pytest.mark.parametrize("kind", ["argo", "flagger"])
def test_the_gates_for_a_cluster_find_the_serving_slot_well(watched: Prometheus, kind: str) -> None:
    (serving,) = {one["metric"]["slot"] for one in watched.query("dhash_build_info")}
    for gate, (query, limit) in measured(kind).items():
        asked = query.replace('slot="blue"', f'slot="{serving}"')
        values = [float(one["value"][1]) for one in watched.query(asked)]
        if kind == "flagger" or gate == "low_confidence_queue":
            assert len(values) == 1, gate  # Flagger takes nothing for a failure
        assert all(value <= limit for value in values), gate


@pytest.mark.parametrize(("hash", "slot"), [("", "dhash-primary"), ("6f7d8", "6f7d8")])
def test_the_job_for_a_cluster_gives_pods_the_labels_that_the_queries_ask_for(
    tmp_path: Path, hash: str, slot: str
) -> None:
    found = {"app": "dhash-primary"} | ({"rollouts_pod_template_hash": hash} if hash else {})
    pod = {f"__meta_kubernetes_pod_label_{name}": value for name, value in found.items()}
    pod["__meta_kubernetes_pod_container_port_name"] = "http"
    pod["__meta_kubernetes_pod_annotation_prometheus_io_path"] = "/metrics"
    other = pod | {"__meta_kubernetes_pod_label_app": "somebody-else"}
    job = scrape_job("production", "dhash", "dhash")
    del job["kubernetes_sd_configs"]  # what it would find stands here
    job["static_configs"] = [
        {"targets": ["127.0.0.1:1"], "labels": pod},
        {"targets": ["127.0.0.1:2"], "labels": other},
    ]
    with serving(tmp_path, yaml.safe_dump({"scrape_configs": [job]})) as server:
        wait_until(server.listens, 60, "Prometheus listens")
        (target,) = server.ask("targets")["activeTargets"]
    assert target["labels"] == {
        "environment": "production",
        "instance": "127.0.0.1:1",
        "job": "rollout-service",
        "slot": slot,
    }
    assert target["scrapeUrl"].endswith("/metrics")
