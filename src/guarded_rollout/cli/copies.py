"""`rollout copies`: copies of backups in the repositories that rollout.toml names."""

from pathlib import Path
from typing import Annotated

import typer

from guarded_rollout.backup import copies
from guarded_rollout.backup.catalog import latest
from guarded_rollout.backup.restic import repositories
from guarded_rollout.cli.app import AsJson, DryRun, Env, app
from guarded_rollout.cli.session import configured
from guarded_rollout.clock import SystemClock, duration
from guarded_rollout.config.environments import Environment
from guarded_rollout.errors import BackupMissingError, NoCopyTargetError
from guarded_rollout.logs import LogFile
from guarded_rollout.notify.events import Kind, Level, event
from guarded_rollout.notify.notifier import publisher_for

commands = typer.Typer(no_args_is_help=True, help="Copies of backups elsewhere, in restic repositories.")
app.add_typer(commands, name="copies")


@commands.command(epilog="Example: rollout copies send backups/dhash_production_20260101_120000.zip")
def send(
    backup: Annotated[Path | None, typer.Argument(help="The archive.", show_default="the newest")] = None,
    env: Env = "production",
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Send a backup's files to every target. Each backup does it by itself, in the background.

    Nobody waits for it: a rollout may begin meanwhile. Exits with 1 if a target failed.
    """
    with configured(env, as_json=as_json) as (environment, out):
        newest = latest(environment.backups, environment.name, environment.service.name)
        archive = backup or (newest.path if newest else environment.backups)
        if not archive.is_file():
            raise BackupMissingError(path=archive)
        if dry_run:
            names = [target.name for target in environment.copies]
            out.rehearse(f"send {environment.shown(archive)} to {' and '.join(names) or 'no target'}")
            return
        out.log = LogFile.open(environment.logs, "copies", env)
        copies.run_last()
        records = copies.send(environment, archive, SystemClock())
        for record in records:
            out.say(told(record))
        out.result(environment=env, backup=environment.shown(archive), copies=as_values(records))
        if bad := [told(record) for record in records if record.problem]:
            _notify(environment, "; ".join(bad))
            raise typer.Exit(1)


def _notify(environment: Environment, problem: str) -> None:
    """Tell the channels: the process that sends copies has nobody who reads what it prints."""
    clock = SystemClock()
    words = f"A backup was not copied: {problem}"
    with publisher_for(environment, clock=clock) as publisher:
        publisher.publish(
            event(Kind.MESSAGE, environment.name, clock.now(), level=Level.WARNING, message=words)
        )


@commands.command(name="list", epilog="Example: rollout copies list --env production")
def list_(env: Env = "production", as_json: AsJson = False) -> None:
    """List the copies at every target, the newest first."""
    with configured(env, as_json=as_json) as (environment, out):
        if not environment.copies:
            raise NoCopyTargetError(environment=env)
        found = [one for repository in repositories(environment) for one in repository.snapshots()]
        for one in found:
            out.say(f"{one.reference}  {one.taken_at:%F %T %Z}  {one.target}")
        if not found:
            out.say("There is no copy yet.")
        out.result(
            environment=env,
            copies=[
                {"reference": one.reference, "target": one.target, "taken_at": one.taken_at.isoformat()}
                for one in found
            ],
        )


def told(record: copies.CopyRecord) -> str:
    """A record as a line."""
    if record.problem:
        return f"{record.target}: failed: {record.problem}"
    size = f"{record.added / 1e6:.1f} MB new in {duration(record.seconds)}"
    return f"{record.target}: restic:{record.snapshot}, {size}"


def as_values(records: list[copies.CopyRecord]) -> list[dict[str, object]]:
    """Records for `--json`."""
    return [
        {
            "target": record.target,
            "reference": f"restic:{record.snapshot}" if record.snapshot else None,
            "bytes_added": record.added,
            "seconds": record.seconds,
            "problem": record.problem or None,
        }
        for record in records
    ]
