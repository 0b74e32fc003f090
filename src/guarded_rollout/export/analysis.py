"""The gates as measurements that a cluster's engine takes: a query of Prometheus, and a limit."""

from collections.abc import Mapping
from dataclasses import dataclass

from guarded_rollout.config.gates import EnvironmentGates
from guarded_rollout.config.kinds import ConsecutiveGate, Gate, RegressionGate, TrendGate
from guarded_rollout.config.terms import Action, Decision, Source
from guarded_rollout.export.queries import ON_SLOT, NoQueryError, in_prometheus, query_of

HERE = {Source.SERVICE}
"""The sources that a cluster's Prometheus asks. There is no proxy of ours, nor what the monitor reads."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """A gate's value of one slot in its unit, nothing while samples are too few. Above `limit` it fails."""

    gate: str
    query: str
    limit: float
    interval: float  # seconds between two


@dataclass(frozen=True, slots=True)
class Analysis:
    """The gates that take a release back, measured; and gate → why for those that cannot be."""

    measurements: tuple[Measurement, ...]
    left_out: Mapping[str, str]
    looser: Mapping[str, str]  # measured, but for what is said


def analysis_of(environment: str, slot: str, gates: EnvironmentGates, names: Mapping[str, str]) -> Analysis:
    """The analysis of one slot, which an engine may name by a variable of its own."""
    measured: list[Measurement] = []
    left_out: dict[str, str] = {}
    looser: dict[str, str] = {}
    for name, gate in gates.quality_gates.enabled():
        try:
            measured.append(_measurement(name, gate, environment, slot, gates, names))
        except NoQueryError as error:
            left_out[name] = str(error)
            continue
        if getattr(gate, "decision", None) is Decision.GUARDED:
            looser[name] = "it decides early on conclusive evidence; here it waits for its samples"
        if gate.no_data_policies:
            looser.setdefault(
                name, "no data passes here; alert on that by the rules of `gates export prometheus`"
            )
    return Analysis(tuple(measured), left_out, looser)


def _measurement(
    name: str, gate: Gate, environment: str, slot: str, gates: EnvironmentGates, names: Mapping[str, str]
) -> Measurement:
    if Action.AUTO_ROLLBACK not in gate.actions:
        raise NoQueryError("it only alerts; `rollout gates export prometheus` has it as a rule")
    if isinstance(gate, ConsecutiveGate):
        own = not gate.path and gate.source is Source.PROBE and gate.side == "candidate"
        raise NoQueryError("pods are asked by their probes" if own else "only the monitor asks this")
    if isinstance(gate, RegressionGate):
        raise NoQueryError("only the monitor compares two releases: its sequential test needs a memory")
    if (source := getattr(gate, "source", Source.SERVICE)) not in HERE:
        ingress = source in (Source.PROXY, Source.EDGE)
        raise NoQueryError(
            f"there is no {source} of ours here; your ingress counts requests too"
            if ingress
            else f"only the monitor reads this source: {source}"
        )
    query = query_of(in_prometheus(gate, names), environment, slot)
    threshold = gate.threshold  # type: ignore[attr-defined]
    limit = 100.0 if isinstance(gate, TrendGate) else float(threshold.limit)
    value = query.value
    if query.samples:
        value += f"\nand {ON_SLOT}\n  {query.samples} >= {threshold.min_samples}"
    return Measurement(name, value, limit, _interval(gate, gates))


def _interval(gate: Gate, gates: EnvironmentGates) -> float:
    own = getattr(getattr(gate, "threshold", None), "check_interval_seconds", None)
    return float(own or gates.monitoring.poll_intervals.initial_interval_seconds)


def scrape_job(environment: str, namespace: str, app: str) -> dict[str, object]:
    """The job that gives the pods' series the labels which the queries ask for.

    A slot is a release's: the hash of its pods' template with Argo Rollouts, its workload with Flagger.
    """
    pods = "__meta_kubernetes_pod"

    def relabel(source: str, target: str) -> dict[str, object]:
        return {"source_labels": [source], "regex": "(.+)", "target_label": target, "replacement": "$1"}

    return {
        "job_name": "rollout-service",
        "kubernetes_sd_configs": [{"role": "pod", "namespaces": {"names": [namespace]}}],
        "relabel_configs": [
            {"source_labels": [f"{pods}_label_app"], "regex": f"{app}(-primary)?", "action": "keep"},
            {"source_labels": [f"{pods}_container_port_name"], "regex": "http", "action": "keep"},
            relabel(f"{pods}_annotation_prometheus_io_path", "__metrics_path__"),
            {"target_label": "environment", "replacement": environment},
            relabel(f"{pods}_label_app", "slot"),
            relabel(f"{pods}_label_rollouts_pod_template_hash", "slot"),
        ],
    }
