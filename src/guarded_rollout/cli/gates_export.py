"""`rollout gates export prometheus | grafana`: the same gates for those who watch with these."""

import json
from typing import Annotated

import typer

from guarded_rollout.cli.gates import Config, commands
from guarded_rollout.cli.session import Output, project_gates, reporting, settings_file
from guarded_rollout.config import gates
from guarded_rollout.config.environments import load
from guarded_rollout.config.service import Exported
from guarded_rollout.errors import NoProjectError
from guarded_rollout.export.grafana import dashboard
from guarded_rollout.export.prometheus import as_yaml, groups_of

exports = typer.Typer(no_args_is_help=True, help="Write the gates for Prometheus and Grafana.")
commands.add_typer(exports, name="export")


@exports.command(
    epilog="Example: rollout gates export prometheus > deploy/prometheus/quality-gates.rules.yml"
)
def prometheus(config: Config = None) -> None:
    """Print Prometheus alert rules: the gates' limits, windows and severities, for every environment."""
    with reporting(Output()):
        typer.echo(as_yaml(groups_of(gates.load(config or project_gates()), _exported().names)), nl=False)


@exports.command(epilog="Example: rollout gates export grafana --env staging > deploy/grafana/staging.json")
def grafana(
    config: Config = None,
    env: Annotated[
        str | None, typer.Option("--env", help="Environment.", show_default="the gates file's default")
    ] = None,
) -> None:
    """Print a Grafana dashboard of one environment: each gate against its limit, for both slots."""
    with reporting(Output()):
        file = gates.load(config or project_gates())
        name = env or file.default_environment or next(iter(file.environments))
        typer.echo(
            json.dumps(dashboard(name, file.environment(name), _exported()), indent=2, ensure_ascii=False)
        )


def _exported() -> Exported:
    """The names of the project's service; the usual ones outside of a project."""
    try:
        return next(iter(load(settings_file()).environments.values())).service.exported
    except NoProjectError:
        return Exported()
