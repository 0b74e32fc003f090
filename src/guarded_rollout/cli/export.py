"""`rollout export`: the same release and gates for Kubernetes, Argo Rollouts and Flagger."""

import shlex
import sys
from typing import Annotated

import typer

from guarded_rollout.cli.app import Env, app
from guarded_rollout.cli.registry import COMMANDS
from guarded_rollout.cli.session import Output, project_gates, reporting, settings_file
from guarded_rollout.config import gates
from guarded_rollout.config.environments import load
from guarded_rollout.errors import UsageError, VariableError

commands = typer.Typer(no_args_is_help=True, help=COMMANDS["export"].summary)
app.add_typer(commands, name="export")

Image = Annotated[str, typer.Option(help="The image, with its tag or digest: the release's id in rows.")]
Namespace = Annotated[str, typer.Option(help="Namespace.", show_default="the service's name")]
Replicas = Annotated[int, typer.Option(min=1, help="Pods of a release.")]
Prometheus = Annotated[str, typer.Option(help="Prometheus, as the engine reaches it.")]
Set = Annotated[
    list[str], typer.Option("--set", help="NAME=VALUE for pods, such as the address to listen on.")
]
Serve = Annotated[
    str, typer.Option(help="What serves in a container, if rollout.toml's command needs the guard's machine.")
]
Expand = Annotated[
    str, typer.Option(help="Words after schema_upgrade that apply the expanding revisions alone.")
]
Snapshot = Annotated[
    str, typer.Option(help="Words after store_snapshot that end well where there is no store yet.")
]


@commands.command(
    epilog="Example: rollout export kubernetes --image images.example/dhash:1.4.0 --set DHASH_HOST=0.0.0.0"
)
def kubernetes(
    image: Image,
    env: Env = "production",
    namespace: Namespace = "",
    replicas: Replicas = 2,
    set_: Set = [],  # noqa: B006
    expand: Expand = "--expand-only",
    serve: Serve = "",
    snapshot: Snapshot = "--if-exists",
) -> None:
    """Print a Deployment, its Service, the Job before a release, and what protects them; gates as probes."""
    _print("kubernetes", image, env, namespace, replicas, "", set_, expand, serve, snapshot)


@commands.command(epilog="Example: rollout export argo --image images.example/dhash:1.4.0 > argo.yaml")
def argo(
    image: Image,
    env: Env = "production",
    namespace: Namespace = "",
    replicas: Replicas = 10,
    prometheus: Prometheus = "http://prometheus.monitoring:9090",
    set_: Set = [],  # noqa: B006
    expand: Expand = "--expand-only",
    serve: Serve = "",
    snapshot: Snapshot = "--if-exists",
) -> None:
    """Print a Rollout with the traffic's steps and the gates as an AnalysisTemplate, and what belongs to it.

    A comment names each gate that cannot be expressed, and why.
    """
    _print("argo", image, env, namespace, replicas, prometheus, set_, expand, serve, snapshot)


@commands.command(epilog="Example: rollout export flagger --image images.example/dhash:1.4.0 > flagger.yaml")
def flagger(
    image: Image,
    env: Env = "production",
    namespace: Namespace = "",
    replicas: Replicas = 2,
    prometheus: Prometheus = "http://prometheus.monitoring:9090",
    set_: Set = [],  # noqa: B006
    expand: Expand = "--expand-only",
    serve: Serve = "",
    snapshot: Snapshot = "--if-exists",
) -> None:
    """Print a Canary with the traffic's steps, a MetricTemplate for each gate, and what belongs to it.

    A comment names each gate that cannot be expressed, and why.
    """
    _print("flagger", image, env, namespace, replicas, prometheus, set_, expand, serve, snapshot)


@commands.command(epilog="Example: rollout export containerfile > Containerfile")
def containerfile(env: Env = "production", serve: Serve = "") -> None:
    """Print a Containerfile: the wheel, its hash-locked requirements, and a user without rights."""
    with reporting(Output()):
        from guarded_rollout.export.image import containerfile as text

        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        typer.echo(text(load(settings_file()).environment(env), version, _words(serve)), nl=False)


def _print(
    kind: str,
    image: str,
    env: str,
    namespace: str,
    replicas: int,
    prometheus: str,
    variables: list[str],
    expand: str,
    serve: str,
    snapshot: str,
) -> None:
    with reporting(Output()):
        from guarded_rollout.export.cluster import Cluster
        from guarded_rollout.export.engines import ENGINES, as_manifests
        from guarded_rollout.monitor.targets import path_of

        pods = _variables(variables)
        environment = load(settings_file()).environment(env)
        file = gates.load(project_gates())
        cluster = Cluster(
            environment,
            file.environment(env),
            image,
            namespace or environment.service.name,
            replicas,
            prometheus,
            path_of(file.global_settings.metrics_endpoint),
            pods,
            tuple(expand.split()),
            _words(serve),
            tuple(snapshot.split()),
        )
        typer.echo(as_manifests(kind, ENGINES[kind](cluster)), nl=False)


def _words(serve: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(serve))
    except ValueError as error:
        raise UsageError(detail=f"--serve {serve!r} is no command: {str(error).lower()}.") from None


def _variables(given: list[str]) -> dict[str, str]:
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise VariableError(given=text)
        found[name] = value
    return found
