"""`rollout prune`: remove the backups that the retention rule gives up."""

from pathlib import Path
from typing import Annotated

import typer

from guarded_rollout.backup.retention import remove, rule_of, surplus
from guarded_rollout.cli.app import app
from guarded_rollout.cli.session import Session, with_session
from guarded_rollout.config.terms import RETENTION_MOST


@app.command(epilog="Example: rollout prune --env production --keep 10 --dry-run")
@with_session()
def prune(
    work: Session,
    keep: Annotated[
        int | None, typer.Option(help="How many of the newest stay.", show_default="keep_backups")
    ] = None,
    hours: Annotated[
        float | None,
        typer.Option(
            max=RETENTION_MOST, help="How young stays.", show_default="the gates' backup_retention_hours"
        ),
    ] = None,
    output_dir: Annotated[Path | None, typer.Option(help="Folder of the archives.")] = None,
) -> None:
    """Keep the last ten backups, what is younger than the retention hours, and what an open rollout needs."""
    rule, now = rule_of(work.environment, keep=keep, hours=hours), work.site.clock.now()
    rollout = work.journal.open_rollout(work.env)
    folder = (output_dir or work.environment.backups).absolute()
    removed, kept = 0, 0
    for place, decided in surplus(work.environment, rollout, now, rule=rule, folder=folder):
        kept += len(decided.keep)
        for stays in decided.keep:
            work.out.detail(f"keep {stays.entry.name}: {stays.reason}")
        if work.dry_run:
            work.out.rehearse(*(f"remove {entry.name}" for entry in decided.remove))
        else:
            for entry in remove(decided, place, work.env, now):
                work.out.say(f"removed {entry.name}")
        removed += len(decided.remove)
    if not removed:
        work.out.say(f"Nothing is due; {kept} {'backup stays' if kept == 1 else 'backups stay'}.")
    work.out.result(environment=work.env, removed=removed, kept=kept, dry_run=work.dry_run)
