"""`rollout maintenance`: the guide's regular tasks."""

import typer

from guarded_rollout.checks.findings import Severity
from guarded_rollout.cli.app import AsJson, DryRun, Env, app
from guarded_rollout.cli.session import configured
from guarded_rollout.cli.validate_logging import code_of
from guarded_rollout.clock import SystemClock
from guarded_rollout.logs import LogFile
from guarded_rollout.operations.maintenance import MONTHLY, WEEKLY, Round, Task, run
from guarded_rollout.rollout.engine import operator

commands = typer.Typer(no_args_is_help=True, help="The regular tasks, and what each came to.")
app.add_typer(commands, name="maintenance")


@commands.command(epilog="Example: rollout maintenance weekly --env production --dry-run")
def weekly(env: Env = "production", dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Rotate logs, prune backups, forget delivered notifications, validate logging."""
    _go_round("weekly", WEEKLY, env, dry_run=dry_run, as_json=as_json)


@commands.command(epilog="Example: rollout maintenance monthly --env production")
def monthly(env: Env = "production", dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Review thresholds, test the notification channels, compare performance with the months before."""
    _go_round("monthly", MONTHLY, env, dry_run=dry_run, as_json=as_json)


def _go_round(name: str, tasks: dict[str, Task], env: str, *, dry_run: bool, as_json: bool) -> None:
    """Do the tasks; a rehearsal ends with the same code for what it finds."""
    with configured(env, as_json=as_json) as (environment, out):
        if not dry_run:
            out.log = LogFile.open(environment.logs, f"maintenance_{name}", env)
        levels: set[Severity] = set()
        told: list[dict[str, object]] = []
        for note in run(tasks, Round(environment, SystemClock(), operator(), dry_run)):
            well = note.level is Severity.OK
            line = f"{note.name}: {note.detail}" + ("" if well else "  <- look at this")
            (out.rehearse if dry_run else out.say)(line)
            told.append({"task": note.name, "words": note.detail, "well": well})
            levels.add(note.level)
        out.result(environment=env, dry_run=dry_run, notes=told)
        raise typer.Exit(code_of(levels))
