"""One release after the other on Kubernetes: by itself, by Argo Rollouts, or by Flagger."""

import re
from collections.abc import Callable, Iterator, Mapping

import yaml

from guarded_rollout.export.analysis import Analysis, Measurement, analysis_of, scrape_job
from guarded_rollout.export.cluster import (
    HEAD,
    Cluster,
    Document,
    Json,
    deployment,
    meta,
    pod_comments,
    protections,
    service,
    workload,
)
from guarded_rollout.export.job import before_release
from guarded_rollout.export.queries import duration

NUMBER_LIKE = re.compile(r"[-+.]?\d")
ARGO, FLAGGER = "argoproj.io/v1alpha1", "flagger.app/v1beta1"


def kubernetes(cluster: Cluster) -> Iterator[Document]:
    """A Deployment, and what belongs to it. It asks probes alone: no gate is measured."""
    left = ", ".join(name for name, _ in cluster.gates.quality_gates.enabled())
    yield from before_release(cluster)
    pods = deployment(cluster)
    yield Document(pods.body, (*pods.comments, f"No gate is measured here but by probes: {left}."))
    yield service(cluster, cluster.name)
    yield from protections(cluster)


def argo(cluster: Cluster) -> Iterator[Document]:
    """A Rollout with the traffic's steps, and its gates as an AnalysisTemplate that runs beside them."""
    analysis = _analysis(cluster, "{{args.candidate}}")
    yield from before_release(cluster)
    gates, canary = tuple(_gate_comments(cluster, analysis)), _canary(cluster)
    if analysis.measurements:  # Argo refuses an analysis without metrics
        yield _template(cluster, analysis, gates)
        canary["analysis"] = {
            "templates": [{"templateName": f"{cluster.name}-gates"}],
            "startingStep": 1,
            "args": [{"name": "candidate", "valueFrom": {"podTemplateHashValue": "Latest"}}],
        }
    body = workload(cluster, ARGO, "Rollout")
    body["spec"] |= {"progressDeadlineAbort": True, "strategy": {"canary": canary}}
    unmeasured = () if analysis.measurements else (*gates, "No gate is measured: it goes by time and probes.")
    yield Document(body, (*pod_comments(cluster), *_argo_comments(cluster), *unmeasured))
    yield service(cluster, cluster.name)
    yield service(cluster, f"{cluster.name}-candidate")
    yield from protections(cluster)
    yield _scraping(cluster)


def _template(cluster: Cluster, analysis: Analysis, comments: tuple[str, ...]) -> Document:
    return Document(
        {
            "apiVersion": ARGO,
            "kind": "AnalysisTemplate",
            "metadata": meta(cluster, f"{cluster.name}-gates"),
            "spec": {
                "args": [{"name": "candidate"}],
                "metrics": [_argo_metric(cluster, each) for each in analysis.measurements],
            },
        },
        comments,
    )


def _argo_metric(cluster: Cluster, each: Measurement) -> Json:
    return {
        "name": each.gate.replace("_", "-"),
        "interval": duration(each.interval),
        "failureLimit": 0,  # the gate fails with its first value above the limit, as `rollout` decides
        "consecutiveErrorLimit": 4,
        "failureCondition": f"len(result) > 0 && result[0] > {each.limit:.15g}",
        "provider": {"prometheus": {"address": cluster.prometheus, "query": each.query}},
    }


def _canary(cluster: Cluster) -> Json:
    environment = cluster.environment
    most = 100 - environment.control_percent
    steps: list[Json] = []
    for step in environment.traffic:
        steps.append({"setWeight": min(step.percent, most)})
        if step.hold_seconds:
            steps.append({"pause": {"duration": duration(step.hold_seconds)}})
    steps.append({"pause": {"duration": duration(cluster.gates.monitoring.window_minutes * 60)}})
    return {
        "stableService": cluster.name,
        "canaryService": f"{cluster.name}-candidate",
        "maxUnavailable": 0,
        "maxSurge": "100%",
        "steps": steps,
    }


def _argo_comments(cluster: Cluster) -> Iterator[str]:
    yield "Without `trafficRouting` a weight is a share of the pods: add your ingress's, or more replicas."
    if cluster.environment.sticky:
        yield "Clients are not kept on their side: that is the ingress's to do."


def flagger(cluster: Cluster) -> Iterator[Document]:
    """A Deployment, a Canary over it with the traffic's steps, and a MetricTemplate for each gate."""
    analysis = _analysis(cluster, "{{ target }}")
    yield from before_release(cluster)
    yield deployment(cluster)
    for each in analysis.measurements:
        yield Document(
            {
                "apiVersion": FLAGGER,
                "kind": "MetricTemplate",
                "metadata": meta(cluster, _metric_name(cluster, each)),
                "spec": {
                    "provider": {"type": "prometheus", "address": cluster.prometheus},
                    "query": f"({each.query})\nor on () vector(0)",  # Flagger takes no value for a failure
                },
            }
        )
    yield Document(_flagger_canary(cluster, analysis), tuple(_flagger_comments(cluster, analysis)))
    yield from protections(cluster)
    yield _scraping(cluster)


def _metric_name(cluster: Cluster, each: Measurement) -> str:
    return f"{cluster.name}-{each.gate.replace('_', '-')}"


def _flagger_canary(cluster: Cluster, analysis: Analysis) -> Json:
    environment = cluster.environment
    most = 100 - environment.control_percent
    weights = sorted({min(step.percent, most) for step in environment.traffic})
    interval = max([step.hold_seconds for step in environment.traffic] + [10.0])
    return {
        "apiVersion": FLAGGER,
        "kind": "Canary",
        "metadata": meta(cluster, cluster.name),
        "spec": {
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": cluster.name},
            "progressDeadlineSeconds": max(600, round(2 * environment.checks.start_seconds)),
            "service": {"port": 80, "targetPort": "http"},
            "analysis": {
                "interval": duration(interval),
                "threshold": 1,  # the first value above a limit takes the release back
                "stepWeights": weights,
                "metrics": [
                    {
                        "name": each.gate.replace("_", "-"),
                        "interval": duration(each.interval),
                        "templateRef": {
                            "name": _metric_name(cluster, each),
                            "namespace": cluster.namespace,
                        },
                        "thresholdRange": {"max": each.limit},
                    }
                    for each in analysis.measurements
                ],
            },
        },
    }


def _flagger_comments(cluster: Cluster, analysis: Analysis) -> Iterator[str]:
    yield from _gate_comments(cluster, analysis)
    minutes = cluster.gates.monitoring.window_minutes
    yield f"Flagger promotes after the last step: nothing keeps the window of {minutes:g} minutes open."
    yield "All steps are held alike, for the longest of their times."


def _analysis(cluster: Cluster, slot: str) -> Analysis:
    environment = cluster.environment
    return analysis_of(environment.name, slot, cluster.gates, environment.service.exported.names)


def _gate_comments(cluster: Cluster, analysis: Analysis) -> Iterator[str]:
    for name, why in analysis.left_out.items():
        yield f"Without {name}: {why}."
    for name, why in analysis.looser.items():
        yield f"{name}: {why}."
    if analysis.measurements:
        yield f"The series come from the job in the ConfigMap {cluster.name}-scrape."


def _scraping(cluster: Cluster) -> Document:
    job = scrape_job(cluster.environment.name, cluster.namespace, cluster.name)
    text: str = yaml.safe_dump([job], sort_keys=False)
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta(cluster, f"{cluster.name}-scrape")}
    return Document(
        body | {"data": {"scrape.yml": text}}, ("Give this job to Prometheus (`scrape_configs`).",)
    )


ENGINES: Mapping[str, Callable[[Cluster], Iterator[Document]]] = {
    "kubernetes": kubernetes,
    "argo": argo,
    "flagger": flagger,
}


class _Legible(yaml.SafeDumper):
    """Longer texts as blocks, and no aliases, which not everything that reads manifests knows."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """A string that stays one: kubectl's parser reads 1e5 and 0o17 as numbers, which PyYAML leaves plain."""
    style = "|" if "\n" in text else "'" if NUMBER_LIKE.match(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Legible.add_representer(str, _text)


def as_manifests(kind: str, documents: Iterator[Document]) -> str:
    """One YAML file of documents, each below its comments."""
    parts = []
    for number, document in enumerate(documents):
        said = (HEAD.format(kind=kind), *document.comments) if number == 0 else document.comments
        comments = "".join(f"# {line}\n" for line in said)
        body = yaml.dump(document.body, Dumper=_Legible, sort_keys=False, width=110, allow_unicode=True)
        parts.append(f"---\n{comments}{body}")
    return "".join(parts)
