"""`rollout backup`: a verified archive of the release, its configuration and its data."""

from pathlib import Path
from typing import Annotated

import typer

from guarded_rollout.backup.archive import RELEASE
from guarded_rollout.backup.copies import start_sending
from guarded_rollout.cli.app import app
from guarded_rollout.cli.copies import as_values, told
from guarded_rollout.cli.session import Session, with_session
from guarded_rollout.clock import duration
from guarded_rollout.config.copies import BackupEngine
from guarded_rollout.host.wheels import FOLDER
from guarded_rollout.rollout.steps.backup import copy_directly, take_backup, targets

CARRIED = f"{RELEASE}{FOLDER}/"


@app.command(epilog="Example: rollout backup --env production --verbose")
@with_session()
def backup(
    work: Session,
    output_dir: Annotated[
        Path | None, typer.Option(help="Folder for the archive instead of the configured one.")
    ] = None,
    with_wheels: Annotated[
        bool | None,
        typer.Option(
            "--with-wheels/--without-wheels",
            help="Carry the wheels of all requirements: no index is needed then.",
            show_default="rollout.toml's",
        ),
    ] = None,
    engine: Annotated[
        BackupEngine | None,
        typer.Option(
            help="zip: an archive; restic: straight into the copies.", show_default="rollout.toml's"
        ),
    ] = None,
) -> None:
    """Take a backup: written aside, read back from the disk, then named. Copies of it are made behind it.

    `sha256sum -c FILE.sha256` accepts it from the project's folder, or from anywhere if it is elsewhere.
    """
    if (engine or work.environment.backup_engine) is BackupEngine.RESTIC:
        _back_up_directly(work)
        return
    folder = (output_dir or work.environment.backups).absolute()
    if work.dry_run:
        release = work.site.require_serving()
        work.out.rehearse(
            f"back up {work.env} ({release.id}) to {work.environment.shown(folder)}/, and verify it"
        )
        work.out.result(environment=work.env, release=release.id, folder=str(folder), dry_run=True)
        return
    with work.recorded("backup", "backup", folder=str(folder)) as evidence:
        taken = take_backup(work.site, folder=folder, with_wheels=with_wheels)
        evidence.update(backup=str(taken.entry.path), sha256=taken.sha256, size=taken.size)
    start_sending(work.environment, taken.entry.path)
    for name, content in taken.manifest.files.items():
        work.out.detail(f"  {content.size:>12,}  {content.sha256[:12]}  {name}")
    path = work.environment.shown(taken.entry.path)
    wheels = sum(name.startswith(CARRIED) for name in taken.manifest.files)
    work.out.say(f"{path}: {taken.size / 1e6:.1f} MB in {duration(taken.seconds)}, verified")
    needed = taken.manifest.wheel.endswith(".whl")  # what is made of files may need nothing
    if needed and not wheels and work.environment.wheels_limit_mb and with_wheels is None:
        work.out.say("It carries no wheels: to come back it needs an index (--with-wheels says why).")
    work.out.result(
        environment=work.env,
        backup=path,
        checksum=path + ".sha256",
        sha256=taken.sha256,
        size=taken.size,
        seconds=round(taken.seconds, 3),
        wheels=wheels,
        release=taken.manifest.release,
        schema_revision=taken.manifest.schema_revision,
    )


def _back_up_directly(work: Session) -> None:
    """Take a backup without an archive."""
    release = work.site.require_serving()
    if work.dry_run:
        work.out.rehearse(f"back up {work.env} ({release.id}) to {targets(work.site)}")
        work.out.result(environment=work.env, release=release.id, dry_run=True)
        return
    with work.recorded("backup", "backup", engine="restic") as evidence:
        manifest, records = copy_directly(work.site)
        evidence["backup"] = next(f"restic:{record.snapshot}" for record in records if record.snapshot)
    for record in records:
        work.out.say(told(record))
    work.out.result(
        environment=work.env,
        backup=evidence["backup"],
        copies=as_values(records),
        release=manifest.release,
        schema_revision=manifest.schema_revision,
    )
