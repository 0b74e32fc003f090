"""`rollout gates check | simulate | replay | schema`: understand gates before they decide."""

import json
import math
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
from guarded_rollout.errors import NoProjectError, UnknownEnvironmentError, UsageError
from guarded_rollout.gates.describe import describe_environment, describe_file
from guarded_rollout.gates.panel import Change, News
from guarded_rollout.gates.replay import Replay, replay
from guarded_rollout.monitor import log as logs

commands = typer.Typer(no_args_is_help=True, help="Check, simulate and replay quality gates.")
app.add_typer(commands, name="gates")

Config = Annotated[Path | None, typer.Option("--config", help="Gates file. [that of rollout.toml]")]


@commands.command(epilog="Example: rollout gates check custom-gates.json --env production")
def check(
    file: Annotated[Path | None, typer.Argument(help="Gates file. [that of rollout.toml]")] = None,
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
    try:
        site = Site(load(settings_file()).environment(name))
    except (NoProjectError, UnknownEnvironmentError):
        site = None
    if site is not None and site.serving() is not None:
        place = site.private(site.traffic.serving())
        published = published_by(place, path_of(file.global_settings.metrics_endpoint))
    return [f"{name}: {line}" for line in doubts(file.environment(name), published)]


@commands.command("schema", epilog="Example: rollout gates schema > schemas/quality-gates.schema.json")
def print_schema() -> None:
    """Print the JSON Schema of gates files."""
    typer.echo(json.dumps(gates.schema(), indent=2))


@commands.command(
    "simulate", epilog="Example: rollout gates simulate --rate 2% --limit 5% --rps 1 --windows 1000"
)
def simulate_command(
    rate: Annotated[str, typer.Option(help="True failure rate, as 2% or 0.02.")],
    limit: Annotated[str, typer.Option(help="The gate's limit.")],
    rps: Annotated[float, typer.Option(min=0.001, max=10_000, help="Requests per second.")],
    windows: Annotated[int, typer.Option(min=1, max=100_000, help="How many windows are drawn.")] = 1000,
    later_rate: Annotated[
        str | None, typer.Option("--then", help="The true failure rate from --at on.")
    ] = None,
    at: Annotated[float, typer.Option("--at", min=0, help="Minute at which it changes.")] = 40.0,
    window: Annotated[float, typer.Option(min=1, max=1440, help="Minutes that are watched.")] = 60.0,
    evaluation: Annotated[
        float, typer.Option(min=0.5, max=1440, help="The gate's evaluation window.")
    ] = 10.0,
    min_samples: Annotated[int, typer.Option(min=1, help="The gate's min_sample_size.")] = 20,
    confidence: Annotated[
        float | None, typer.Option(min=0.5, max=0.9999, help="The gate's full_window_confidence.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the random numbers: the same seed draws the same.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Simulate how often each decision rule rolls back a healthy release, and how soon a bad one."""
    from guarded_rollout.gates.simulate import Scenario, simulate  # NumPy is slow to import

    out = Output(as_json)
    with reporting(out):
        now, then = share(rate, "--rate"), share(later_rate, "--then") if later_rate else None
        bound = share(limit, "--limit")
        if then is None and now > bound:  # bad from the beginning
            now, then, at = 0.0, now, 0.0
        scenario = Scenario(
            now, bound, rps, windows, then, at * 60, window * 60, evaluation * 60, min_samples,
            full_window_confidence=confidence, seed=seed,
        )  # fmt: skip
        results = simulate(scenario)
        if as_json:
            rows = [
                {
                    "rule": one.rule,
                    "false_rollback_share": one.false_share,
                    "decided_share": one.decided_share,
                    "median_seconds_to_decision": None if math.isinf(one.median_delay) else one.median_delay,
                }
                for one in results
            ]
            out.result(windows=windows, rules=rows)
            return
        table = Table("rule", "healthy, rolled back", "bad, decided", "median time to it", box=None)
        for one in results:
            late = "–" if math.isinf(one.median_delay) else f"{one.median_delay:.1f} s"
            caught = "–" if then is None else f"{(one.decided - one.too_early) / windows:.1%}"
            table.add_row(one.rule, f"{one.false_share:.2%}", caught, "–" if then is None else late)
        tables.show(table)


def share(text: str, option: str) -> float:
    """`2%` or `0.02` as a share of 1. Raises `UsageError`."""
    try:
        value = float(text.strip().removesuffix("%")) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise UsageError(detail=f"{option} {text!r} is no share: give 2% or 0.02.")
    return value


@commands.command(
    "replay",
    epilog="Example: rollout gates replay monitor_logs/dhash_production_….log --config custom-gates.json",
)
def replay_command(
    log: Annotated[Path, typer.Argument(help="A monitoring log.")],
    config: Config = None,
    env: Annotated[str | None, typer.Option("--env", help="Gates of this environment. [the log's]")] = None,
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
