"""What a Kubernetes cluster is told of a service: pods, a job before a release, and what protects them.

Everything is made of rollout.toml. What a cluster does by itself is left to it; what it cannot do is said in
a comment above the document that lacks it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from guarded_rollout.config.environments import Environment
from guarded_rollout.config.gates import EnvironmentGates
from guarded_rollout.config.recipe import BuildKind
from guarded_rollout.config.service import Service
from guarded_rollout.errors import ClusterNameError, PodCommandError
from guarded_rollout.secret import filled, names_in

Json = dict[str, Any]

PORT = 8080  # of a container; below 1024 would need a right that it does not get
USER = 10_001
BIN, DATA = "/app/bin", "/data"
IMAGE = re.compile(
    r"(?=.{1,255}$)([A-Za-z0-9.-]+(:\d+)?/)?[a-z0-9]+(([._]|__|-+|/)[a-z0-9]+)*(:\w[\w.-]{0,127})?(@sha\d+:[0-9a-f]{32,})?"
)
"""A reference to an image, as the OCI's distribution specification has it."""
NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # a label of RFC 1123
HEAD = (
    "Made by `rollout export {kind}` from rollout.toml and the gates file: edit these and export this again."
)


@dataclass(frozen=True, slots=True)
class Cluster:
    """The image, the namespace, the pods and Prometheus; `variables` are a pod's beside rollout.toml's.

    `expand` are the words after `schema_upgrade` that apply the expanding revisions alone, `snapshot` those
    after `store_snapshot` that end well where there is no store yet, `serve` those that serve where
    rollout.toml's do so on a unix socket. Raises `ClusterNameError` for an image or a namespace that is none.
    """

    environment: Environment
    gates: EnvironmentGates
    image: str
    namespace: str
    replicas: int = 2
    prometheus: str = "http://prometheus.monitoring:9090"
    metrics_path: str = "/metrics"
    variables: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    expand: Sequence[str] = ("--expand-only",)
    serve: Sequence[str] = ()
    snapshot: Sequence[str] = ("--if-exists",)

    def __post_init__(self) -> None:
        if not IMAGE.fullmatch(self.image):
            rule = "Say, for example, --image images.example/service:1.4.0"
            raise ClusterNameError(given=self.image, what="image", rule=rule)
        if not NAMESPACE.fullmatch(self.namespace):
            rule = "Use small letters, digits and -, 63 at most"
            raise ClusterNameError(given=self.namespace, what="namespace", rule=rule)

    @property
    def name(self) -> str:
        return self.environment.service.name

    @property
    def release(self) -> str:
        """What the rows of these pods are stamped with: the image's tag or digest."""
        return self.image.rpartition("@")[2].rpartition(":")[2] if "@" in self.image else self._tag

    @property
    def _tag(self) -> str:
        last = self.image.rpartition("/")[2]
        return last.rpartition(":")[2] if ":" in last else "latest"


@dataclass(frozen=True, slots=True)
class Document:
    """A Kubernetes object, and what is to be said above it."""

    body: Json
    comments: tuple[str, ...] = ()


def labels(cluster: Cluster) -> Json:
    return {"app": cluster.name}


def meta(cluster: Cluster, name: str, **more: Any) -> Json:
    """An object's name, namespace and labels."""
    return {"name": name, "namespace": cluster.namespace, "labels": labels(cluster), **more}


def deployment(cluster: Cluster) -> Document:
    """The pods of one release, replaced a few at a time."""
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    body = workload(cluster, "apps/v1", "Deployment")
    body["spec"]["strategy"] = strategy
    return Document(body, tuple(pod_comments(cluster)))


def workload(cluster: Cluster, version: str, kind: str) -> Json:
    """An object with a template of pods; a Deployment, or what stands in for one."""
    checks = cluster.environment.checks
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": meta(cluster, cluster.name),
        "spec": {
            "replicas": cluster.replicas,
            "revisionHistoryLimit": cluster.environment.keep_releases,
            "progressDeadlineSeconds": max(600, round(2 * checks.start_seconds)),
            "selector": {"matchLabels": labels(cluster)},
            "template": template(cluster),
        },
    }


def template(cluster: Cluster) -> Json:
    """The pods: nobody's but a user without rights, on a file system that cannot be written to."""
    checks = cluster.environment.checks
    words = served_by(cluster.environment.service, cluster.serve)
    serving = container(cluster, cluster.name, words) | {
        "ports": [{"name": "http", "containerPort": PORT}],
        "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},  # until no one sends requests here any more
        **probes(cluster),
    }
    return {
        "metadata": {
            "labels": labels(cluster),
            "annotations": {
                "prometheus.io/scrape": "true",
                "prometheus.io/port": str(PORT),
                "prometheus.io/path": cluster.metrics_path,
            },
        },
        "spec": pod(cluster, [serving])
        | {"terminationGracePeriodSeconds": checks.drain_seconds + 5 + 10, "restartPolicy": "Always"},
    }


def pod(cluster: Cluster, containers: list[Json], before: Sequence[Json] = ()) -> Json:
    """A pod's spec; `before` run to their end before the containers start."""
    spec: Json = {
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": containers,
        "volumes": [{"name": "scratch", "emptyDir": {}}],
    }
    return spec | ({"initContainers": list(before)} if before else {})


def container(cluster: Cluster, name: str, words: Sequence[str]) -> Json:
    """A container of the service's image."""
    return {
        "name": name,
        "image": cluster.image,
        "command": list(words),
        "env": list(variables(cluster)),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "scratch", "mountPath": "/tmp"},
            {"name": "scratch", "mountPath": DATA, "subPath": "data"},
        ],
    }


def served_by(service: Service, words: Sequence[str]) -> list[str]:
    """What serves in a container: `words` if there are any, else rollout.toml's. Raises `PodCommandError`."""
    return list(words) or command(service, "serve")


def command(service: Service, name: str) -> list[str]:
    """One of the service's commands, as it stands in the image.

    Raises `PodCommandError` for one that needs what is on the guard's machine, such as `{uds}`.
    """
    known = in_image(service)
    words = service.commands[name]
    if holes := [hole for word in words for hole in _unknown(word, known)]:
        named = ", ".join(f"{{{hole}}}" for hole in holes)
        example = f"uvicorn {service.name}:app --host 0.0.0.0 --port {PORT}"
        raise PodCommandError(name=name, holes=named, port=PORT, example=example)
    return [filled(word, known) for word in words]


def in_image(service: Service) -> Mapping[str, str]:
    """Where things are in the image: in ours of wheels, or in one whose working directory has the files."""
    python = f"{BIN}/python" if service.build is BuildKind.WHEEL else "python3"
    return {"bin": BIN, "app": ".", "python": python}


def variables(cluster: Cluster) -> Iterator[Json]:
    """A container's environment: the service's variables, where they mean something in a pod."""
    known = _values(cluster)
    service = cluster.environment.service
    for name, text in service.variables.items():
        if name in cluster.variables:
            continue
        if text == "{store}":
            store = {"name": f"{cluster.name}-store", "key": "url"}
            yield {"name": name, "valueFrom": {"secretKeyRef": store}}
        elif names_in(text):  # of the operator's secrets; `$$` is one dollar sign to Kubernetes as well
            secret = {"name": f"{cluster.name}-variables", "key": name}
            yield {"name": name, "valueFrom": {"secretKeyRef": secret}}
        elif not _unknown(text, known):
            yield {"name": name, "value": filled(text, known)}
    if service.port_variable and service.port_variable not in cluster.variables:
        yield {"name": service.port_variable, "value": str(PORT)}
    for name, value in cluster.variables.items():
        yield {"name": name, "value": value}


def _values(cluster: Cluster) -> Mapping[str, str]:
    environment = cluster.environment
    return {
        **in_image(environment.service),
        "release": cluster.release,
        "workers": str(environment.workers),
        "drain": str(environment.checks.drain_seconds),
        "root": DATA,
        "backup_count": str(environment.keep_backups),
    }


def _unknown(text: str, known: Mapping[str, str]) -> list[str]:
    return [hole for hole in re.findall(r"\{([a-z_]+)\}", text) if hole not in known]


def probes(cluster: Cluster) -> Json:
    """How the cluster asks: ready by the health endpoint, alive by the port, so that a store that is away
    restarts nobody."""
    checks, health = cluster.environment.checks, cluster.environment.service.health
    period = max(1, round(checks.validation_interval_seconds))
    ready = {
        "httpGet": {"path": health.path, "port": "http"},
        "periodSeconds": period,
        "timeoutSeconds": max(1, round(health.timeout_seconds or checks.timeout_seconds)),
    }
    tries = max(1, round(checks.start_seconds / period))
    return {
        "startupProbe": ready | {"failureThreshold": tries},
        "readinessProbe": ready | {"failureThreshold": checks.consecutive},
        "livenessProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 10, "failureThreshold": 3},
    }


def pod_comments(cluster: Cluster) -> Iterator[str]:
    """What pods lack, or need beside this."""
    known, service = _values(cluster), cluster.environment.service
    if needs_store(cluster):
        secret = f"Needs the Secret {cluster.name}-store with the store's URL as `url`"
        yield f"{secret}; several pods need a server."
    yield f"What is written below {DATA} ends with its pod: mount a volume there for files that shall stay."
    here = {name: text for name, text in service.variables.items() if name not in cluster.variables}
    if secrets := [name for name, text in here.items() if names_in(text)]:
        yield f"Needs the Secret {cluster.name}-variables with the values of {', '.join(secrets)}."
        here = {name: text for name, text in here.items() if name not in secrets}
    if left := [name for name, text in here.items() if text != "{store}" and _unknown(text, known)]:
        yield f"Not set in pods, for they mean something on the guard's own machine alone: {', '.join(left)}."
    if any("{uds}" in here[name] for name in left) and not (cluster.serve or service.port_variable):
        said = f"say so by --set, such as PORT={PORT}, or by --serve"
        yield f"In a pod it has to listen on port {PORT}: {said}."
    if any(not 200 <= code < 400 for code in service.health.valid_status_codes):
        yield f"A probe takes 200 to 399 for healthy, not {list(service.health.valid_status_codes)}."
    if service.checks:
        named = ", ".join(service.checks)
        yield f"Not asked here: the checks {named}; `rollout premerge` and `rollout smoke` run them."


def needs_store(cluster: Cluster) -> bool:
    here = cluster.environment.service.variables.items()
    return any(text == "{store}" and name not in cluster.variables for name, text in here)


def service(cluster: Cluster, name: str) -> Document:
    """A name for the pods."""
    spec = {"selector": labels(cluster), "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}
    return Document({"apiVersion": "v1", "kind": "Service", "metadata": meta(cluster, name), "spec": spec})


def protections(cluster: Cluster) -> Iterator[Document]:
    """One pod may be away at a time; in come only requests, out go only questions for names and the store."""
    budget = {"maxUnavailable": 1, "selector": {"matchLabels": labels(cluster)}}
    yield Document(
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": meta(cluster, cluster.name),
            "spec": budget,
        }
    )
    names = {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}
    store = {"ports": [{"protocol": "TCP", "port": 5432}]}
    stored = needs_store(cluster)
    yield Document(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": meta(cluster, cluster.name),
            "spec": {
                "podSelector": {"matchLabels": labels(cluster)},
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [{"ports": [{"protocol": "TCP", "port": PORT}]}],
                "egress": [names, store] if stored else [names],
            },
        },
        ("A store that does not listen on 5432 needs its port here.",) if stored else (),
    )
