"""`rollout gates check | replay | schema`: understand gates before they decide."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from guarded_rollout.cli import tables
from guarded_rollout.cli.app import AsJson, app
from guarded_rollout.cli.session import Output, project_gates, reporting
from guarded_rollout.clock import duration
from guarded_rollout.config import gates
from guarded_rollout.config.gates import GatesFile
from guarded_rollout.errors import NoProjectError, UnknownEnvironmentError
from guarded_rollout.gates.describe import describe_environment, describe_file
from guarded_rollout.gates.panel import Change
from guarded_rollout.gates.replay import Replay, replay
from guarded_rollout.gates.verdict import News
from guarded_rollout.monitor import log as logs

commands = typer.Typer(no_args_is_help=True, help="Check, simulate and replay quality gates.")
app.add_typer(commands, name="gates")

Config = Annotated[
    Path | None, typer.Option("--config", help="Gates file.", show_default="that of rollout.toml")
]


@commands.command(epilog="Example: rollout gates check custom-gates.json --env production")
def check(
    file: Annotated[
        Path | None, typer.Argument(help="Gates file.", show_default="that of rollout.toml")
    ] = None,
    env: Annotated[str | None, typer.Option("--env", help="Only this environment.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say in plain words what a gates file will do, or everything that is wrong with it."""
    out = Output(as_json)
    with reporting(out):
        file = file or project_gates()
        found = gates.load(file)
        lines = describe_environment(found.environment(env)) if env else describe_file(found)
        warnings = [line for name in ([env] if env else found.environments) for line in _doubts(found, name)]
        if as_json:
            out.result(file=file, valid=True, environments=list(found.environments), warnings=warnings)
            return
        for line in lines:
            typer.echo(line)
        for warning in warnings:
            typer.secho(f"warning: {warning}", fg=typer.colors.YELLOW)


def _doubts(file: GatesFile, name: str) -> list[str]:
    """What is odd about an environment's gates, beside what the service publishes where one serves."""
    from guarded_rollout.cli.session import settings_file
    from guarded_rollout.config.environments import load
    from guarded_rollout.host.site import Site
    from guarded_rollout.monitor.published import doubts, published_by
    from guarded_rollout.monitor.targets import path_of

    published: frozenset[str] = frozenset()
    with suppress(NoProjectError, UnknownEnvironmentError, PermissionError):  # another user's service
        site = Site(load(settings_file()).environment(name))
        if site.serves:
            place = site.private(site.traffic.serving())
            published = published_by(place, path_of(file.global_settings.metrics_endpoint))
    return [f"{name}: {line}" for line in doubts(file.environment(name), published)]


@commands.command("schema", epilog="Example: rollout gates schema > schemas/quality-gates.schema.json")
def print_schema() -> None:
    """Print the JSON Schema of gates files."""
    typer.echo(json.dumps(gates.schema(), indent=2))


@commands.command(
    "replay",
    epilog="Example: rollout gates replay monitor_logs/dhash_production_….log --config custom-gates.json",
)
def replay_command(
    log: Annotated[Path, typer.Argument(help="A monitoring log.")],
    config: Config = None,
    env: Annotated[
        str | None, typer.Option("--env", help="Gates of this environment.", show_default="the log's")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what these gates would have decided in a session that was logged, and when."""
    out = Output(as_json)
    with reporting(out):
        lines = list(logs.read(log))
        file = config or project_gates()
        environment = gates.load(file).environment(env or lines[0].environment)
        found = replay(environment, logs.recording_of(lines))
        if as_json:
            out.result(**_as_json(found))
            return
        for change in found.changes:
            typer.echo(_in_words(change, found.began_at))
        _print_gates(found)
        did = any("TRIGGERING AUTO-ROLLBACK" in line.message for line in lines)
        typer.echo(f"These gates {found.ending}; the session {'rolled back' if did else 'did not'}.")


def _in_words(change: Change, began_at: float) -> str:
    moment = f"{datetime.fromtimestamp(change.at, UTC):%H:%M:%S} ({duration(change.at - began_at)} in)"
    what = {
        News.FAILED: "Quality gate failed",
        News.RECOVERED: "recovered",
        News.SILENT: "silent",
        News.HEARD: "heard again",
        News.JUDGED: "",
    }[change.news]
    does = f" → {', '.join(change.actions)}" if change.actions else ""
    return f"{moment} {what}: {change.verdict.gate}: {change.verdict.reason}{does}"


def _print_gates(found: Replay) -> None:
    table = Table("gate", "limit", "highest", "verdicts", box=None)
    for name, record in found.gates.items():
        worst = "–" if record.worst is None else f"{record.worst:.4g}"
        counted = ", ".join(
            f"{number} {outcome.replace('_', ' ')}" for outcome, number in record.verdicts.items()
        )
        table.add_row(name, f"{record.limit:g} {record.unit}".strip(), worst, counted or "never judged")
    tables.show(table)


def _as_json(found: Replay) -> dict[str, object]:
    return {
        "seconds": found.ended_at - found.began_at,
        "rolled_back_after": None if found.rolled_back_at is None else found.rolled_back_at - found.began_at,
        "changes": [
            {"at": one.at, "news": one.news, "actions": one.actions, **one.verdict.as_json()}
            for one in found.changes
        ],
        "gates": {
            name: {"highest": one.worst, "limit": one.limit, "verdicts": dict(one.verdicts)}
            for name, one in found.gates.items()
        },
    }
