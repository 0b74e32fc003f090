"""`rollout backup`: a verified archive of the release, its configuration and its data."""

from pathlib import Path
from typing import Annotated

import typer

from guarded_rollout.cli.app import app
from guarded_rollout.cli.session import Session, with_session
from guarded_rollout.clock import duration
from guarded_rollout.rollout.steps.backup import take_backup


@app.command(epilog="Example: rollout backup --env production --verbose")
@with_session()
def backup(
    work: Session,
    output_dir: Annotated[
        Path | None, typer.Option(help="Folder for the archive instead of the configured one.")
    ] = None,
) -> None:
    """Take a backup: written aside, read back from the disk, then named.

    `sha256sum -c FILE.sha256` accepts it from the project's folder, or from anywhere if it is elsewhere.
    """
    folder = (output_dir or work.environment.backups).absolute()
    if work.dry_run:
        release = work.site.require_serving()
        work.out.rehearse(
            f"back up {work.env} ({release.id}) to {work.environment.shown(folder)}/, and verify it"
        )
        work.out.result(environment=work.env, release=release.id, folder=str(folder), dry_run=True)
        return
    with work.recorded("backup", "backup", folder=str(folder)) as evidence:
        taken = take_backup(work.site, folder=folder)
        evidence.update(backup=str(taken.entry.path), sha256=taken.sha256, size=taken.size)
    for name, content in taken.manifest.files.items():
        work.out.detail(f"  {content.size:>12,}  {content.sha256[:12]}  {name}")
    path = work.environment.shown(taken.entry.path)
    work.out.say(f"{path}: {taken.size / 1e6:.1f} MB in {duration(taken.seconds)}, verified")
    work.out.result(
        environment=work.env,
        backup=path,
        checksum=path + ".sha256",
        sha256=taken.sha256,
        size=taken.size,
        seconds=round(taken.seconds, 3),
        release=taken.manifest.release,
        schema_revision=taken.manifest.schema_revision,
    )
