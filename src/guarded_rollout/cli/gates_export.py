"""`rollout gates export prometheus | grafana`: the same gates for those who watch with these."""

import json
from pathlib import Path
from typing import Annotated

import typer

from guarded_rollout.cli.gates import SHIPPED, commands
from guarded_rollout.cli.session import Output, reporting
from guarded_rollout.config import gates
from guarded_rollout.export.grafana import dashboard
from guarded_rollout.export.prometheus import as_yaml, groups_of

exports = typer.Typer(no_args_is_help=True, help="Write the gates for Prometheus and Grafana.")
commands.add_typer(exports, name="export")

File = Annotated[Path, typer.Option("--config", help="Gates file.")]


@exports.command(
    epilog="Example: rollout gates export prometheus > deploy/prometheus/quality-gates.rules.yml"
)
def prometheus(config: File = SHIPPED) -> None:
    """Print Prometheus alert rules: the gates' limits, windows and severities, for every environment."""
    with reporting(Output()):
        typer.echo(as_yaml(groups_of(gates.load(config))), nl=False)


@exports.command(epilog="Example: rollout gates export grafana --env staging > deploy/grafana/staging.json")
def grafana(
    config: File = SHIPPED,
    env: Annotated[str | None, typer.Option("--env", help="Environment. [the gates file's default]")] = None,
) -> None:
    """Print a Grafana dashboard of one environment: each gate against its limit, for both slots."""
    with reporting(Output()):
        file = gates.load(config)
        name = env or file.default_environment or next(iter(file.environments))
        typer.echo(json.dumps(dashboard(name, file.environment(name)), indent=2, ensure_ascii=False))
